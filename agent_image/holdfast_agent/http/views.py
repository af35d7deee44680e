"""What callers read about a run, as JSON-ready data made from its documents. Pure."""

import json
from datetime import UTC, datetime
from typing import Any

from holdfast_agent import documents
from holdfast_agent.documents import Head, ModelTurn, ToolOutcome, Usage
from holdfast_agent.loop import WORKFLOW
from holdfast_agent.runs import SHOWN_CHARACTERS

View = dict[str, Any]
Outcomes = dict[str, ToolOutcome]


def accepted(head: Head) -> View:
    """Answer to `POST /run`."""
    return {"instance_id": head.id, "status_url": f"/v1.0/workflows/dapr/{head.id}"}


def run(head: Head, turns: list[ModelTurn], outcomes: Outcomes) -> View:
    """A run in our own words.

    Args:
        head: its head.
        turns: of a run under way, those that the head does not count yet.
        outcomes: finished calls of these turns.
    """
    usage = head.usage
    for turn in [] if head.terminal else turns:
        usage = usage.plus(turn.usage)
    open_steps = [step for step in steps(head, turns, outcomes) if step["status"] in ("running", "retrying")]
    view: View = {
        "id": head.id,
        "status": head.status,
        "turn": max([step["turn"] for step in open_steps], default=usage.turns),
        "tool_calls": usage.tool_calls,
        "tokens": _tokens(usage),
        "revision": head.revision,
        "created": _time(head.created),
        "deadline": _time(head.deadline),
    }
    if open_steps:
        view["pending"] = [{name: step[name] for name in ("kind", "name", "key", "status")} for step in open_steps]
    if head.trouble and any(step["status"] == "retrying" for step in open_steps):
        view["retrying"] = {
            "key": head.trouble.key,
            "failed_attempts": head.trouble.attempt,
            "message": head.trouble.message,
            "next_attempt": _time(head.trouble.until),
        }
    view |= {"ended": _time(head.ended)} if head.ended is not None else {}
    view |= {"result": head.result} if head.result is not None else {}
    return view | ({"error": head.error} if head.error is not None else {})


def steps(head: Head, turns: list[ModelTurn], outcomes: Outcomes, *, newest: bool = True) -> list[View]:
    """The timeline of some turns: what is done, in order, and what is under way.

    Args:
        head: the run's head.
        turns: consecutive turns.
        outcomes: finished calls of these turns.
        newest: whether no turn can have come after these.
    """
    found: list[View] = []
    for turn in turns:
        found.append(_model_step(turn))
        found += [_tool_step(turn, number, outcomes.get(key), head) for number, key in enumerate(turn.call_keys())]
    waits = any(step["status"] in ("running", "retrying") for step in found)
    if newest and not head.terminal and not waits and (not turns or turns[-1].calls):
        number = turns[-1].number + 1 if turns else head.packed + 1
        found.append(_open_step(head, documents.model_key(head.id, number), {"turn": number, "kind": "model", "name": "model"}))
    return found


def dapr(head: Head) -> View:
    """A run in the shape in which Dapr's own `GET /v1.0/workflows/<component>/<id>` answers."""
    properties = {"dapr.workflow.input": json.dumps({"task": head.task}, ensure_ascii=False)}
    if head.result is not None:
        properties["dapr.workflow.output"] = json.dumps(head.result, ensure_ascii=False)
    if head.error is not None:
        properties["dapr.workflow.failure.error_type"] = head.error["type"]
        properties["dapr.workflow.failure.error_message"] = head.error["message"]
    return {
        "instanceID": head.id,
        "workflowName": WORKFLOW,
        "createdAt": _time(head.created),
        "lastUpdatedAt": _time(head.ended or head.created),
        "runtimeStatus": head.status,
        "properties": properties,
    }


def _model_step(turn: ModelTurn) -> View:
    return {
        "turn": turn.number,
        "kind": "model",
        "name": turn.model,
        "key": turn.key,
        "status": "completed",
        **_span(turn.started, turn.ended, turn.attempt),
        "tokens": _tokens(turn.usage),
        "calls": [call.name for call in turn.calls],
        "output": _shown(turn.content),
    }


def _tool_step(turn: ModelTurn, number: int, outcome: ToolOutcome | None, head: Head) -> View:
    call = turn.calls[number]
    step = {"turn": turn.number, "kind": "tool", "name": call.name, "arguments": _shown(call.arguments)}
    if outcome is None:
        return _open_step(head, turn.call_keys()[number], step)
    return {
        **step,
        "key": outcome.key,
        "status": "failed" if outcome.is_error else "completed",
        **_span(outcome.started, outcome.ended, outcome.attempt),
        "output": _shown(outcome.content),
    }


def _open_step(head: Head, key: str, step: View) -> View:
    retrying = head.trouble is not None and head.trouble.key == key
    status = "abandoned" if head.terminal else "retrying" if retrying else "running"
    return {**step, "key": key, "status": status}


def _span(started: float, ended: float, attempt: int) -> View:
    return {"started": _time(started), "ended": _time(ended), "seconds": round(ended - started, 3), "attempt": attempt}


def _tokens(usage: Usage) -> View:
    return {"input": usage.input_tokens, "output": usage.output_tokens}


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
