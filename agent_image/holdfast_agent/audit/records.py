"""What happened in a run, record by record, without a word of what was said: what was decided, when, and what it came to. Pure."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from holdfast_agent.audit.chain import END, fingerprint, head_digest
from holdfast_agent.audit.sheets import RECALL, record_name
from holdfast_api import names

_WHOLE: Final = 64
"""Hex digits of a digest of arguments: as many as an approval holds, so that what was asked for and what was approved can be compared."""
Document = Mapping[str, Any]
Record = dict[str, Any]


def records(name: str, document: Document) -> Iterator[Record]:
    """The records that one document makes.

    Args:
        name: of the document in its run, such as `3/model`.
        document: as it is stored.
    """
    record = record_name(name)
    common = {"record": record, "digest": fingerprint(document)}
    kind = name.rpartition("/")[2]
    if kind == "model":
        yield {
            **common,
            "kind": "decision",
            **_span(document),
            "model": document.get("model"),
            "calls": [*_asked(document)],
            **_used(document),
        }
    elif kind == "evaluation":
        yield {**common, "kind": "evaluation", **_span(document), "accepted": document.get("accepted"), **_used(document)}
    elif kind == "compact" or record == RECALL:
        yield {**common, "kind": RECALL if record == RECALL else "compaction", **_span(document), **_used(document)}
    else:
        yield from _approval(record, document)
        kind = "compensation" if kind == "undo" else "tool"
        yield {**common, "kind": kind, **_span(document), "tool": document.get("tool"), "outcome": _outcome(document)}


def end(head: Document) -> Iterator[Record]:
    """The records that the head of a run makes: that it was canceled, which limit it met, and how it ended. One link binds them all."""
    cancel = head.get("cancel")
    if cancel:
        yield {
            "record": END,
            "kind": "cancel",
            "at": _time(cancel.get("at")),
            "reason": cancel.get("reason"),
            **({"by": cancel["by"]} if cancel.get("by") else {}),
            "forced": bool(cancel.get("forced")),
        }
    error = head.get("error") or {}
    if head.get("exceeded") or error.get("type") in ("LimitExceeded", "RunTimeout"):
        yield {"record": END, "kind": "limit", "limit": head.get("exceeded") or error.get("message")}
    if head.get("ended") is not None:
        told = {"error": error["type"]} if error.get("type") else {}
        yield {"record": END, "digest": head_digest(head), "kind": "end", "at": _time(head["ended"]), "status": head.get("status"), **told}


def anchor(head: Document) -> Record | None:
    """What seals a run, for whoever wants to keep it elsewhere; None until it is sealed."""
    chain = head.get("audit")
    if not isinstance(chain, dict) or END not in links(chain):
        return None
    return {name: chain[name] for name in ("count", "hash", "spiffe", "kid", "mac") if name in chain}


def links(chain: object) -> dict[str, int]:
    """Which link of the chain, from 1, each record in a chain's tail is."""
    if not isinstance(chain, dict) or not isinstance(chain.get("count"), int) or not isinstance(chain.get("tail"), list):
        return {}
    named = [str(entry).partition(" ")[0] for entry in chain["tail"]]
    return {name: number for number, name in enumerate(named, start=chain["count"] - len(named) + 1)}


def in_order(found: Iterable[Record], numbers: Mapping[str, int]) -> list[Record]:
    """Records as the chain has them, each with its `link`. Those that it does not have come last and without one."""
    told = [record | ({"link": numbers[record["record"]]} if record.get("record") in numbers else {}) for record in found]
    return sorted(told, key=lambda record: record.get("link", math.inf))


def _asked(document: Document) -> Iterator[Record]:
    for call in document.get("calls") or ():
        yield {"tool": call.get("name"), "arguments": arguments_digest(call.get("arguments") or "", _WHOLE)}


def arguments_digest(text: str, length: int = 12) -> str:
    """The first hex digits of the digest of arguments: of their canonical JSON, or of the text where they are none."""
    try:
        return names.digest(json.loads(text or "{}"), length)
    except (ValueError, RecursionError):
        return names.digest(text, length)


def _approval(record: str, document: Document) -> Iterator[Record]:
    asked = document.get("approval")
    if asked:
        said = {name: asked.get(name) for name in ("tool", "decision", "reason", "by") if asked.get(name)}
        times = {name: _time(asked.get(name)) for name in ("asked", "decided") if asked.get(name) is not None}
        yield {"record": record, "kind": "approval", **said, "arguments": asked.get("digest"), **times}


def _outcome(document: Document) -> str:
    return str(document.get("outcome") or ("failed" if document.get("is_error") else "completed"))


def _used(document: Document) -> Record:
    usage = document.get("usage") or {}
    return {"tokens": {"input": usage.get("input_tokens", 0), "output": usage.get("output_tokens", 0)}}


def _span(document: Document) -> Record:
    return {name: _time(document.get(field)) for name, field in (("began", "started"), ("at", "ended")) if document.get(field) is not None}


def _time(seconds: Any) -> str | None:  # noqa: ANN401 - whatever a document holds there
    if not isinstance(seconds, int | float):
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
