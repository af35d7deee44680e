"""The activity `compensate`: undoes one call of a run that does not end well, by the tool that the called one names."""

import logging
import time
from dataclasses import replace
from typing import Final

from holdfast_agent import documents
from holdfast_agent.activities.arguments import read, undoing
from holdfast_agent.activities.children import carried
from holdfast_agent.activities.delivery import Delivery, Order, begun, weighed
from holdfast_agent.activities.outcomes import came_to, keep
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.documents import Head, ModelTurn, ToolCall, ToolOutcome
from holdfast_agent.failures import envelope
from holdfast_agent.heads import change
from holdfast_agent.outcome import Failure
from holdfast_agent.revisions import Revision
from holdfast_agent.store import Entry

_LOG = logging.getLogger(__name__)
_ATTEMPTS: Final = 5
"""Attempts that an undoing gets at least: what it leaves behind has to be cleared up by hand."""


def key(call: Input) -> str:
    """Key of the effect."""
    return f"{call['call']}/undo"


async def undo(steps: Steps, key: str, call: Input) -> Output:
    """Undo one call. `call["call"]` is its key, `call["ending"]` is `{"status", "error"}` of the run.

    Returns:
        `{key, tool, isError, digest, result}`; a failure that stands is an outcome too, for people to see.
    """
    run, began = call["run"], time.time()
    _, turn, number = call["call"].split("/")
    said_at, done_at = documents.effect_document(documents.model_key(run, int(turn))), documents.effect_document(call["call"])
    at, head_at = documents.effect_document(key), documents.head_key(run)
    found = await steps.store.get_many([at, head_at, said_at, done_at])
    if at in found:
        return came_to(ToolOutcome.load(found[at].value), found[at].value)
    for needed in (head_at, said_at):
        if needed not in found:
            raise LookupError(f"the document {needed!r} is missing from the state store")
    head = Head.load(found[head_at].value)
    if head.terminal:
        return envelope(key, Failure("fatal", f"the run has ended already, {head.status}"), call["attempt"])
    if head.ending is None:
        await steps.store.update(
            head_at, change(lambda head: head if head.terminal or head.ending else replace(head, ending=call["ending"]))
        )
    asked = ModelTurn.load(found[said_at].value).calls[int(number)]
    async with steps.revisions.use(call["revision"]) as revision:
        reason = (head.cancel and head.cancel.reason) or call["ending"]["error"]["message"]
        tool, delivery = await _undone(steps, revision, key, call, asked=asked, outcome=found.get(done_at), reason=reason, head=head)
    if not isinstance(delivery, Delivery):
        return delivery
    outcome = ToolOutcome(
        key=key,
        tool=tool,
        call_id=asked.id,
        content=delivery.content,
        is_error=delivery.outcome != "completed",
        started=began,
        ended=time.time(),
        attempt=call["failed"] + 1,
        outcome=delivery.outcome,
    )
    if outcome.is_error:
        _LOG.error("not undone", extra={"run": run, "step": key, "tool": tool})
    document = await keep(steps, outcome, late=True)
    async with steps.revisions.use(call["revision"]) as revision:
        revision.toolbox.stored(tool, key=documents.outgoing_key(key, head.epoch))
    return came_to(outcome, document)


async def _undone(
    steps: Steps,
    revision: Revision,
    key: str,
    call: Input,
    *,
    asked: ToolCall,
    outcome: Entry | None,
    reason: str,
    head: Head,
) -> tuple[str, Delivery | Output]:
    """The tool that undoes, and what became of its call or the activity's answer if that is not settled."""
    called = revision.config.tool(asked.name)
    tool = revision.config.tool(called.compensate) if called and called.compensate else None
    if tool is None:
        return asked.name, Delivery.error(f"no tool undoes {asked.name!r} in this revision")
    arguments = read(asked.arguments)
    if isinstance(arguments, Failure):
        return tool.name, Delivery.error(arguments.message)
    result = ToolOutcome.load(outcome.value) if outcome else None
    retries = tool.retries.model_copy(update={"max_attempts": max(_ATTEMPTS, tool.retries.max_attempts)})
    order = Order(key, call, tool, arguments, retries, callers=head.callers, epoch=head.epoch)
    spec = await revision.toolbox.spec(tool.name)
    if isinstance(spec, Failure):
        return tool.name, await weighed(steps, order, spec, before=await begun(steps, order))
    said = result.content if result and not result.is_error else ""
    wanted = undoing(spec.input_schema, arguments=arguments, result=said, reason=reason)
    return tool.name, await carried(steps, revision.toolbox, replace(order, arguments=wanted))
