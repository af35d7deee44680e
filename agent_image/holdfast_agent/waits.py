"""What a step or a run that has not ended is at, in one word: the same in steps, in the list of runs and in metrics. Pure.

The head may still tell of a wait that people have ended: a run that was resumed is at work again before its step has looked.
"""

from typing import Final, Literal

from holdfast_agent.heads import SUSPEND, Head, Trouble, WaitKind

State = Literal["running", "retrying", "awaiting_approval", "awaiting_outcome", "awaiting_agent", "suspended"]
STATES: Final[tuple[State, ...]] = ("running", "retrying", "awaiting_approval", "awaiting_outcome", "awaiting_agent", "suspended")
WAITING: Final = STATES[1:]
_OF_KIND: Final[dict[WaitKind, State]] = {
    "retry": "retrying",
    "approval": "awaiting_approval",
    "unknown": "awaiting_outcome",
    "agent": "awaiting_agent",
}
_FIRST: Final[tuple[State, ...]] = ("awaiting_approval", "awaiting_outcome", "retrying", "awaiting_agent")


def of_step(head: Head, wait: Trouble | None) -> State:
    """What a step is at.

    Args:
        head: of its run, which has not ended.
        wait: why the step waits; None: it does not.
    """
    if wait is None:
        return "running"
    if head.control == SUSPEND and wait.kind != "unknown":
        return "suspended"
    # Nobody is asked any more once the run is to end, and what waited to be resumed is woken.
    if wait.kind == "approval" and (head.cancel or head.ending):
        return "running"
    return _OF_KIND.get(wait.kind, "running")


def of_run(head: Head) -> State:
    """What a run is at that has not ended: of steps that wait in different ways, the way that a person can do most about."""
    if head.control == SUSPEND:
        return "suspended"
    found = {of_step(head, wait) for wait in head.waits}
    return next((state for state in _FIRST if state in found), "running")
