"""What keeps a run from its next step: what people want of it, and what it waits for. One look at the head tells and writes both."""

from collections.abc import Callable
from dataclasses import replace

from holdfast_agent import documents
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.documents import Head, Trouble
from holdfast_agent.failures import envelope
from holdfast_agent.heads import change
from holdfast_agent.outcome import Failure


async def wait_for(
    steps: Steps, key: str, call: Input, wait: Trouble, *, first: Callable[[Head], Head] = lambda head: head
) -> tuple[Head, Output]:
    """Write into the head that the run is to wait, and answer so. A cancel ends no wait for what another process may be doing.

    Args:
        steps: what activities share.
        key: of the effect.
        call: the activity's input.
        wait: what for, and until when.
        first: what else to change by the same look at the head. What it leaves there decides: a question that has its answer is no
            longer waited for.

    Returns:
        The head as it stands, and the activity's answer: `waiting`, or what keeps the run from waiting.

    Raises:
        StoreError: the store does not answer.
        LookupError: there is no head.
    """
    heeds = wait.kind != "unknown" and "ending" not in call

    def waiting(head: Head) -> Head:
        if head.terminal or (head.cancel and heeds):
            return head
        return _unless_decided(first(head), wait)

    stands = await steps.store.update(documents.head_key(call["run"]), change(waiting))
    if stands is None:
        raise LookupError(f"the head of run {call['run']!r} is missing from the state store")
    head = Head.load(stands)
    if head.terminal:
        return head, envelope(key, Failure("fatal", f"the run has ended already, {head.status}"), call["attempt"])
    if head.cancel and heeds:
        return head, {"key": key, "control": documents.CANCEL}
    await steps.index.waits(call["run"])
    until = next((found.until for found in head.waits if found.key == key), wait.until)
    return head, {"key": key, "waiting": {"until": until, "kind": wait.kind}}


async def held(steps: Steps, key: str, call: Input) -> Output | None:
    """What people want of the run in place of this step, or None. That a suspended run waits is written down by the same look."""
    wait = Trouble(key=key, attempt=call["attempt"], message="the run is suspended", until=call["deadline"], kind="suspend")
    stands = await steps.store.update(
        documents.head_key(call["run"]), change(lambda head: head.troubled(wait) if head.control == documents.SUSPEND else head)
    )
    control = Head.load(stands).control if stands else None
    if control == documents.SUSPEND:
        await steps.index.waits(call["run"])
    return {"key": key, "control": control} if control else None


def _unless_decided(head: Head, wait: Trouble) -> Head:
    asked = head.approvals.get(wait.key.partition("/")[2]) if wait.kind == "approval" else None
    if asked is None:
        return head.troubled(wait)
    return head if asked.decision else head.troubled(replace(wait, until=asked.until))
