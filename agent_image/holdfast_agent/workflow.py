"""The durable loop: model, tools, model, until there is an answer. Deterministic: it decides from recorded results only.

Dapr replays this generator from its history, so every effect is an activity and every decision is in `loop`. What passes through here
is ids, counters and tool names; messages are documents. One rule keeps Dapr 1.18 from mixing up results: nothing is outstanding when
the run continues as new, because an abandoned activity's result would be handed to the next generation's call of the same number.
For the same reason a time limit never abandons a call: each is bounded, so it is left to settle.
"""

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Generator
from datetime import UTC, timedelta
from typing import Any

from holdfast_agent import loop as decide
from holdfast_agent.engine import Context, Task, TaskFailed, when_all
from holdfast_agent.loop import Loop, Result, Step

Flow = Generator[Task, Any, Any]


class RunFailed(Exception):  # noqa: N818 - Dapr shows the name as the error's type
    """Ends the workflow as FAILED in Dapr too. The head has said so before."""


def agent(ctx: Context, payload: dict[str, Any]) -> Flow:
    """Carry a run on from where its input says it stands."""
    state = Loop.load(payload)
    while True:
        limit = decide.exceeded(state, _now(ctx))
        if limit:
            yield from _fail(ctx, state, limit)
        step = decide.model_step(state)
        [answer] = yield from _settle(ctx, [step], deadline=state.deadline)
        yield from _check(ctx, state, [step], [answer])
        if not answer["calls"]:
            return _summary(state.after(answer))
        steps = decide.tool_steps(state, answer)
        results = yield from _settle(ctx, steps, deadline=state.deadline)
        state = state.after(answer)
        yield from _check(ctx, state, steps, results)
        if state.generation_full:
            step = decide.pack_step(state)
            [packed] = yield from _settle(ctx, [step], deadline=state.deadline)
            yield from _check(ctx, state, [step], [packed])
            ctx.continue_as_new(state.repacked(packed).dump(), save_events=True)
            return None


def _settle(ctx: Context, steps: list[Step], *, deadline: float) -> Flow:
    """Carry out steps side by side; again those that failed for now, until each has a result or there is no time left."""
    results: dict[str, Result] = {}
    failed: dict[str, Counter[str]] = {step.key: Counter() for step in steps}
    pending = steps
    for attempt in itertools.count(1):
        tasks = [
            ctx.call_activity(step.activity, input=step.input | {"attempt": attempt, "failed": failed[step.key]["call"]})
            for step in pending
        ]
        with contextlib.suppress(TaskFailed):  # each task is looked at below
            yield when_all(tasks)
        verdicts = {
            step.key: decide.judge(step, failed[step.key], None if task.is_failed else task.get_result())
            for step, task in zip(pending, tasks, strict=True)
        }
        results |= {key: verdict.result for key, verdict in verdicts.items() if verdict.result is not None}
        pending = [step for step in pending if step.key not in results]
        delay = max((verdicts[step.key].delay for step in pending), default=0.0)
        if _now(ctx) + delay >= deadline:
            results |= {step.key: decide.timed_out(step.key, verdicts[step.key].message) for step in pending}
            pending = []
        if not pending:
            break
        for step in pending:
            failed[step.key][verdicts[step.key].cause] += 1
        yield from _pause(ctx, delay, decide.poke_event(steps[0].key, attempt))
    return [results[step.key] for step in steps]


def _pause(ctx: Context, delay: float, poke: str) -> Flow:
    """Wait on a durable timer. A timer can be lost with the scheduler's data, so an event makes the run look at the time too."""
    until = _now(ctx) + delay
    while (left := until - _now(ctx)) > 0:
        try:
            # With a timeout, always: without one the SDK sets a timer too, due in the year 9999, which stays in the scheduler.
            yield ctx.wait_for_external_event(poke, timeout=timedelta(seconds=left))
        except TimeoutError:
            return


def _check(ctx: Context, state: Loop, steps: list[Step], results: list[Result]) -> Flow:
    error = decide.failed(steps, results)
    if error:
        yield from _fail(ctx, state, error)


def _fail(ctx: Context, state: Loop, error: dict[str, str]) -> Flow:
    # A run that is out of time has all the time it needs to say so.
    yield from _settle(ctx, [decide.finish_step(state, error)], deadline=math.inf)
    raise RunFailed(f"{error['type']}: {error['message']}")


def _summary(state: Loop) -> dict[str, Any]:
    """The workflow's output: what it took. The answer itself is in the head."""
    return {"run": state.run, "revision": state.revision, "usage": state.dump()["usage"]}


def _now(ctx: Context) -> float:
    """The time of the event that is being worked on, the same at every replay."""
    return float(ctx.current_utc_datetime.replace(tzinfo=UTC).timestamp())
