"""kill -9 of every part, at every moment of a run: inside its calls, and at the boundaries between them."""

import asyncio

import pytest

from tests.agent.faults.house import PARTS, house
from tests.agent.faults.oracles import judge
from tests.agent.faults.world import Plan, World

pytestmark = [pytest.mark.dapr, pytest.mark.timeout(300)]

WELL = Plan((("pay", "mail"), ("note",)))
BADLY = Plan((("pay", "pay"), ("pay",)), ends="failure")
INSIDE = {
    "in-the-first-model-call": (WELL, "model", 1, "arrived"),
    "with-the-models-answer-on-its-way": (WELL, "model", 1, "leaving"),
    "in-a-tool-before-its-effect": (WELL, "tool", 1, "arrived"),
    "in-a-tool-after-its-effect": (WELL, "tool", 1, "leaving"),
    "in-a-tool-that-is-asked-once-only": (Plan((("wire",),)), "tool", 1, "leaving"),
    "in-a-later-model-call": (WELL, "model", 2, "arrived"),
    "in-a-later-tool": (WELL, "tool", 2, "leaving"),
    "in-the-last-model-call": (WELL, "model", 3, "leaving"),
    "in-the-first-compensation-before-its-effect": (BADLY, "undo", 2, "arrived"),
    "in-the-first-compensation-after-its-effect": (BADLY, "undo", 2, "leaving"),
    "in-a-later-compensation": (BADLY, "undo", 1, "arrived"),
}
WAITING = "waiting-for-a-person"
CANCELED = "canceled-and-in-a-tool"
BOUNDARIES = {
    "accepted": ("run/{run}",),
    "the-models-turn-is-stored": ("run/{run}/1/model",),
    "the-tools-results-are-stored": ("run/{run}/1/0", "run/{run}/1/1"),
    "the-last-tools-result-is-stored": ("run/{run}/2/0",),
    "the-answer-is-stored": ("run/{run}/3/model",),
}


async def _verdict(here):
    views = {run: await here.ended(run, within=90) for run in here.plans}
    return judge(here.world.calls, here.kills, here.plans, views)


@pytest.mark.parametrize("part", PARTS)
async def test_a_kill_inside_calls_of_many_runs_loses_none_and_repeats_only_what_it_interrupted(part, tmp_path):
    async with house(tmp_path, World()) as here:
        holds = {run: here.world.hold(kind, run, turn, stage) for run, (_, kind, turn, stage) in INSIDE.items()}
        holds[CANCELED] = here.world.hold("tool", CANCELED, 2, "arrived")
        for run, (plan, *_) in INSIDE.items():
            await here.begin(run, plan)
        await here.begin(CANCELED, Plan((("pay",), ("pay",)), ends="cancel"))
        await here.begin(WAITING, Plan((("sign", "note"),)))
        await asyncio.gather(*(asyncio.wait_for(hold.reached.wait(), 30) for hold in holds.values()))
        await here.until(lambda: here.asked(WAITING))
        await here.cancel(CANCELED)
        await here.kill(part)
        for hold in holds.values():
            hold.release.set()
        verdict = await _verdict(here)
        assert not verdict.problems, str(verdict)


@pytest.mark.parametrize("part", ["agent", "daprd", "redis"])
async def test_a_kill_at_a_boundary_between_two_steps_repeats_at_most_the_step_that_had_begun(part, tmp_path):
    async with house(tmp_path, World()) as here:
        for run, keys in BOUNDARIES.items():
            began = asyncio.create_task(here.begin(run, WELL))
            await here.until(lambda run=run, keys=keys: here.stored(*(key.format(run=run) for key in keys)))
            await here.kill(part)
            await began
            await here.ended(run, within=90)
        verdict = await _verdict(here)
        assert not verdict.problems, str(verdict)
