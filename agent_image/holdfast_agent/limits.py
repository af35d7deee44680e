"""Which limit keeps a run from its next step. Pure: counted from recorded results, so a killed process changes no count.

A limit keeps a step from being taken; what is under way is never broken off for it. So the last model call may use more than `maxTokens`
had left, and a run that has its answer by then is a good one.
"""

from dataclasses import dataclass
from typing import Final

from holdfast_agent.documents import Usage
from holdfast_agent.progress import Loop, Result, fingerprints

LIMIT_EXCEEDED: Final = "LimitExceeded"
RUN_TIMEOUT: Final = "RunTimeout"
RUN_TIME: Final = "runTimeout"
_FIX: Final = "raise it in the Agent's spec.limits, or ask for less in one run"
_UNANSWERED: Final = "; the model was asked for its best answer and did not give one"


@dataclass(frozen=True)
class Limit:
    """A limit that was met: its name in `spec.limits`, and the error of a run that ends by it."""

    name: str
    error: dict[str, str]


def unanswered(error: dict[str, str]) -> dict[str, str]:
    """The error of a run that met a limit and whose model did not answer when it was asked to, all the same."""
    return error | {"message": error["message"] + _UNANSWERED}


def exceeded(loop: Loop, now: float) -> Limit | None:
    """The limit that keeps the next turn from being asked for, or None. In the closing turn only time does."""
    if now >= loop.deadline:
        error = {"type": RUN_TIMEOUT, "message": "limits.runTimeout has passed before the model gave its final answer"}
        return Limit(RUN_TIME, error)
    if loop.closing:
        return None
    most = loop.plan.max_iterations if loop.plan else loop.max_iterations
    if loop.turn > most:
        message = f"limits.maxIterations is {most} and the model has not given its final answer by then"
        # A run of the first shape says what it always said: it is in its history.
        return _limit("maxIterations", message) if loop.plan else Limit("maxIterations", {"type": LIMIT_EXCEEDED, "message": message})
    tokens = loop.plan.max_tokens if loop.plan else None
    if tokens is not None and loop.usage.tokens >= tokens:
        return _limit("maxTokens", f"limits.maxTokens is {tokens} and the run has used {loop.usage.tokens}")
    return None


def calls_exceeded(loop: Loop, answer: Result) -> Limit | None:
    """The limit that keeps the calls of this turn from being carried out, or None."""
    most = loop.plan.max_tool_calls if loop.plan else None
    asked = loop.usage.plus(Usage.load(answer["usage"])).tool_calls
    if most is None or asked <= most:
        return None
    return _limit("maxToolCalls", f"limits.maxToolCalls is {most} and the model asked for call number {asked}")


def going_round(loop: Loop, answer: Result, results: list[Result]) -> Limit | None:
    """The limit that the calls of this turn have met by coming to the same again and again, or None.

    Args:
        loop: after this turn.
        answer: the model's.
        results: of its calls.
    """
    most = loop.plan.max_repeats if loop.plan else None
    if most is None:
        return None
    times = dict(loop.repeats)
    for tool, result in zip(answer["calls"], fingerprints(answer, results), strict=False):
        if times.get(result, 0) > most:
            told = f"the tool {tool!r} was called {times[result]} times with the same arguments and the same result"
            return _limit("maxRepeatedCalls", f"limits.maxRepeatedCalls is {most} and {told}")
    return None


def _limit(name: str, message: str) -> Limit:
    return Limit(name, {"type": LIMIT_EXCEEDED, "message": f"{message}: {_FIX}"})
