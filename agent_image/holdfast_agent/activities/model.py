"""The activity `model`: one turn of the model, and the end of the run if it is the answer."""

import logging
import time
from typing import Any

from holdfast_agent import documents, loop
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.documents import Head, ModelTurn, Usage
from holdfast_agent.failures import envelope
from holdfast_agent.model import Answer, converse, user_message
from holdfast_agent.outcome import Failure
from holdfast_agent.revisions import Revision
from holdfast_agent.store import Entry

_LOG = logging.getLogger(__name__)


def key(call: Input) -> str:
    """Key of the effect."""
    return documents.model_key(call["run"], call["turn"])


async def ask(steps: Steps, key: str, call: Input) -> Output:
    """Ask the model for one turn.

    Returns:
        `{key, calls: [tool names], usage}`; no calls means that the run has its answer and the head says so.
    """
    run, at, began = call["run"], documents.effect_document(key), time.time()
    found = await steps.store.get_many([at, documents.head_key(run)])
    head = _head(found, run)
    if at in found:
        return await _said(steps, ModelTurn.load(found[at].value), call, found[documents.head_key(run)])
    if head.terminal:
        return envelope(key, Failure("fatal", f"the run has ended already, {head.status}"), call["attempt"])
    if began >= call["deadline"]:
        return loop.timed_out(key)
    earlier = await steps.transcripts.messages(run, turns=call["turn"] - 1, segments=call["segments"])
    async with steps.revisions.use(call["revision"]) as revision:
        answer = await converse(
            steps.sidecar,
            revision.config.model,
            messages=[*revision.preamble, user_message(head.task), *earlier],
            tools=revision.declarations,
            turn=call["turn"],
        )
    if isinstance(answer, Failure):
        return await steps.failed(key, call, answer)
    turn = _turn(key, answer, revision=revision, began=began, attempt=call["attempt"])
    stored = ModelTurn.load(await steps.persist(key, turn.dump()))
    extra = {"run": run, "step": key, "seconds": round(time.time() - began, 3), "calls": len(turn.calls), "dropped": answer.dropped}
    _LOG.info("model answered", extra=extra)
    return await _said(steps, stored, call, found[documents.head_key(run)])


async def _said(steps: Steps, turn: ModelTurn, call: Input, head: Entry) -> Output:
    if not turn.calls:
        usage = Usage.load(call["usage"]).plus(turn.usage)
        await steps.end(call["run"], lambda head: head.completed(turn.content, usage, turn.ended), known=head)
        _LOG.info("run completed", extra={"run": call["run"], "turns": usage.turns, "tool_calls": usage.tool_calls})
    return {"key": turn.key, "calls": [called.name for called in turn.calls], "usage": turn.usage.dump()}


def _turn(key: str, answer: Answer, *, revision: Revision, began: float, attempt: int) -> ModelTurn:
    return ModelTurn(
        key=key,
        content=answer.content,
        calls=answer.calls,
        usage=answer.usage,
        model=revision.config.model.label,
        started=began,
        ended=time.time(),
        finish_reason=answer.finish_reason,
        attempt=attempt,
    )


def _head(found: dict[str, Any], run: str) -> Head:
    entry = found.get(documents.head_key(run))
    if entry is None:
        raise LookupError(f"the head of run {run!r} is missing from the state store")
    return Head.load(entry.value)
