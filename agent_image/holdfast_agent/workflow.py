"""The durable loop: model, tools, model, until there is an answer. Deterministic: it decides from recorded results only.

Dapr replays this generator from its history, so every effect is an activity and every decision is in `loop`, `attempts`, `limits` and
`progress`. What passes through here is ids, counters, digests and tool names; messages are documents. One rule keeps Dapr 1.18 from
mixing up results: nothing is outstanding when the run continues as new, because an abandoned activity's result would be handed to the
next generation's call of the same number. For the same reason neither a time limit nor a cancel abandons a call: each is bounded, so it
is left to settle.
"""

import contextlib
import itertools
import math
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any, Final

from holdfast_agent import limits
from holdfast_agent import loop as decide
from holdfast_agent.attempts import Choice, Pursuit
from holdfast_agent.engine import Context, Task, TaskFailed, when_all
from holdfast_agent.limits import Limit
from holdfast_agent.loop import Loop, Result, Step

Flow = Generator[Task, Any, Any]

_UNDONE_PER_GENERATION: Final = 50


class RunFailed(Exception):  # noqa: N818 - Dapr shows the name as the error's type
    """Ends the workflow as FAILED in Dapr too. The head has said so before."""


class _End(Exception):  # noqa: N818 - it is not always an error
    """The run does not end well: from here on only what was done is undone."""

    def __init__(self, state: Loop, error: dict[str, str]) -> None:
        super().__init__(error["type"])
        self.state, self.error = state, error


def agent(ctx: Context, payload: dict[str, Any]) -> Flow:
    """Carry a run on from where its input says it stands."""
    state = Loop.load(payload)
    try:
        if state.ending is None:
            return (yield from _work(ctx, state))
    except _End as end:
        state = replace(end.state, ending=end.error)
    yield from _finish(ctx, state)
    return None


def _work(ctx: Context, state: Loop) -> Flow:
    if state.plan and state.plan.session and state.turn == 1:
        recalled = yield from _ask(ctx, state, decide.recall_step(state), _summarizer(state))
        state = state.beside(recalled)
    while True:
        state, over = yield from _turn(ctx, state)
        if over:
            return _summary(state)
        if state.generation_full and not state.closing:
            packed = yield from _ask(ctx, state, decide.pack_step(state))
            ctx.continue_as_new(state.repacked(packed).dump(), save_events=True)
            return None


def _turn(ctx: Context, state: Loop) -> Flow:
    """Where the run stands after one more turn, and whether it has ended well."""
    state = _limited(state, limits.exceeded(state, _now(ctx)))
    if state.crowded:
        summed_up = yield from _ask(ctx, state, decide.compact_step(state), _summarizer(state))
        state = state.compacted(summed_up)
        state = _limited(state, limits.exceeded(state, _now(ctx)))
    state, answer = yield from _answered(ctx, state)
    if answer.get("open") == decide.INVALID:
        return _sent_back(state.after(answer)), False
    if answer.get("open") == decide.CANDIDATE:
        return (yield from _evaluated(ctx, state.after(answer)))
    if not answer["calls"]:
        return state.after(answer), True
    if state.closing:
        raise _End(state.skipping(answer), _unanswered(state))
    over = limits.calls_exceeded(state, answer)
    if over:
        return _limited(state.skipping(answer), over), False
    steps = decide.tool_steps(state, answer)
    results = yield from _settle(ctx, steps, deadline=state.deadline, together=state.plan is None)
    state = state.after(answer, results)
    _check(state, steps, results)
    return _limited(state, limits.going_round(state, answer, results)), False


def _sent_back(state: Loop) -> Loop:
    """An answer that does not fit the schema: the model is told, so many times."""
    if state.closing:
        raise _End(state, _unanswered(state))
    state = replace(state, repairs=state.repairs + 1)
    if state.repairs > (state.plan.max_repairs if state.plan else 0):
        raise _End(state, decide.unrepaired(state))
    return state


def _evaluated(ctx: Context, state: Loop) -> Flow:
    """An answer that a critic reads first: it is good enough, or the next turn is to give a better one."""
    verdict = yield from _ask(ctx, state, decide.evaluation_step(state), _choice(state))
    state = replace(state.beside(verdict), rounds=state.rounds + 1)
    if state.closing and not verdict["ended"]:
        raise _End(state, _unanswered(state))
    return state, bool(verdict["ended"])


def _limited(state: Loop, limit: Limit | None) -> Loop:
    """The run goes on, is asked for its best answer, or ends by a limit."""
    if limit is None:
        return state
    if state.plan is None or state.plan.on_exceeded == "fail" or limit.name == limits.RUN_TIME:
        raise _End(state, limit.error)
    return replace(state, closing=limit.name, met=limit.error)


def _unanswered(state: Loop) -> dict[str, str]:
    return limits.unanswered(state.met or {})


def _answered(ctx: Context, state: Loop) -> Flow:
    """Where the run stands, and what the model says; after a compaction if the conversation turns out to be too long for it."""
    answer = yield from _tried(ctx, state, decide.model_step(state), _reader(state))
    if decide.too_long(state, answer):
        # What it put on record is so however the run goes on, and the model is asked again.
        before = {"skipped": answer.get("skipped", [])}
        summed_up = yield from _tried(ctx, state, decide.compact_step(state), _summarizer(state))
        _check(_recorded(state.noting(before), summed_up), [decide.compact_step(state)], [summed_up])
        state = state.compacted(summed_up)
        answer = before | (yield from _tried(ctx, state, decide.model_step(state), _reader(state)))
    _check(_recorded(state, answer), [decide.model_step(state)], [answer])
    return state, answer


def _ask(ctx: Context, state: Loop, step: Step, choice: Choice | None = None) -> Flow:
    """The answer of a step beside which nothing is done."""
    answer = yield from _tried(ctx, state, step, choice)
    _check(_recorded(state, answer), [step], [answer])
    return answer


def _tried(ctx: Context, state: Loop, step: Step, choice: Choice | None) -> Flow:
    """The same, whatever it is."""
    [answer] = yield from _settle(ctx, [step], deadline=state.deadline, together=state.plan is None, choice=choice)
    return answer


def _choice(state: Loop) -> Choice | None:
    return Choice.of(state.plan, state.model)


def _reader(state: Loop) -> Choice | None:
    """For the next turn: a route may lead to another model."""
    return Choice.of(state.plan, state.model, state.routed)


def _summarizer(state: Loop) -> Choice | None:
    return Choice.of(state.plan, state.model, state.plan.summarizer if state.plan else None)


def _recorded(state: Loop, answer: Result) -> Loop:
    """Where the run stands with what was stored, for a run that ends over it: what was paid for is on record."""
    if "calls" in answer:
        return state.after(answer)
    return state.beside(answer) if "usage" in answer else state.noting(answer)


def _check(state: Loop, steps: list[Step], results: list[Result]) -> None:
    if decide.canceled(results):
        raise _End(state, {"type": decide.CANCELED, "message": "the run was canceled"})
    error = decide.failed(steps, results)
    if error:
        raise _End(state, error)


def _settle(ctx: Context, steps: list[Step], *, deadline: float, together: bool = False, choice: Choice | None = None) -> Flow:
    """Carry out steps side by side, in rounds, until each has a result or there is no time left.

    Args:
        ctx: Dapr's.
        steps: of one turn.
        deadline: after which nothing is tried again.
        together: after a round, wait until all that failed are due, as runs of the first shape do; else for the first of them.
        choice: of the model, if the step may have another one.
    """
    pursuits = [Pursuit(step, choice, insists=not together) for step in steps]
    due, woken = pursuits, False
    for number in itertools.count(1):
        at = _now(ctx) if woken else math.inf
        tasks = [ctx.call_activity(pursuit.step.activity, input=pursuit.input(number, at)) for pursuit in due]
        with contextlib.suppress(TaskFailed):  # each task is looked at below
            yield when_all(tasks)
        for pursuit, task in zip(due, tasks, strict=True):
            pursuit.take(None if task.is_failed else task.get_result(), _now(ctx))
        pending = _pending(pursuits, _now(ctx), deadline, together=together)
        if not pending:
            break
        until = min(pursuit.ends_by(deadline) for pursuit in pending)
        heed = not together or any(pursuit.kind != "retry" for pursuit in pending)
        woken = yield from _pause(ctx, until, decide.poke_event(steps[0].key, number if together else None), heed=heed)
        if not woken:
            pending = _pending(pursuits, until, deadline, together=together)
        if not pending:
            break
        due = [pursuit for pursuit in pending if woken or pursuit.due <= until]
    return [pursuit.result for pursuit in pursuits]


def _pending(pursuits: list[Pursuit], now: float, deadline: float, *, together: bool) -> list[Pursuit]:
    """The steps that have no result yet and still need one."""
    if together:
        latest = max((pursuit.due for pursuit in pursuits if pursuit.result is None), default=0.0)
        for pursuit in pursuits:
            pursuit.due = latest
    elif any(pursuit.stops for pursuit in pursuits):
        for pursuit in pursuits:
            pursuit.drop()
    for pursuit in pursuits:
        pursuit.expire(now, deadline)
    return [pursuit for pursuit in pursuits if pursuit.result is None]


def _pause(ctx: Context, until: float, poke: str, *, heed: bool) -> Flow:
    """Wait on a durable timer, or until woken: whether that was it.

    A timer can be lost with the scheduler's data, so an event makes the run look at the time too, and whoever changed the head raises it.
    """
    while (left := until - _now(ctx)) > 0:
        try:
            # With a timeout, always: without one the SDK sets a timer too, due in the year 9999, which stays in the scheduler.
            yield ctx.wait_for_external_event(poke, timeout=timedelta(seconds=left))
        except TimeoutError:
            return False
        if heed:
            return True
    return False


def _finish(ctx: Context, state: Loop) -> Flow:
    """Undo what was done, newest first, and write down how the run ended. Nobody's deadline cuts that short."""
    error = state.ending or {}
    status = "CANCELED" if error["type"] == decide.CANCELED else "FAILED"
    for undone in itertools.count():
        if not state.undo:
            break
        if undone == _UNDONE_PER_GENERATION:
            ctx.continue_as_new(state.dump(), save_events=True)
            return None
        step = decide.compensate_step(state, {"status": status, "error": error})
        [result] = yield from _settle(ctx, [step], deadline=math.inf)
        state = state.undone(result)
    error = decide.with_left(error, state.left)
    yield from _settle(ctx, [decide.finish_step(state, error, status)], deadline=math.inf, together=state.plan is None)
    raise RunFailed(f"{error['type']}: {error['message']}")


def _summary(state: Loop) -> dict[str, Any]:
    """The workflow's output: what it took. The answer itself is in the head."""
    return {"run": state.run, "revision": state.revision, "usage": state.dump()["usage"]}


def _now(ctx: Context) -> float:
    """The time of the event that is being worked on, the same at every replay."""
    return float(ctx.current_utc_datetime.replace(tzinfo=UTC).timestamp())
