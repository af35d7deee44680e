"""How often a tool is called: counted here, waited for where it is cheapest, and never at the cost of an attempt."""

import asyncio
import time

import pytest
from aiohttp import web

from holdfast_agent.tools.rates import Rates


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_no_minute_has_more_places_than_the_limit():
    clock = Clock()
    rates = Rates(clock)
    assert [rates.wait("t", f"k{number}", 3) for number in range(7)] == [0, 0, 0, 60, 60, 60, 120]
    clock.now += 30
    assert rates.wait("t", "k7", 3) == 90
    assert rates.wait("other", "k0", 3) == 0


def test_a_place_is_kept_for_its_key_and_counted_once():
    clock = Clock()
    rates = Rates(clock)
    rates.wait("t", "a", 1)
    assert rates.wait("t", "b", 1) == 60
    clock.now += 59.5
    assert rates.wait("t", "b", 1) == 0.5
    clock.now += 0.5
    assert rates.wait("t", "b", 1) == 0
    assert rates.wait("t", "b", 1) == 60


def test_a_place_that_nobody_took_is_lost():
    clock = Clock()
    rates = Rates(clock)
    rates.wait("t", "a", 1)
    rates.wait("t", "b", 1)
    clock.now += 75
    assert rates.wait("t", "c", 1) == 45
    assert rates.wait("t", "b", 1) == 105


def test_a_limit_that_was_lowered_holds_from_then_on():
    rates = Rates(Clock())
    for number in range(10):
        rates.wait("t", f"k{number}", 10)
    assert rates.wait("t", "next", 2) == 60


async def test_what_comes_above_the_limit_waits_as_the_run_and_costs_no_attempt(desk):
    here = await desk(_fine, ("search", {}), ("search", {}), ("search", {}), tools={"search": {"rateLimitPerMinute": 2}})
    for call in (0, 1):
        assert not (await here.tool(call))["isError"]
    answer = await here.tool(2)
    assert answer["waiting"]["kind"] == "retry"
    assert 55 < answer["waiting"]["until"] - time.time() < 61
    assert "rateLimit.perMinute of the tool 'search' is 2" in here.head.trouble.message
    assert here.outcome("r/1/2") is None


async def test_a_place_that_comes_after_the_runs_time_is_told_to_the_model(desk):
    here = await desk(_fine, ("search", {}), ("search", {}), tools={"search": {"rateLimitPerMinute": 1}})
    await here.tool(0)
    assert (await here.tool(1, left=30))["isError"]
    assert "the run has no time left to wait for 60 s" in here.outcome("r/1/1").content


async def test_a_place_that_is_near_is_waited_for_inside_the_call(desk):
    here = await desk(_fine, ("search", {}), ("search", {}), tools={"search": {"rateLimitPerMinute": 1}})
    clock = Clock()
    here.steps.rates = Rates(clock)
    await here.tool(0)
    clock.now += 59.9
    second = asyncio.create_task(here.tool(1))
    await asyncio.sleep(0.05)
    assert not second.done()
    clock.now += 1
    assert not (await second)["isError"]


async def _fine(_):
    return web.json_response({"ok": True})


@pytest.mark.parametrize(
    ("control", "change"),
    [("suspend", lambda head: head.suspend(1.0)), ("cancel", lambda head: head.canceled(1.0, ""))],
    ids=["suspend", "cancel"],
)
async def test_what_people_want_of_the_run_meanwhile_keeps_a_call_that_waited_for_its_place_from_being_made(desk, control, change):
    asked = []

    async def handler(request):
        asked.append(request.headers["Idempotency-Key"])
        return await _fine(request)

    here = await desk(handler, ("search", {}), ("search", {}), tools={"search": {"rateLimitPerMinute": 1}})
    clock = Clock()
    here.steps.rates = Rates(clock)
    await here.tool(0)
    clock.now += 59.9
    second = asyncio.create_task(here.tool(1))
    await asyncio.sleep(0.05)
    await here.change(change)
    clock.now += 0.1
    assert await second == {"key": "r/1/1", "control": control}
    assert asked == ["r/1/0"]
