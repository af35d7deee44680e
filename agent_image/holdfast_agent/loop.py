"""What the durable loop decides, without Dapr in it: pure functions over the recorded results of steps.

Everything here must give the same answer when the workflow is replayed, so nothing reads a clock, the environment or a store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from holdfast_agent import documents
from holdfast_agent.documents import Plan, Usage
from holdfast_agent.failures import CHARGED_ATTEMPTS, MODEL_ATTEMPTS, STORE_ATTEMPTS, TOOL_ATTEMPTS

MODEL: Final = "model"
TOOL: Final = "tool"
PACK: Final = "pack"
FINISH: Final = "finish"
WORKFLOW: Final = "agent"

LIMIT_EXCEEDED: Final = "LimitExceeded"
RUN_TIMEOUT: Final = "RunTimeout"
MODEL_FAILED: Final = "ModelFailed"
TOOL_FAILED: Final = "ToolFailed"
STORE_FAILED: Final = "StoreFailed"
_ERROR_TYPES: Final = {MODEL: MODEL_FAILED, TOOL: TOOL_FAILED}

_ALWAYS: Final = ("run", "revision", "deadline", "max_iterations", "turn", "packed", "segments", "usage")

Result = dict[str, Any]


@dataclass(frozen=True)
class Loop:
    """Where a run stands; also the workflow's input, so it stays small however long the run is.

    Attributes:
        deadline: seconds since the epoch.
        max_iterations: of runs without a plan.
        turn: the next turn, from 1.
        packed: turns whose messages are in segments.
        usage: of every model and tool that worked for the run.
        plan: None: begun by a version that had none, and carried on as that one did.
        summary: the turn whose compaction sums up those before it; 0: there is none.
        context: tokens that the last model call took, or 0 when what it read has been summed up since.
        repairs: answers that did not fit the schema.
        rounds: answers that the critic has judged.
        undo: keys of what has to be undone if the run does not end well, in the order in which it was done.
        repeats: the newest results, oldest first: digest of tool, arguments and result, and how often it came up.
        audit: `{"count", "hash"}`, the chain so far; None before its first link.
        closing: the limit that was met, when the model is asked for its best answer.
        model: which model is asked, by its place among the first one and its fallbacks. Begins anew with each continue-as-new.
    """

    run: str
    revision: str
    deadline: float
    max_iterations: int
    turn: int = 1
    packed: int = 0
    segments: int = 0
    usage: Usage = field(default_factory=Usage)
    plan: Plan | None = None
    summary: int = 0
    context: int = 0
    repairs: int = 0
    rounds: int = 0
    undo: tuple[str, ...] = ()
    repeats: tuple[tuple[str, int], ...] = ()
    audit: dict[str, Any] | None = None
    closing: str | None = None
    model: int = 0

    def dump(self) -> dict[str, Any]:
        """As JSON-ready data, without what is as it is at the beginning."""
        written = {name: value for name, value in vars(self).items() if name in _ALWAYS or value != _default(name)}
        return written | {"usage": self.usage.dump()} | ({"plan": self.plan.dump()} if self.plan else {})

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Self:
        """From JSON-ready data; fields of a newer version are left out."""
        known = {name: value for name, value in document.items() if name in cls.__dataclass_fields__}
        known["usage"] = Usage.load(known.get("usage"))
        known["plan"] = Plan.load(known["plan"]) if known.get("plan") else None
        known["undo"] = tuple(known.get("undo", ()))
        known["repeats"] = tuple((seen, int(times)) for seen, times in known.get("repeats", ()))
        return cls(**known)

    def after(self, answer: Result) -> Self:
        """The same run with one more turn."""
        return replace(self, turn=self.turn + 1, usage=self.usage.plus(Usage.load(answer["usage"])))

    def repacked(self, answer: Result) -> Self:
        """The same run with all its turns in segments."""
        return replace(self, packed=self.turn - 1, segments=int(answer["segments"]))

    @property
    def generation_full(self) -> bool:
        """Whether it is time to continue as new."""
        return self.turn - 1 - self.packed >= documents.TURNS_PER_GENERATION


@dataclass(frozen=True)
class Step:
    """One activity to be carried out under one key, with a bound on the attempts that fail by its own doing."""

    activity: str
    key: str
    attempts: int
    input: dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What follows from an activity's answer: a result, or another attempt after `delay` seconds."""

    result: Result | None
    delay: float = 0.0
    message: str = ""
    cause: str = "call"


def _default(name: str) -> object:
    return Loop.__dataclass_fields__[name].default


def model_step(loop: Loop) -> Step:
    """Ask the model for the next turn."""
    common = {"run": loop.run, "turn": loop.turn, "revision": loop.revision, "deadline": loop.deadline}
    return Step(
        MODEL,
        documents.model_key(loop.run, loop.turn),
        MODEL_ATTEMPTS,
        common | {"segments": loop.segments, "usage": loop.usage.dump()},
    )


def tool_steps(loop: Loop, answer: Result) -> list[Step]:
    """Carry out what the model asked for in this turn."""
    common = {"run": loop.run, "turn": loop.turn, "revision": loop.revision, "deadline": loop.deadline}
    return [
        Step(TOOL, documents.call_key(loop.run, loop.turn, number), TOOL_ATTEMPTS, common | {"call": number})
        for number in range(len(answer["calls"]))
    ]


def pack_step(loop: Loop) -> Step:
    """Put the messages of the turns since the last time into segments."""
    data = {"run": loop.run, "first": loop.packed + 1, "last": loop.turn - 1, "segments": loop.segments, "usage": loop.usage.dump()}
    return Step(PACK, f"{loop.run}/{loop.turn - 1}/pack", MODEL_ATTEMPTS, data)


def finish_step(loop: Loop, error: dict[str, str]) -> Step:
    """Write down that the run failed."""
    return Step(FINISH, f"{loop.run}/finish", MODEL_ATTEMPTS, {"run": loop.run, "error": error, "usage": loop.usage.dump()})


def judge(step: Step, failed: Mapping[str, int], answer: object) -> Verdict:
    """What to make of an activity's answer.

    Args:
        step: what was asked.
        failed: how many attempts failed before, by cause.
        answer: what came back; None if the activity broke. An answer to another question (an abandoned call's, see the design on
            continue-as-new) is refused and the question asked again.
    """
    if isinstance(answer, dict) and answer.get("key") == step.key:
        error = answer.get("error")
        if not error or error["class"] != "transient":
            return Verdict(answer)
        cause = str(error.get("cause", "call"))
        if failed.get(cause, 0) + 1 >= _bound(step, cause):
            return Verdict(answer)
        return Verdict(None, delay=float(error.get("retryAfter", 1.0)), message=str(error["message"]), cause=cause)
    broken = failed.get("call", 0) + 1
    message = f"the activity {step.activity!r} broke {broken} times; the agent's log has the details"
    if broken < step.attempts:
        return Verdict(None, delay=0.0 if isinstance(answer, dict) else 1.0, message=message)
    return Verdict({"key": step.key, "error": {"class": "fatal", "message": message}})


def _bound(step: Step, cause: str) -> int:
    if cause == "store" and step.activity != FINISH:
        return STORE_ATTEMPTS
    return min(step.attempts, CHARGED_ATTEMPTS) if cause in ("charged", "unstored") else step.attempts


def timed_out(key: str, after: str = "") -> Result:
    """The answer to a step that found no time any more.

    Args:
        key: of the step.
        after: what its last attempt said, if there was one.
    """
    message = f"limits.runTimeout leaves no time to try again after: {after}" if after else "limits.runTimeout has passed"
    return {"key": key, "error": {"class": "fatal", "message": message}, "timeout": True}


def exceeded(loop: Loop, now: float) -> dict[str, str] | None:
    """The limit that keeps the next turn from being asked for, or None."""
    if now >= loop.deadline:
        return {"type": RUN_TIMEOUT, "message": "limits.runTimeout has passed before the model gave its final answer"}
    if loop.turn > loop.max_iterations:
        return {
            "type": LIMIT_EXCEEDED,
            "message": f"limits.maxIterations is {loop.max_iterations} and the model has not given its final answer by then",
        }
    return None


def failed(steps: list[Step], results: list[Result]) -> dict[str, str] | None:
    """The error that ends the run, of the first step that has one."""
    for step, result in zip(steps, results, strict=True):
        error = result.get("error")
        if error:
            kind = STORE_FAILED if error.get("cause") in ("store", "unstored") else _ERROR_TYPES.get(step.activity, STORE_FAILED)
            return {"type": RUN_TIMEOUT if result.get("timeout") else kind, "message": str(error["message"])}
    return None


def poke_event(key: str, attempt: int) -> str:
    """Name of the event that wakes a run whose timer was lost with the scheduler's data.

    Args:
        key: of any of the steps that wait; those that are carried out side by side wait together.
        attempt: the one that failed.
    """
    return f"poke/{key.rpartition('/')[0]}/{attempt}"
