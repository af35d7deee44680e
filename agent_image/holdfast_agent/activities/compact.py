"""The activity `compact`: the oldest turns of a run are summed up, so that the model can take the conversation again."""

import logging
import time
from dataclasses import replace

from holdfast_agent import budgets, documents, loop, summaries
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.activities.waiting import held
from holdfast_agent.audit.chain import fingerprint
from holdfast_agent.documents import Document, Head, Usage
from holdfast_agent.model import converse, spoken, system_message, user_message
from holdfast_agent.outcome import Failure

_LOG = logging.getLogger(__name__)


def key(call: Input) -> str:
    """Key of the effect."""
    return documents.compact_key(call["run"], call["turn"])


async def compact(steps: Steps, key: str, call: Input) -> Output:
    """Sum up the turns before `turn`, but for the newest, which stay whole.

    The input has `segments`, and where they apply `summary` (the turn of the compaction before) and `model`. What is summed up is pinned:
    every later call of the model builds on this summary and on the turns after `through`.

    Returns:
        `{key, through, usage, digest}`; the same `through` as before if there is nothing to sum up.
    """
    run, at = call["run"], documents.effect_document(key)
    found = await steps.store.get_many([at, documents.head_key(run)])
    if at in found:
        return _result(found[at].value)
    entry = found.get(documents.head_key(run))
    if entry is None:
        raise LookupError(f"the head of run {run!r} is missing from the state store")
    head = Head.load(entry.value)
    if head.control and (kept := await held(steps, key, call)):
        return kept
    if time.time() >= call["deadline"]:
        return loop.timed_out(key)
    made = await _made(steps, key, call, head)
    return await steps.failed(key, call, made) if isinstance(made, Failure) else _result(await steps.persist(key, made))


async def _made(steps: Steps, key: str, call: Input, head: Head) -> Document | Failure:
    """The document: `{key, content, through, usage, model, started, ended}`."""
    began = time.time()
    async with steps.revisions.use(call["revision"]) as revision:
        conversation = await steps.conversation(call, head, revision)
        model = revision.model(call)
        folded = conversation.turns[: summaries.through([turn.size for turn in conversation.turns], budgets.kept(revision.context))]
        made: Document = {"key": key, "content": conversation.summary, "through": conversation.through, "model": model.label}
        made |= {"usage": Usage().dump(), "started": began}
        if not folded:
            return made | {"ended": time.time()}
        lines = [spoken(message) for turn in folded for message in turn.messages]
        prompt, question = summaries.of_run(head.task, conversation.summary, lines, revision.context)
        answer = await converse(steps.sidecar, model, messages=[system_message(prompt), user_message(question)])
        if isinstance(answer, Failure):
            return replace(answer, message=f"summing up: {answer.message}", cause="call" if answer.cause == "context" else answer.cause)
        content = budgets.cut(answer.content, budgets.summary(revision.context))
        through = folded[-1].number
        _LOG.info("turns summed up", extra={"run": head.id, "step": key, "through": through, "bytes": len(content)})
        return made | {"content": content, "through": through, "usage": answer.usage.beside.dump(), "ended": time.time()}


def _result(document: Document) -> Output:
    return {"key": document["key"], "through": document["through"], "usage": document["usage"], "digest": fingerprint(document)}
