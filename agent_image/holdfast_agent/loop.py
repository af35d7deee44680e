"""What the durable loop asks for, without Dapr in it: the steps of a run and their names, from where the run stands. Pure.

Everything here must give the same answer when the workflow is replayed, so nothing reads a clock, the environment or a store. The steps
of a run without a plan (`Loop.plan`) are as the first version asked for them, to the last field: its runs are carried on.

| activity | key | its answer, beside `key` |
|---|---|---|
| model | `<run>/<turn>/model` | `calls` (names), `usage`, `digests` (of the arguments), `model` (which answered), `open`, `skipped` |
| tool | `<run>/<turn>/<call>` | `tool`, `isError`, `result` (digest of what the model reads), `undo` |
| compensate | `<run>/<turn>/<call>/undo` | `tool`, `isError` |
| recall | `<run>/recall` | `usage` |
| compact | `<run>/<turn>/compact` | `through` (turn), `usage` |
| evaluate | `<run>/<turn>/evaluation` | `accepted`, `usage`, `ended` |
| pack | `<run>/<turn>/pack` | `segments` |
| finish | `<run>/finish` | |

`digest` in any of them is that of the document which was stored, for the audit. In place of all this an answer may be an `error`
(`failures.envelope`), `waiting: {until, kind}` (ask again then, or when woken; no attempt is counted), `control: "cancel" | "suspend"`
(the head says so, and nothing was done), or `early` (woken before the time of its next attempt, it found nothing to heed). Beside these,
`elsewhere`: another agent may have the call, and is to be told when the run ends.

No calls of the model mean that the run has ended well and its head says so, unless `open` is there: `invalid` (the answer does not fit
the schema; the next turn is asked for it again) or `candidate` (to be evaluated). `skipped` are key and digest of calls of the turn before
that were not carried out.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from holdfast_agent import documents, heads
from holdfast_agent.failures import CALL_BREAKS, MODEL_ATTEMPTS
from holdfast_agent.limits import LIMIT_EXCEEDED, RUN_TIMEOUT
from holdfast_agent.progress import Loop, Result

__all__ = ["LIMIT_EXCEEDED", "RUN_TIMEOUT", "Loop", "Result", "Step", "replace"]

MODEL: Final = "model"
TOOL: Final = "tool"
PACK: Final = "pack"
FINISH: Final = "finish"
COMPENSATE: Final = "compensate"
RECALL: Final = "recall"
COMPACT: Final = "compact"
EVALUATE: Final = "evaluate"
WORKFLOW: Final = "agent"

INVALID: Final = "invalid"
CANDIDATE: Final = "candidate"

MODEL_FAILED: Final = "ModelFailed"
TOOL_FAILED: Final = "ToolFailed"
STORE_FAILED: Final = "StoreFailed"
OUTPUT_INVALID: Final = "OutputInvalid"
WORKFLOW_ENDED: Final = "WorkflowEnded"
CANCELED: Final = heads.CANCELED
_ERROR_TYPES: Final = {MODEL: MODEL_FAILED, RECALL: MODEL_FAILED, COMPACT: MODEL_FAILED, EVALUATE: MODEL_FAILED, TOOL: TOOL_FAILED}
_CAUSE_TYPES: Final = {"store": STORE_FAILED, "unstored": STORE_FAILED, "output": OUTPUT_INVALID}

_NAMED: Final = 10
"""Calls that could not be undone which the run's error names; all of them are among its steps."""


@dataclass(frozen=True)
class Step:
    """One activity to be carried out under one key, with a bound on the attempts that fail by its own doing."""

    activity: str
    key: str
    attempts: int
    input: dict[str, Any]


def model_step(loop: Loop) -> Step:
    """Ask the model for the next turn."""
    data = _common(loop) | {"segments": loop.segments, "usage": loop.usage.dump()}
    if loop.plan:
        data |= _asking(loop) | {"repairs": loop.repairs} | ({"closing": loop.closing} if loop.closing else {})
        data |= {"audit": loop.audit} if loop.audit else {}
    return Step(MODEL, documents.model_key(loop.run, loop.turn), MODEL_ATTEMPTS, data)


def tool_steps(loop: Loop, answer: Result) -> list[Step]:
    """Carry out what the model asked for in this turn."""
    return [
        Step(TOOL, documents.call_key(loop.run, loop.turn, number), CALL_BREAKS, _common(loop) | {"call": number})
        for number in range(len(answer["calls"]))
    ]


def recall_step(loop: Loop) -> Step:
    """Take down what the run knows of its session, and sum the session up if it has grown long."""
    return Step(RECALL, f"{loop.run}/recall", MODEL_ATTEMPTS, _common(loop) | _asking(loop))


def compact_step(loop: Loop) -> Step:
    """Sum up the turns before the next one."""
    data = _common(loop) | _asking(loop) | {"segments": loop.segments}
    return Step(COMPACT, f"{loop.run}/{loop.turn}/compact", MODEL_ATTEMPTS, data)


def evaluation_step(loop: Loop) -> Step:
    """Let the critic judge the answer that the newest turn gave. `round` is which answer it is, from 1; after the `last` the run ends."""
    turn, most = loop.turn - 1, (loop.plan and loop.plan.evaluation_rounds) or 0
    data = _common(loop) | {"turn": turn, "segments": loop.segments, "usage": loop.usage.dump(), "model": loop.model}
    data |= {"round": loop.rounds + 1, "last": loop.closing is not None or loop.rounds >= most}
    data |= {"audit": loop.audit} if loop.audit else {}
    return Step(EVALUATE, f"{loop.run}/{turn}/evaluation", MODEL_ATTEMPTS, data)


def pack_step(loop: Loop) -> Step:
    """Put the messages of the turns since the last time into segments."""
    data = {"run": loop.run, "first": loop.packed + 1, "last": loop.turn - 1, "segments": loop.segments, "usage": loop.usage.dump()}
    return Step(PACK, f"{loop.run}/{loop.turn - 1}/pack", MODEL_ATTEMPTS, data)


def compensate_step(loop: Loop, ending: dict[str, Any]) -> Step:
    """Undo the newest effect that is not undone yet. `ending`: `{"status", "error"}` of the run, for people."""
    key = f"{loop.run}/{loop.undo[-1]}"
    data = _common(loop) | {"turn": int(loop.undo[-1].partition("/")[0]), "call": key, "ending": ending}
    return Step(COMPENSATE, f"{key}/undo", CALL_BREAKS, data)


def finish_step(loop: Loop, error: dict[str, str], status: str = "FAILED") -> Step:
    """Write down that the run did not end well."""
    data = {"run": loop.run, "error": error, "usage": loop.usage.dump()}
    if loop.plan:
        data |= {"status": status} | ({"audit": loop.audit} if loop.audit else {})
    return Step(FINISH, f"{loop.run}/finish", MODEL_ATTEMPTS, data)


def _common(loop: Loop) -> dict[str, Any]:
    common: dict[str, Any] = {"run": loop.run, "turn": loop.turn, "revision": loop.revision, "deadline": loop.deadline}
    return common | ({"trace": loop.trace} if loop.trace else {})


def _asking(loop: Loop) -> dict[str, Any]:
    """What whoever asks a model has to know: which one, and from where on the conversation is to be read."""
    return {"model": loop.model} | ({"summary": loop.summary} if loop.summary else {})


def timed_out(key: str, after: str = "") -> Result:
    """The answer to a step that found no time any more.

    Args:
        key: of the step.
        after: what its last attempt said, if there was one.
    """
    message = f"limits.runTimeout leaves no time to try again after: {after}" if after else "limits.runTimeout has passed"
    return {"key": key, "error": {"class": "fatal", "message": message}, "timeout": True}


def canceled(results: list[Result]) -> bool:
    """Whether a step found that the run is to be canceled."""
    return any(result.get("control") == documents.CANCEL for result in results)


def too_long(state: Loop, result: Result) -> bool:
    """Whether a model could not take the conversation and it can be summed up for it: once in a turn."""
    error = result.get("error") or {}
    return state.plan is not None and state.summary < state.turn and error.get("cause") == "context"


def failed(steps: list[Step], results: list[Result]) -> dict[str, str] | None:
    """The error that ends the run, of the first step that has one."""
    for step, result in zip(steps, results, strict=True):
        error = result.get("error")
        if error:
            kind = _CAUSE_TYPES.get(error.get("cause")) or _ERROR_TYPES.get(step.activity, STORE_FAILED)
            return {"type": RUN_TIMEOUT if result.get("timeout") else kind, "message": str(error["message"])}
    return None


def unrepaired(loop: Loop) -> dict[str, str]:
    """The error of a run whose answers never fitted the schema."""
    message = f"the answer did not fit output.schema, not even after it was sent back {loop.repairs - 1} times (output.maxRepairs)"
    return {"type": OUTPUT_INVALID, "message": f"{message}: relax the schema, or say in the prompt what it wants"}


def with_left(error: dict[str, str], left: tuple[str, ...]) -> dict[str, str]:
    """The error of a run that could not undo everything it did."""
    if not left:
        return error
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return error | {"message": f"{error['message']}; not undone, see the steps: {', '.join(left[:_NAMED])}{more}"}


def poke_event(key: str, attempt: int | None = None) -> str:
    """Name of the event that wakes a run from its wait: to look at its head, or at the time if a timer was lost.

    Args:
        key: of any of the steps that wait; those that are carried out side by side wait together.
        attempt: the round after which they wait, if the run has no plan. One that has is woken by the same name all its life.
    """
    scope = key.partition("/")[0] if attempt is None else f"{key.rpartition('/')[0]}/{attempt}"
    return f"poke/{scope}"


def wake_event(head: documents.Head) -> str | None:
    """Name of the event that wakes that run now; None: nobody knows what it waits for, and it has no plan."""
    if head.plan:
        return poke_event(head.id)
    newest = max(head.waits, key=lambda wait: wait.attempt, default=None)
    return poke_event(newest.key, newest.attempt) if newest else None
