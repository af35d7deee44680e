"""A killer that strikes every second to third, at random, while many runs go on. The long version is `make soak`."""

import os
import random

import pytest

from tests.agent.faults.house import house
from tests.agent.faults.killer import Soak
from tests.agent.faults.world import World

pytestmark = [pytest.mark.dapr, pytest.mark.timeout(300)]


# Not the scheduler: one that was killed takes 25 s, so that nothing would happen in between. `test_moments` and `make soak` kill it.
PARTS = ("agent", "daprd", "redis")


async def test_random_kills_lose_no_run_and_repeat_no_effect(tmp_path):
    seed = int(os.environ.get("FAULTS_SEED", "0")) or random.randrange(10**6)
    async with house(tmp_path, World(model_latency=0.05, tool_latency=0.05)) as here:
        soak = Soak(here, seed=seed, turns=300, seconds=30, at_once=6, longest=30, least=1, most=3, parts=PARTS)
        verdict = await soak.carry_out()
        assert not verdict.problems, f"FAULTS_SEED={seed} struck {soak.struck}: {verdict}"
