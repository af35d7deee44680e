"""A run's documents against its anchor: whatever was done to them afterwards is found, and where."""

import copy
import json

import pytest

from holdfast_agent import documents
from holdfast_agent.audit import Auditor, fingerprint, link
from holdfast_agent.audit.sheets import gather
from holdfast_agent.audit.verify import verify
from holdfast_agent.heads import ERASING, Head
from holdfast_agent.segments import segments_of

KEY = "the-key"
AUDITOR = Auditor("spiffe://public/ns/team/agent", KEY)
PACKED = 2


def recorded(turns=4, calls=2, sent_back=()):
    """The documents of a run, as a store holds them: key -> document. The critic has sent back the answers of the turns in `sent_back`."""
    head = Head(
        id="r", task="t", digest=documents.task_digest("t"), revision="abc", created=1.0, deadline=9.0, max_iterations=9, longest_call=1
    )
    head = AUDITOR.begun(head)
    store, chain = {}, head.audit

    def stored(key, document):
        nonlocal chain
        store[documents.effect_document(key)] = document
        chain = link(chain, [{"key": key, "digest": fingerprint(document)}])

    for turn in range(1, turns + 1):
        made = calls if turn < turns and turn not in sent_back else 0
        asked = [{"id": f"c{call}", "name": "tool", "arguments": "{}"} for call in range(made)]
        key = f"r/{turn}/model"
        stored(key, {"key": key, "content": f"turn {turn}", "calls": asked, "usage": {"turns": 1}, "audit": chain})
        for call in range(len(asked)):
            stored(f"r/{turn}/{call}", {"key": f"r/{turn}/{call}", "tool": "tool", "content": f"{turn} {call}", "is_error": False})
        if turn in sent_back:
            stored(f"r/{turn}/evaluation", {"key": f"r/{turn}/evaluation", "accepted": False, "feedback": "more"})
    packed = [document for key, document in store.items() if int(key.split("/")[2]) <= PACKED]
    for number, segment in enumerate(segments_of(packed, last_turn=PACKED)):
        store[documents.segment_key("r", number)] = segment
    ended = Head.load(head.dump() | {"status": "COMPLETED", "result": "done", "ended": 8.0, "packed": PACKED, "segments": 1})
    return store | {"run/r": AUDITOR.sealed(ended, chain).dump()}


def checked(store, keys=(KEY,)):
    # Through JSON, as a store gives it back.
    return verify(gather("r", json.loads(json.dumps(store)).items()), keys)


def found(store, keys=(KEY,)):
    return {(finding.kind, finding.where) for finding in checked(store, keys).findings}


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from leaves(inner, (*path, number))
    else:
        yield path


def changed(document, path):
    edited = copy.deepcopy(document)
    at = edited
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = "another" if at[path[-1]] != "another" else "one more"
    return edited


def test_what_nobody_touched_is_intact():
    report = checked(recorded())

    assert report.intact
    assert report.records == 4 + 6 + 1


def test_a_run_whose_answers_were_sent_back_before_its_turns_were_packed_is_intact():
    store = recorded(sent_back=(1, 2))
    assert checked(store).intact
    segment = store["run/r/segment/0"]
    without = {**segment, "messages": [message for message in segment["messages"] if "accepted" not in message]}
    assert found(store | {"run/r/segment/0": without}) == {("edited", "segment")}
    assert found(changed(store, ("run/r/2/evaluation", "accepted"))) >= {("edited", "2/evaluation")}


def test_that_a_sweeper_is_about_to_erase_a_run_is_no_edit_of_it():
    store = recorded()
    claimed = store["run/r"] | {ERASING: {"by": "sweeper", "at": 5.0}}
    assert checked(store | {"run/r": claimed}).intact


def test_every_edit_of_every_field_is_found_in_the_document_it_was_made_in():
    store = recorded()
    tried = 0
    for key, document in store.items():
        where = key.removeprefix("run/r/") if key != "run/r" else None
        for path in leaves(document):
            tried += 1
            if key == "run/r" and path[0] == "audit":
                assert found(store | {key: changed(document, path)}), path
                continue
            places = {place for _, place in found(store | {key: changed(document, path)})}
            assert (where or "head") in places, (key, path, places)
            # A segment holds copies, so an edited document is found beside its copy too.
            assert places <= {where or "head", "segment/0", "segment"}, (key, path, places)
    assert tried > 100


def test_a_field_put_in_or_taken_out_is_found():
    store = recorded()
    more = store | {"run/r/3/0": store["run/r/3/0"] | {"late": True}}
    less = store | {"run/r/3/0": {name: value for name, value in store["run/r/3/0"].items() if name != "tool"}}

    assert found(more) == {("edited", "3/0")}
    assert found(less) == {("edited", "3/0")}


@pytest.mark.parametrize("key", [key for key in recorded() if key != "run/r"])
def test_every_document_that_is_taken_out_is_missed(key):
    store = recorded()
    del store[key]

    assert ("missing", key.removeprefix("run/r/")) in found(store)


def test_documents_that_changed_places_are_told_by_their_names():
    store = recorded()
    store["run/r/3/0"], store["run/r/3/1"] = store["run/r/3/1"], store["run/r/3/0"]

    assert found(store) == {("moved", "3/0"), ("moved", "3/1")}


def test_turns_that_changed_places_are_found():
    store = recorded()
    store["run/r/2/model"], store["run/r/3/model"] = store["run/r/3/model"], store["run/r/2/model"]

    assert {("moved", "2/model"), ("moved", "3/model")} <= found(store)


def test_a_truncated_run_is_found_however_much_is_cut_off():
    for last in range(4):
        store = {key: value for key, value in recorded().items() if key == "run/r" or "segment" in key or int(key.split("/")[2]) <= last}
        missing = {where for kind, where in found(store) if kind == "missing"}
        assert {f"{turn}/model" for turn in range(last + 1, 5)} <= missing, last


def test_a_document_put_in_is_found():
    store = recorded()
    store["run/r/3/7"] = store["run/r/3/1"] | {"key": "r/3/7"}

    assert found(store) == {("added", "3/7")}


def test_a_shorter_run_cannot_be_passed_off_as_the_whole():
    long, short = recorded(turns=4), recorded(turns=3)
    forged = short | {"run/r": short["run/r"] | {"audit": long["run/r"]["audit"]}}

    assert found(forged)
    unsigned = short["run/r"] | {"audit": {name: value for name, value in short["run/r"]["audit"].items() if name not in ("mac", "kid")}}
    assert found(short | {"run/r": unsigned}) == {("unsigned", "anchor")}


def test_documents_and_chain_made_anew_without_the_key_are_a_forgery():
    store, auditor = recorded(), Auditor(AUDITOR.spiffe, "another key")
    head = Head.load(store["run/r"])
    chain = {name: head.audit[name] for name in ("count", "hash", "tail")}
    own = auditor.sealed(head, chain).dump()

    assert found(store | {"run/r": own}) >= {("unsigned", "anchor")}
    own["audit"]["kid"] = store["run/r"]["audit"]["kid"]
    assert ("forged", "anchor") in found(store | {"run/r": own})


def test_a_run_of_another_agent_is_not_passed_off_as_this_ones():
    store = recorded()
    store["run/r"]["audit"]["spiffe"] = "spiffe://public/ns/team/other"

    assert ("forged", "anchor") in found(store)


def test_a_former_key_still_verifies_what_it_signed():
    assert checked(recorded(), keys=("newer", KEY)).intact
    assert found(recorded(), keys=("newer",)) == {("unsigned", "anchor")}


def test_a_run_without_an_anchor_is_not_proven():
    store = recorded()
    del store["run/r"]["audit"]

    assert found(store) == {("unsealed", "anchor")}
    assert found({key: value for key, value in recorded().items() if key != "run/r"}) == {("missing", "head")}


def test_a_run_that_has_not_ended_is_not_proven():
    head = AUDITOR.begun(Head.load(recorded()["run/r"] | {"status": "RUNNING", "ended": None}))

    assert found(recorded() | {"run/r": head.dump()}) == {("unsealed", "anchor")}
