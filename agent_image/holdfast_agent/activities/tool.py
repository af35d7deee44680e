"""The activity `tool`: one call of a tool. A failure that is for the model to deal with is a result."""

import json
import logging
import time

from holdfast_agent import documents, loop
from holdfast_agent.activities.steps import Input, Output, Steps, bounded
from holdfast_agent.documents import ToolCall, ToolOutcome
from holdfast_agent.failures import stands
from holdfast_agent.outcome import Failure
from holdfast_agent.revisions import Revision

_LOG = logging.getLogger(__name__)


def key(call: Input) -> str:
    """Key of the effect."""
    return documents.call_key(call["run"], call["turn"], call["call"])


async def carry_out(steps: Steps, key: str, call: Input) -> Output:
    """Carry out one call.

    Returns:
        `{key, tool, isError}`.
    """
    run, began = call["run"], time.time()
    entry = await steps.store.get(documents.effect_document(key))
    if entry:
        return _came_to(ToolOutcome.load(entry.value))
    if began >= call["deadline"]:
        return loop.timed_out(key)
    asked = (await steps.transcripts.turn(run, call["turn"])).calls[call["call"]]
    async with steps.revisions.use(call["revision"]) as revision:
        content, failure = await _carried_out(revision, asked, key)
    left = call["deadline"] - time.time()
    if failure and not stands(key, failure, attempt=call["attempt"], failed=call["failed"], left=left):
        return await steps.failed(key, call, failure)
    outcome = ToolOutcome(
        key=key,
        tool=asked.name,
        call_id=asked.id,
        content=bounded(content),
        is_error=failure is not None,
        started=began,
        ended=time.time(),
        attempt=call["attempt"],
    )
    stored = ToolOutcome.load(await steps.persist(key, outcome.dump()))
    extra = {"run": run, "step": key, "tool": asked.name, "seconds": round(time.time() - began, 3), "error": outcome.is_error}
    _LOG.info("tool answered", extra=extra)
    return _came_to(stored)


async def _carried_out(revision: Revision, asked: ToolCall, key: str) -> tuple[str, Failure | None]:
    """What the model will read, and the failure if it is one."""
    try:
        arguments = json.loads(asked.arguments or "{}")
    except (ValueError, RecursionError) as error:
        return _told(Failure("permanent", f"the arguments are not JSON: {error}"))
    if not isinstance(arguments, dict):
        return _told(Failure("permanent", f"the arguments must be a JSON object, not {type(arguments).__name__}"))
    result = await revision.toolbox.call(asked.name, arguments, key=key)
    return _told(result) if isinstance(result, Failure) else (result.content, None)


def _told(failure: Failure) -> tuple[str, Failure]:
    return f"Error: {failure.message}", failure


def _came_to(outcome: ToolOutcome) -> Output:
    return {"key": outcome.key, "tool": outcome.tool, "isError": outcome.is_error}
