"""The activity `recall`: what a run knows of its session, taken down once at its start; a long session is summed up first."""

import logging
import time
from dataclasses import replace

from holdfast_agent import budgets, documents, loop, sessions, summaries
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.activities.waiting import held
from holdfast_agent.audit.chain import fingerprint
from holdfast_agent.documents import Document, Head, Usage
from holdfast_agent.model import converse, system_message, user_message
from holdfast_agent.outcome import Failure
from holdfast_agent.sessions import Exchange, Sessions

_LOG = logging.getLogger(__name__)


def key(call: Input) -> str:
    """Key of the effect."""
    return f"{call['run']}/recall"


async def recall(steps: Steps, key: str, call: Input) -> Output:
    """Pin the session as it is now. The summary, if one is made, is pinned with it and only then put into the session.

    So a second execution pays for no second summary, and of two runs that sum up the same exchanges one puts its summary in; both go on.

    Returns:
        `{key, usage, digest}`.
    """
    run, at = call["run"], sessions.context_key(call["run"])
    found = await steps.store.get_many([at, documents.head_key(run)])
    entry = found.get(documents.head_key(run))
    if entry is None:
        raise LookupError(f"the head of run {run!r} is missing from the state store")
    head = Head.load(entry.value)
    if at in found:
        pinned = found[at].value
    else:
        if head.control and (kept := await held(steps, key, call)):
            return kept
        if time.time() >= call["deadline"]:
            return loop.timed_out(key)
        made = await _taken(steps, key, call, head.session or "")
        if isinstance(made, Failure):
            return await steps.failed(key, call, made)
        steps.transcripts.meet(run, head.created)
        pinned = await steps.persist(f"{run}/context", made)
    if pinned.get("oldest"):
        oldest = tuple(Exchange(**exchange) for exchange in pinned["oldest"])
        await Sessions(steps.store).compacted(head.session or "", oldest, pinned["summary"])
    return {"key": key, "usage": pinned["usage"], "digest": fingerprint(pinned)}


async def _taken(steps: Steps, key: str, call: Input, session: str) -> Document | Failure:
    """The snapshot: a session's document with `{usage, oldest, model}`; `oldest` are the exchanges that its summary newly stands for."""
    known = Sessions(steps.store)
    async with steps.revisions.use(call["revision"]) as revision:
        memory, stands = revision.config.memory, await known.snapshot(session)
        if memory.compaction == "truncate" and stands.past(memory.max_messages):
            stands = await known.truncated(session, memory.max_messages)
        oldest = stands.oldest(memory.max_messages)
        if memory.compaction == "truncate" or not oldest:
            return stands.dump() | {"usage": Usage().dump()}
        model = revision.model(call)
        prompt, question = summaries.of_session(stands.summary or "", _lines(oldest), revision.context)
        answer = await converse(steps.sidecar, model, messages=[system_message(prompt), user_message(question)])
        if isinstance(answer, Failure):
            cause = "call" if answer.cause == "context" else answer.cause
            return replace(answer, message=f"summing up the session: {answer.message}", cause=cause)
        _LOG.info("session summed up", extra={"run": call["run"], "step": key, "exchanges": len(oldest)})
        summed = stands.summarised(oldest, budgets.cut(answer.content, budgets.summary(revision.context)))
        return summed.dump() | {
            "usage": answer.usage.beside.dump(),
            "oldest": [dict(vars(exchange)) for exchange in oldest],
            "model": model.label,
        }


def _lines(entries: tuple[Exchange, ...]) -> list[summaries.Line]:
    return [line for entry in entries for line in (("user", entry.task), ("assistant", entry.answer))]
