"""What callers read about a run, as JSON-ready data made from its documents. Pure. `shapes` says what each looks like."""

import json
from typing import Final

from holdfast_agent import waits
from holdfast_agent.audit.records import anchor
from holdfast_agent.documents import SUSPEND, Head, ModelTurn
from holdfast_agent.http.steps import OPEN, View, approval, steps, time, tokens
from holdfast_agent.loop import WORKFLOW
from holdfast_agent.postponed import Postponed
from holdfast_agent.timelines import Timeline, shown

TASK_CHARACTERS: Final = 200
# Dapr's own word for a run that somebody ended: whoever polls for the end knows it.
_DAPR_STATUS: Final = {"CANCELED": "TERMINATED"}


def accepted(head: Head) -> View:
    """Answer to `POST /run`."""
    return {"instance_id": head.id, "status_url": f"/v1.0/workflows/dapr/{head.id}"}


def status(head: Head) -> str:
    """How a run stands, in one word."""
    return "SUSPENDED" if not head.terminal and head.control == SUSPEND else head.status


def summary(head: Head) -> View:
    """A run in a list."""
    view: View = {"id": head.id, "status": status(head), "task": _beginning(head.task), "created": time(head.created)}
    view |= {"session_id": head.session} if head.session is not None else {}
    view |= {"trigger": _trigger(head.trigger)} if head.trigger else {}
    at = "running" if head.terminal else waits.of_run(head)
    view |= {"waiting_for": at} if at != "running" else {}
    view |= {"ended": time(head.ended)} if head.ended is not None else {}
    return view | ({"error": head.error} if head.error is not None else {})


def run(head: Head, timeline: Timeline | None = None) -> View:
    """A run in our own words.

    Args:
        head: its head.
        timeline: of a run under way, the turns that the head does not count yet.
    """
    known = timeline or Timeline()
    usage = head.usage
    for used in [] if head.terminal else known.usages():
        usage = usage.plus(used)
    open_steps = [] if head.terminal else [step for step in steps(head, known) if step["status"] in OPEN]
    view: View = {
        "id": head.id,
        "status": status(head),
        "task": _beginning(head.task),
        "turn": max([step["turn"] for step in open_steps], default=usage.turns),
        "tool_calls": usage.tool_calls,
        "tokens": tokens(usage),
        "revision": head.revision,
        "created": time(head.created),
        "deadline": time(head.deadline),
    }
    view |= {"session_id": head.session} if head.session is not None else {}
    view |= {"rerun_of": head.rerun_of} if head.rerun_of is not None else {}
    view |= {"callers": list(head.callers)} if head.callers else {}
    view |= {"trigger": _trigger(head.trigger)} if head.trigger else {}
    if open_steps:
        view["pending"] = [{name: step[name] for name in ("kind", "name", "key", "status")} for step in open_steps]
    return view | _waits(head, known) | _end(head)


def publishing(head: Head, postponed: Postponed | None) -> View:
    """What a run that has ended says beside while its end is still to be published: nothing once it is.

    Args:
        head: its head.
        postponed: why it is not, if anything is known.
    """
    if not head.untold or head.publish is None:
        return {}
    view: View = {"component": head.publish["component"], "topic": head.publish["topic"]}
    if postponed:
        view |= {"failed_attempts": postponed.failed, "message": postponed.message, "next_attempt": time(postponed.until)}
    return {"publishing": view}


def dapr(head: Head) -> View:
    """A run in the shape in which Dapr's own `GET /v1.0/workflows/<component>/<id>` answers."""
    properties = {"dapr.workflow.input": json.dumps({"task": head.task}, ensure_ascii=False)}
    if head.result is not None:
        properties["dapr.workflow.output"] = json.dumps(head.result, ensure_ascii=False)
    if head.error is not None:
        properties["dapr.workflow.failure.error_type"] = head.error["type"]
        properties["dapr.workflow.failure.error_message"] = head.error["message"]
    stands = status(head)
    return {
        "instanceID": head.id,
        "workflowName": WORKFLOW,
        "createdAt": time(head.created),
        "lastUpdatedAt": time(head.ended or head.created),
        "runtimeStatus": _DAPR_STATUS.get(stands, stands),
        "properties": properties,
    }


def _waits(head: Head, timeline: Timeline) -> View:
    """What people have asked of the run, and what it waits for."""
    view: View = {}
    if head.cancel:
        cancel = {"at": time(head.cancel.at), "forced": head.cancel.forced}
        view["cancel"] = cancel | {name: said for name in ("reason", "by") if (said := getattr(head.cancel, name))}
    if head.terminal:
        return view
    if head.suspended is not None and head.control == SUSPEND:
        view["suspended"] = time(head.suspended)
    arguments = {key: call.arguments for turn in timeline.turns for key, call in zip(turn.call_keys(), turn.calls, strict=True)}
    asked = [
        {
            "call": call.replace("/", "."),
            "tool": question.tool,
            "arguments": shown(arguments.get(f"{head.id}/{call}", "")),
            **approval(question),
            "decide": f"/runs/{head.id}/approvals/{call.replace('/', '.')}",
        }
        for call, question in sorted(head.approvals.items())
        if question.decision is None and not (head.cancel or head.ending)
    ]
    view |= {"approvals": asked} if asked else {}
    retrying = (wait for wait in head.waits if waits.of_step(head, wait) == "retrying" and not _settled(wait.key, timeline))
    retry = next(retrying, None)
    if retry:
        view["retrying"] = {
            "key": retry.key,
            "failed_attempts": retry.attempt if retry.failed is None else retry.failed,
            "message": retry.message,
            "next_attempt": time(retry.until),
        }
    return view | ({"ending": head.ending} if head.ending else {})


def _end(head: Head) -> View:
    view: View = {"ended": time(head.ended)} if head.ended is not None else {}
    for name in ("result", "error", "exceeded", "evaluation"):
        value = getattr(head, name)
        view |= {name: value} if value is not None else {}
    sealed = anchor(head.dump()) if head.terminal else None
    return view | ({"audit": sealed} if sealed else {})


def _trigger(origin: View) -> View:
    return origin | ({"tick": time(origin["tick"])} if "tick" in origin else {})


def _settled(key: str, timeline: Timeline) -> bool:
    """A head may still tell of a wait that is over."""
    return key in timeline.outcomes or any(_is(turn, key) for turn in timeline.turns)


def _is(turn: ModelTurn, key: str) -> bool:
    return turn.key == key


def _beginning(text: str) -> str:
    return text if len(text) <= TASK_CHARACTERS else text[: TASK_CHARACTERS - 1] + "…"
