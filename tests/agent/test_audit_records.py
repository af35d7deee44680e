"""The records that `GET /runs/{id}/audit` tells, and how they fit the chain."""

import json
from dataclasses import replace

from holdfast_agent.audit import Auditor, fingerprint, link
from holdfast_agent.audit.command import told
from holdfast_agent.audit.export import Audits
from holdfast_agent.audit.sheets import gather
from holdfast_agent.audit.verify import verify
from holdfast_agent.heads import Cancel, Head
from tests.agent.memory import MemoryStore

KEY = "the-key"
AUDITOR = Auditor("spiffe://public/ns/team/agent", KEY)
ASKED = {"tool": "book", "digest": "d", "asked": 2.0, "until": 9.0, "decision": "approved", "decided": 3.0}
CALLS = [{"id": f"c{call}", "name": "book", "arguments": "{}"} for call in range(2)]


def called(key, **more):
    return {"key": key, "tool": "book", "call_id": "c", "content": "booked", "is_error": False, "started": 1.0, "ended": 7.0} | more


def begun(**more):
    fields = {"id": "r", "task": "t", "digest": "d", "revision": "abc", "created": 1.0, "deadline": 9.0, "max_iterations": 9}
    return AUDITOR.begun(Head(**fields, longest_call=1.0, session="s", **more))


def asked(key, calls, chain):
    said = {"key": key, "content": "", "calls": calls, "usage": {"turns": 1}, "model": "openai/x", "started": 1.0, "ended": 2.0}
    return said | {"audit": chain}


def run(*, ended=True, late=False, **more):
    """A run with a session, a question and undone calls: key -> document. `late`: it was ended while a call was in the air."""
    head = begun(**more)
    chain, stored = head.audit, {}

    def add(name, document, record=None, *, chained=True):
        nonlocal chain
        stored[f"run/r/{name}"] = document
        if chained:
            chain = link(chain, [{"key": f"r/{record or name}", "digest": fingerprint(document)}])

    add("context", {"entries": []}, "recall")
    add("1/model", asked("r/1/model", CALLS, chain))
    add("1/0", called("r/1/0", approval=ASKED))
    add("1/1", called("r/1/1"), chained=not late)
    if not late:
        add("2/model", asked("r/2/model", [], chain))
        add("1/1/undo", called("r/1/1/undo"))
        add("1/0/undo", called("r/1/0/undo"))
    if ended:
        closed = head.failed({"type": "Canceled", "message": "m"}, replace(head.usage, turns=1 if late else 2), 8.0)
        head = AUDITOR.sealed(closed, chain)
    return {"run/r": head.dump()} | stored


async def viewed(documents):
    store = MemoryStore()
    store.documents |= {key: json.dumps(document) for key, document in documents.items()}
    return await Audits(store).view("r")


async def test_every_record_names_its_link_and_the_last_one_is_the_anchors_count():
    view = await viewed(run(cancel=Cancel(4.0, "enough")))
    assert [(record["link"], record["kind"]) for record in view["records"]] == [
        (1, "recall"),
        (2, "decision"),
        (3, "approval"),  # it is in the document of its call
        (3, "tool"),
        (4, "tool"),
        (5, "decision"),
        (6, "compensation"),
        (7, "compensation"),
        (8, "cancel"),
        (8, "end"),
    ]
    assert [record["record"] for record in view["records"][6:8]] == ["1/1/undo", "1/0/undo"]
    assert view["anchor"]["count"] == 8


async def test_what_ended_after_a_forced_end_comes_last_and_has_no_link():
    documents = run(late=True, cancel=Cancel(4.0, "", forced=True))
    view = await viewed(documents)
    assert [(record.get("link"), record["kind"]) for record in view["records"]][-3:] == [(4, "cancel"), (4, "end"), (None, "tool")]
    assert (view["records"][-1]["record"], view["anchor"]["count"]) == ("1/1", 4)


async def test_a_run_that_has_not_ended_has_no_anchor():
    view = await viewed(run(ended=False))
    assert view["anchor"] is None
    assert [record.get("link") for record in view["records"]] == [1, 2, 3, 3, 4, None, None, None]


def test_what_was_added_after_a_forced_end_is_said_to_be_expected_and_anything_else_is_not():
    def said(documents):
        papers = gather("r", documents.items())
        return "\n".join(told(papers, verify(papers, [KEY]), [KEY]))

    forced = run(late=True, cancel=Cancel(4.0, "", forced=True))
    assert "added     1/1" in said(forced)
    assert "expected after cancel?force=true" in said(forced)
    assert "expected" not in said(run(late=True, cancel=Cancel(4.0, "")))
    assert "expected" not in said(forced | {"run/r/1/0": called("r/1/0")})
