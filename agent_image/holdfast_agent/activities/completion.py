"""The good end of a run: its exchange goes into its session, then its answer into its head, unless it was canceled before."""

import logging
from typing import Any

from holdfast_agent.activities.ending import end
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.audit import chain
from holdfast_agent.documents import CANCEL, Head, Usage, head_key
from holdfast_agent.sessions import Exchange, Sessions
from holdfast_agent.store import Entry

_LOG = logging.getLogger(__name__)


async def complete(
    steps: Steps, result: Output, call: Input, head: Entry, *, answer: str, usage: Usage, at: float, more: dict[str, Any] | None = None
) -> Output:
    """End a run well. Doing so again changes nothing.

    Args:
        steps: what activities share.
        result: of the step that ends the run.
        call: its input.
        head: the run's, as it was read a moment ago.
        answer: the run's.
        usage: all that the run has used.
        at: when the answer was given.
        more: what else the head says of the end.

    Returns:
        `result`, with `control: "cancel"` if somebody canceled the run first, as the same update of the head found.
    """
    run = Head.load(head.value)
    if run.session is not None and not run.terminal:
        head = await steps.store.get(head_key(run.id)) or head
        run = Head.load(head.value)
    if run.session is not None and not run.terminal and not run.cancel:
        # The session first: the end that the head tells of is whole. If somebody cancels between the two, it is taken out again below.
        exchange = Exchange(run.id, run.task, answer, at)
        await steps.patiently(lambda: Sessions(steps.store).append(run.session or "", exchange, accepted=run.created))
    stands = await end(
        steps,
        run.id,
        lambda now: now.completed(answer, usage, at, **(more or {})),
        known=head,
        audit=chain.link(call.get("audit"), [*result.get("skipped", ()), result]),
    )
    if stands.status != "COMPLETED" and run.session is not None:
        await steps.patiently(lambda: Sessions(steps.store).withdraw(run.session or "", run.id, accepted=run.created))
    if not stands.terminal:
        return result | {"control": CANCEL}
    if stands.status == "COMPLETED":
        _LOG.info("run completed", extra={"run": run.id, "turns": usage.turns, "tool_calls": usage.tool_calls})
    return result
