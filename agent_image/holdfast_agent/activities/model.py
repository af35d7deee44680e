"""The activity `model`: one turn of the model, and the end of the run if it is the answer."""

import logging
import time
from dataclasses import replace

from holdfast_agent import budgets, documents, loop
from holdfast_agent.activities.completion import complete
from holdfast_agent.activities.steps import Input, Output, Steps, UnstoredError
from holdfast_agent.activities.waiting import held
from holdfast_agent.audit.chain import fingerprint, link
from holdfast_agent.audit.records import arguments_digest
from holdfast_agent.conversations import Conversation
from holdfast_agent.documents import Document, Head, ModelTurn, ToolOutcome, Usage
from holdfast_agent.failures import envelope
from holdfast_agent.model import Answer, converse, size, user_message
from holdfast_agent.outcome import Failure
from holdfast_agent.revisions import Revision
from holdfast_agent.store import Entry
from holdfast_agent.turns import Terms, closing_message, skipped_message
from holdfast_api.config import ModelConfig

_LOG = logging.getLogger(__name__)


def key(call: Input) -> str:
    """Key of the effect."""
    return documents.model_key(call["run"], call["turn"])


async def ask(steps: Steps, key: str, call: Input) -> Output:
    """Ask the model for one turn.

    Beside what every step of a run brings, the input has `segments` and `usage`, and where they apply: `model` (which of the model and its
    fallbacks), `summary` (the turn of the newest compaction), `repairs` (answers that were sent back), `closing` (the limit that makes this
    the last turn) and `audit` (the chain so far).

    Returns:
        `{key, calls: [tool names], digests: [of their arguments], usage, model, digest, skipped}`; no calls means that the run has its
        answer and the head says so, unless `open` is there. Or a failure, with all of this beside it if an answer was paid for; one of the
        cause `context` is met by compaction.
    """
    run, at = call["run"], documents.effect_document(key)
    found = await steps.store.get_many([at, documents.head_key(run)])
    entry = found.get(documents.head_key(run))
    if entry is None:
        raise LookupError(f"the head of run {run!r} is missing from the state store")
    head = Head.load(entry.value)
    if head.terminal and at not in found:
        return envelope(key, Failure("fatal", f"the run has ended already, {head.status}"), call["attempt"])
    skipped = await _skipped(steps, call, head)
    if at in found:
        return await _said(steps, found[at].value, call, entry, skipped)
    said = await _asked(steps, key, call, head, skipped)
    if isinstance(said, ModelTurn):
        try:
            return await _said(steps, await steps.persist(key, said.dump()), call, entry, skipped)
        except UnstoredError as error:
            said = envelope(key, error.failure, call["attempt"])
    # They are on record whatever became of this turn.
    return said | ({"skipped": skipped} if skipped else {})


async def _asked(steps: Steps, key: str, call: Input, head: Head, skipped: list[Output]) -> ModelTurn | Output:
    """What the model said, or the activity's answer if it said nothing."""
    if head.control and (kept := await held(steps, key, call)):
        return kept
    if time.time() >= call["deadline"]:
        return loop.timed_out(key)
    async with steps.revisions.use(call["revision"]) as revision:
        made = await _made(steps, key, call | {"audit": link(call.get("audit"), skipped)}, head, revision)
    return await steps.failed(key, call, made) if isinstance(made, Failure) else made


async def _made(steps: Steps, key: str, call: Input, head: Head, revision: Revision) -> ModelTurn | Failure:
    began, model, closing = time.time(), revision.model(call), call.get("closing")
    conversation = await steps.conversation(call, head, revision)
    # Some providers refuse a conversation with calls in it when no tools are declared, so for the last turn they are, and cannot be called.
    tools = await revision.declarations() if not closing or conversation.turns else ()
    preamble = revision.preamble  # after the tools: it says which of them cannot be had
    messages = [*preamble, *conversation.messages(head.task), *([user_message(closing_message(closing))] if closing else [])]
    # After a compaction the estimate has had its say; now the provider has the word.
    summed_up = call.get("summary") == call["turn"]
    if not summed_up and (too_long := _too_long(conversation, size([*preamble, *tools]) + len(head.task), model)):
        return too_long
    answer = await converse(steps.sidecar, model, messages=messages, tools=tools, turn=call["turn"], choice="none" if closing else "auto")
    if isinstance(answer, Failure):
        # What cannot be summed up is too long for good.
        return answer if answer.cause != "context" or conversation.foldable else replace(answer, cause="call")
    extra = {"run": head.id, "step": key, "seconds": round(time.time() - began, 3), "calls": len(answer.calls), "dropped": answer.dropped}
    _LOG.info("model answered", extra=extra)
    return _turn(key, answer, Terms.of(revision.config, revision.contract, call), model=model, call=call, began=began)


def _too_long(conversation: Conversation, beside: int, model: ModelConfig) -> Failure | None:
    """Some models (Ollama's) silently forget the beginning of what is too long, so it is not sent to them where it can be summed up."""
    asked = budgets.tokens(conversation.size + beside)
    if not conversation.foldable or asked <= model.context_tokens:
        return None
    message = f"the conversation has about {asked} tokens; spec.model.contextTokens is {model.context_tokens}"
    return Failure("permanent", message, cause="context")


def _turn(key: str, answer: Answer, terms: Terms, *, model: ModelConfig, call: Input, began: float) -> ModelTurn:
    fields = terms.fields(answer)
    dropped = bool(fields) or (terms.closing and answer.content.strip())
    calls = () if dropped else answer.calls
    return ModelTurn(
        key=key,
        content=answer.content,
        calls=calls,
        usage=Usage.load(answer.usage.dump() | {"tool_calls": len(calls)}),
        model=model.label,
        started=began,
        ended=time.time(),
        finish_reason=answer.finish_reason,
        attempt=call.get("tried", call["attempt"] - 1) + 1,  # a round that only waited is no attempt
        estimated=answer.estimated,
        audit=call.get("audit"),
        **fields,
    )


async def _said(steps: Steps, document: Document, call: Input, head: Entry, skipped: list[Output]) -> Output:
    turn = ModelTurn.load(document)
    result: Output = {
        "key": turn.key,
        "calls": [called.name for called in turn.calls],
        "digests": [arguments_digest(called.arguments) for called in turn.calls],
        "usage": turn.usage.dump(),
        "model": call.get("model", 0),
        "digest": fingerprint(document),
    }
    result |= {"skipped": skipped} if skipped else {}
    if turn.failure:
        return result | envelope(turn.key, Failure("fatal", turn.failure["message"], cause="output"), call["attempt"])
    if turn.open:
        return result | {"open": turn.open}
    if turn.calls:
        return result
    answer, usage = turn.content if turn.answer is None else turn.answer, Usage.load(call["usage"]).plus(turn.usage)
    more = {"exceeded": call["closing"]} if call.get("closing") else {}
    return await complete(steps, result, call, head, answer=answer, usage=usage, at=turn.ended, more=more)


async def _skipped(steps: Steps, call: Input, head: Head) -> list[Output]:
    """Of the calls that the limit came before it is on record that they were not carried out: `[{key, digest}]`."""
    if not call.get("closing") or call["turn"] == 1:
        return []
    said = await steps.transcripts.turn(call["run"], call["turn"] - 1, accepted=head.created)
    there = await steps.store.get_many(map(documents.effect_document, said.call_keys()))
    found = [entry.value for entry in there.values()]
    for name, asked in zip(said.call_keys(), said.calls, strict=True):
        if documents.effect_document(name) not in there:
            now, told = time.time(), skipped_message(call["closing"])
            outcome = ToolOutcome(name, asked.name, asked.id, told, is_error=True, started=now, ended=now, outcome="skipped")
            found.append(await steps.persist(name, outcome.dump()))
    skipped = {document["key"]: fingerprint(document) for document in found if document.get("outcome") == "skipped"}
    return [{"key": name, "digest": skipped[name]} for name in said.call_keys() if name in skipped]
