"""Schedules on a real Dapr, with a tick every two seconds: each is one run or accounted for, whatever dies."""

import asyncio
from datetime import datetime

import pytest

from holdfast_api.config import ScheduleConfig, TriggerConfig
from tests.agent.agents import second_replica

pytestmark = pytest.mark.dapr

STEP = 2
EVERY_TWO_SECONDS = """
import sys
from holdfast_agent.__main__ import main
from holdfast_agent.triggers import schedule, ticker
class EveryTwoSeconds:
    @staticmethod
    def parse(*_):
        return EveryTwoSeconds()
    def after(self, moment):
        return int(moment // 2) * 2 + 2
    def until(self, moment):
        return int(moment // 2) * 2
    def count(self, after, until, *, most):
        return min(most, int(until // 2 - after // 2))
ticker.Cron = EveryTwoSeconds
schedule.stamp = str
sys.exit(main(["serve", "--host", "127.0.0.1", "--port", sys.argv[1]]))
"""


def _trigger(name, **more):
    return TriggerConfig(name=name, task=f"work of {name}", schedule=ScheduleConfig(cron="* * * * *", **more))


async def _triggers(agent):
    status, view = await agent.call("GET", "/triggers")
    assert status == 200, view
    return {trigger["name"]: trigger for trigger in view["triggers"]}


async def _runs(agent, trigger):
    """Runs of a trigger by their tick."""
    status, page = await agent.call("GET", "/runs?limit=500")
    assert status == 200, page
    return {int(run["id"].rpartition("-")[2]): run for run in page["runs"] if run["id"].startswith(f"{trigger}-")}


def _begun(agent, trigger, count):
    async def probe():
        return (await _triggers(agent))[trigger]["begun"] >= count

    return probe


async def _settled(agent, trigger):
    """The trigger when no tick of it is about to begin."""
    found = (await _triggers(agent))[trigger]
    return None if "owed_tick" in found else found


async def test_every_tick_is_one_run_or_accounted_for_though_everything_is_killed(redis_server, stage, tmp_path):
    here = await stage(
        {"rules": [{"turns": [{"answer": "done"}]}]}, store=redis_server.component, program=EVERY_TWO_SECONDS, triggers=(_trigger("often"),)
    )
    await here.agent.until(_begun(here.agent, "often", 1), within=60)
    first = int((await _triggers(here.agent))["often"]["last_run"].rpartition("-")[2])
    async with second_replica(here, tmp_path, program=EVERY_TWO_SECONDS) as (other, daprd):
        await here.agent.kill()
        await other.until(_begun(other, "often", (await _triggers(other))["often"]["begun"] + 1), within=60)
        await here.agent.start()
        await asyncio.gather(other.kill(), daprd.kill(), redis_server.kill())
    await here.agent.kill()
    await redis_server.start()
    await asyncio.sleep(2 * STEP)  # ticks that nobody is there for
    await here.agent.start()
    now = (await _triggers(here.agent))["often"]["begun"]
    await here.agent.until(_begun(here.agent, "often", now + 2), within=60)
    found = await here.agent.until(lambda: _settled(here.agent, "often"), within=60)
    due = range(first, int(found["last_run"].rpartition("-")[2]) + STEP, STEP)
    ticks = [tick for tick in due if (await here.agent.call("GET", f"/runs/often-{tick}"))[0] == 200]
    assert len(ticks) == found["begun"]
    assert len(due) == found["begun"] + found["missed"]
    assert found["missed"] >= 1
    for tick in ticks:
        assert (await here.agent.ended(f"often-{tick}"))["result"] == "done"


async def test_what_becomes_of_a_tick_while_an_earlier_run_is_not_over(stage):
    here = await stage(
        {"rules": [{"turns": [{"answer": "done", "latency": "5s"}]}]},
        program=EVERY_TWO_SECONDS,
        triggers=(
            _trigger("strict", concurrency_policy="Forbid"),
            _trigger("fresh", concurrency_policy="Replace"),
            _trigger("off", suspend=True),
        ),
    )
    await here.agent.until(_begun(here.agent, "strict", 2), within=60)
    await here.agent.until(_begun(here.agent, "fresh", 2), within=60)
    found = await _triggers(here.agent)
    assert found["strict"]["skipped"] >= 1
    first, second = sorted((await _runs(here.agent, "strict")).items())[:2]
    assert first[1]["ended"] < second[1]["created"]
    assert (first[1]["trigger"]["kind"], first[1]["trigger"]["name"]) == ("schedule", "strict")
    assert datetime.fromisoformat(first[1]["trigger"]["tick"]).timestamp() == first[0]
    replaced, successor = sorted(await _runs(here.agent, "fresh"))[:2]
    run = await here.agent.ended(f"fresh-{replaced}")
    assert (run["status"], run["cancel"]["reason"]) == ("CANCELED", f"replaced by fresh-{successor}")
    assert "next_tick" not in found["off"]
    assert await _runs(here.agent, "off") == {}
