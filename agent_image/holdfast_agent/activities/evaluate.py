"""The activity `evaluate`: a critic reads an answer; the run ends with it, or the model is told what to change."""

import logging
import time
from dataclasses import replace

from holdfast_agent import documents, loop, verdicts
from holdfast_agent.activities.completion import complete
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.activities.waiting import held
from holdfast_agent.answers import Unfit
from holdfast_agent.audit.chain import fingerprint
from holdfast_agent.documents import Document, Head, ModelTurn, Usage
from holdfast_agent.failures import envelope
from holdfast_agent.model import converse, system_message, user_message
from holdfast_agent.outcome import Failure
from holdfast_agent.revisions import Revision

_LOG = logging.getLogger(__name__)


def key(call: Input) -> str:
    """Key of the effect."""
    return documents.evaluation_key(call["run"], call["turn"])


async def evaluate(steps: Steps, key: str, call: Input) -> Output:
    """Let the critic judge the answer of a turn.

    The input has `usage` (with that turn in it), `round` (which answer it is, from 1) and `last` (whatever the critic may say of this one,
    it is the answer, so the critic is not asked), and where they apply `model` and `audit` as for `model`.

    Returns:
        `{key, accepted, usage, ended, digest}`; `ended`: the run has its answer and the head says so.
    """
    run, at = call["run"], documents.effect_document(key)
    found = await steps.store.get_many([at, documents.head_key(run)])
    entry = found.get(documents.head_key(run))
    if entry is None:
        raise LookupError(f"the head of run {run!r} is missing from the state store")
    head = Head.load(entry.value)
    turn = await steps.transcripts.turn(run, call["turn"], accepted=head.created)
    answer = turn.content if turn.answer is None else turn.answer
    if at in found:
        judged = found[at].value
    else:
        if head.terminal:
            return envelope(key, Failure("fatal", f"the run has ended already, {head.status}"), call["attempt"])
        if head.control and (kept := await held(steps, key, call)):
            return kept
        if time.time() >= call["deadline"]:
            return loop.timed_out(key)
        async with steps.revisions.use(call["revision"]) as revision:
            made = await _judged(steps, key, call, revision, turn=turn, task=head.task, answer=answer)
        if isinstance(made, Failure):
            return await steps.failed(key, call, made)
        judged = await steps.persist(key, made)
    ended = judged["accepted"] or call["last"]
    result = {"key": key, "accepted": judged["accepted"], "usage": judged["usage"], "ended": ended, "digest": fingerprint(judged)}
    if not ended:
        return result
    usage = Usage.load(call["usage"]).plus(Usage.load(judged["usage"]))
    more = {"evaluation": {"accepted": judged["accepted"], "rounds": judged["rounds"]}}
    return await complete(steps, result, call, entry, answer=answer, usage=usage, at=judged["ended"], more=more)


async def _judged(
    steps: Steps, key: str, call: Input, revision: Revision, *, turn: ModelTurn, task: str, answer: str
) -> Document | Failure:
    """The document of the judgement, with what the model is told: `{key, accepted, feedback, rounds, usage, model, started, ended}`."""
    began, evaluation = time.time(), revision.config.evaluation
    said: Document = {"key": key, "accepted": False, "feedback": "", "rounds": call["round"] - 1, "usage": Usage().dump(), "model": ""}
    if evaluation is None:
        raise LookupError(f"revision {revision.name} has no evaluation, and turn {turn.number} waits for one")
    if not call["last"]:
        critic = evaluation.model or revision.model(call)
        prompt, question = verdicts.asked(
            evaluation.criteria, task, answer, context=critic.context_tokens, again=call.get("tried", call["attempt"] - 1) > 0
        )
        reply = await converse(steps.sidecar, critic, messages=[system_message(prompt), user_message(question)])
        if isinstance(reply, Failure):
            return replace(reply, message=f"evaluation: {reply.message}", cause="call" if reply.cause == "context" else reply.cause)
        judgement = verdicts.read(reply.content)
        if isinstance(judgement, Unfit):
            message = f"evaluation: the critic {critic.label} gave no judgement (spec.evaluation.model). {judgement.problem}"
            return Failure("transient", message, cause="charged")
        feedback = "" if judgement.accepted else verdicts.feedback(judgement)
        said |= {"accepted": judgement.accepted, "feedback": feedback, "rounds": call["round"]}
        said |= {"usage": reply.usage.beside.dump(), "model": critic.label}
    _LOG.info("answer judged", extra={"run": call["run"], "step": key, "accepted": said["accepted"], "round": call["round"]})
    return said | {"started": began, "ended": time.time()}
