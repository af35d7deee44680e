"""The timeline of a run as callers read it: one entry for each thing that was done or is under way. Pure.

The order is the run's own, not the clock's: turn by turn, and in a turn a summary made before it, the model, its calls in the order in
which the model made them, the critic. What was undone comes last. So the order and with it each step's id, `<turn>.<step>`, are the same
whoever reads it and whenever, and an id is a place that one can go on from (see `places`).
"""

from datetime import UTC, datetime
from typing import Any, Final

from holdfast_agent import documents, waits
from holdfast_agent.documents import Document, Head, ModelTurn, ToolOutcome, Trouble, Usage
from holdfast_agent.heads import Approval
from holdfast_agent.timelines import Timeline, shown

View = dict[str, Any]
OPEN: Final = frozenset(waits.STATES)
_COMPACTION, _MODEL, _FIRST_CALL = 0, 1, 2


def steps(head: Head, timeline: Timeline, *, newest: bool = True) -> list[View]:
    """What is done, in order, and what is under way.

    Args:
        head: the run's head.
        timeline: of consecutive turns.
        newest: whether no turn can have come after these.
    """
    found = [_recall_step(head, timeline.recall)] if timeline.recall else []
    for turn in timeline.turns:
        found += _turn(head, timeline, turn)
    under_way = any(step["status"] in OPEN for step in found)
    if newest and not head.terminal and not under_way and not head.ending:
        found += _next(head, timeline)
    return found


def compensations(undone: list[ToolOutcome]) -> list[View]:
    """What was undone, in that order, as `Timelines.undone` gives it."""
    return [_compensation_step(outcome, number) for number, outcome in enumerate(undone, start=1)]


def waiting(head: Head, key: str) -> Trouble | None:
    """Why that step waits, if it does."""
    return next((wait for wait in head.waits if wait.key == key), None)


def approval_of(head: Head, key: str) -> Approval | None:
    """What is asked about that call, with the answer once there is one."""
    return head.approvals.get(key.partition("/")[2])


def tokens(usage: Usage) -> View:
    """Tokens as the providers count them."""
    return {"input": usage.input_tokens, "output": usage.output_tokens}


def time(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _turn(head: Head, timeline: Timeline, turn: ModelTurn) -> list[View]:
    number, found = turn.number, []
    if number in timeline.compactions:
        found.append(_compaction_step(head, number, timeline.compactions[number]))
    found.append(_model_step(turn))
    found += [_tool_step(head, timeline, turn, call) for call in range(len(turn.calls))]
    if number in timeline.evaluations:
        found.append(_evaluation_step(head, number, timeline.evaluations[number]))
    return found


def _next(head: Head, timeline: Timeline) -> list[View]:
    """The model's next turn, or what comes before it."""
    last = timeline.turns[-1] if timeline.turns else None
    number = last.number + 1 if last else head.packed + 1
    # The one that answered last is asked again, and so the step is called now what it will be called when it is done.
    name = (last.model if last else head.model) or "model"
    step = {"id": f"{number}.{_MODEL}", "turn": number, "kind": "model", "name": name}
    if last and timeline.evaluations.get(last.number, {}).get("accepted"):
        return []
    if last and not last.calls and not last.feedback and last.number not in timeline.evaluations:
        step = {"id": f"{last.number}.{_FIRST_CALL}", "turn": last.number, "kind": "evaluation", "name": head.critic or "critic"}
        return [_open_step(head, documents.evaluation_key(head.id, last.number), step)] if _evaluated(head) else []
    return [_open_step(head, documents.model_key(head.id, number), step)]


def _evaluated(head: Head) -> bool:
    return head.plan is not None and head.plan.evaluation_rounds is not None


def _model_step(turn: ModelTurn) -> View:
    step = {
        "id": f"{turn.number}.{_MODEL}",
        "turn": turn.number,
        "kind": "model",
        "name": turn.model,
        "key": turn.key,
        "status": "completed",
        **_span(turn.started, turn.ended, turn.attempt),
        "tokens": tokens(turn.usage),
        "calls": [call.name for call in turn.calls],
        "output": shown(turn.content),
    }
    step |= {"estimated": True} if turn.estimated else {}
    return step | ({"feedback": shown(turn.feedback)} if turn.feedback else {})


def _tool_step(head: Head, timeline: Timeline, turn: ModelTurn, number: int) -> View:
    call, key = turn.calls[number], turn.call_keys()[number]
    outcome, late = timeline.outcomes.get(key), timeline.late.get(key)
    step = {
        "id": f"{turn.number}.{_FIRST_CALL + number}",
        "turn": turn.number,
        "kind": "tool",
        "name": call.name,
        "arguments": shown(call.arguments),
    }
    if outcome is None:
        asked = approval_of(head, key)
        return _open_step(head, key, step | ({"approval": approval(asked)} if asked else {}))
    return step | _outcome(outcome) | ({"late": shown(late.content)} if late else {})


def _outcome(outcome: ToolOutcome) -> View:
    step = {
        "key": outcome.key,
        "status": "failed" if outcome.is_error and outcome.outcome == "completed" else outcome.outcome,
        **_span(outcome.started, outcome.ended, outcome.attempt),
        "output": shown(outcome.content),
    }
    step |= {"child_run": outcome.child} if outcome.child else {}
    return step | ({"approval": approval(outcome.approval)} if outcome.approval else {})


def approval(asked: Approval) -> View:
    """A question to a person, with the answer once there is one."""
    view: View = {"asked": time(asked.asked), "until": time(asked.until), "on_timeout": asked.on_timeout}
    if asked.decision:
        view["decision"] = asked.decision
    if asked.decided is not None:
        view["decided"] = time(asked.decided)
    return view | {name: said for name in ("reason", "by") if (said := getattr(asked, name))}


def _compensation_step(outcome: ToolOutcome, number: int) -> View:
    return {
        "id": f"undo.{number}",
        "turn": int(outcome.key.split("/")[1]),
        "kind": "compensation",
        "name": outcome.tool,
        "undoes": outcome.key.rpartition("/")[0],
        **_outcome(outcome),
    }


def _evaluation_step(head: Head, turn: int, document: Document) -> View:
    step = {"id": f"{turn}.{_FIRST_CALL}", "turn": turn, "kind": "evaluation", "name": str(document.get("model") or "critic")}
    accepted = bool(document.get("accepted"))
    return (
        step
        | _judged(documents.evaluation_key(head.id, turn), document)
        | {"accepted": accepted, "output": shown(document.get("feedback", ""))}
    )


def _compaction_step(head: Head, turn: int, document: Document) -> View:
    step = {"id": f"{turn}.{_COMPACTION}", "turn": turn, "kind": "compaction", "name": str(document.get("model", "model"))}
    through = int(document.get("through", turn - 1))
    return (
        step | _judged(documents.compact_key(head.id, turn), document) | {"through": through, "output": shown(document.get("content", ""))}
    )


def _recall_step(head: Head, document: Document) -> View:
    entries, summary = document.get("entries", ()), document.get("summary")
    view = {"id": "0.1", "turn": 0, "kind": "recall", "name": head.session, "key": f"{head.id}/recall", "status": "completed"}
    return view | {"entries": len(entries), "summarized": summary is not None}


def _judged(key: str, document: Document) -> View:
    """What documents of model calls beside the turns have in common."""
    view: View = {"key": key, "status": "completed"}
    if "started" in document and "ended" in document:
        view |= _span(document["started"], document["ended"], int(document.get("attempt", 1)))
    return view | {"tokens": tokens(Usage.load(document.get("usage")))}


def _open_step(head: Head, key: str, step: View) -> View:
    status = "abandoned" if head.terminal else waits.of_step(head, waiting(head, key))
    return {**step, "key": key, "status": status}


def _span(started: float, ended: float, attempt: int) -> View:
    return {"started": time(started), "ended": time(ended), "seconds": round(ended - started, 3), "attempt": attempt}
