"""A step that is woken before its next attempt is due: it looks whether the run is canceled, and at nothing else."""

import time

import pytest
from aiohttp import web

from holdfast_agent.activities import ACTIVITIES
from holdfast_agent.http import views
from holdfast_agent.loop import COMPENSATE, TOOL
from holdfast_agent.timelines import Timeline
from tests.agent.driving import NOW, drive, error, new, said

BOOK = ("book", {"city": "Rome"})
EARLY = {"attempt": 3, "failed": 1, "early": True}


@pytest.fixture
def office():
    """Is busy, and counts who comes."""
    asked = []

    async def handler(_):
        asked.append(1)
        return web.Response(status=429, headers={"Retry-After": "300"})

    handler.asked = asked
    return handler


async def _failed_once(desk, office):
    here = await desk(office, BOOK, tools={"book": {"compensate": "cancel", "retries": {"maxAttempts": 3}}, "cancel": {}})
    assert (await here.tool())["error"]["retryAfter"] == 300
    return here


async def _look(here, activity, **more):
    call = {"run": "r", "turn": 1, "revision": here._revision.name, "deadline": time.time() + 600, "call": 0}
    return await here.steps.once(ACTIVITIES[activity], call | EARLY | more)


async def test_a_look_before_the_time_makes_no_call_and_leaves_the_head_as_it_is(desk, office):
    here = await _failed_once(desk, office)
    before = here.head
    assert await _look(here, TOOL) == {"key": "r/1/0", "early": True}
    assert (here.head, office.asked) == (before, [1])


async def test_a_look_before_the_time_finds_a_cancel(desk, office):
    here = await _failed_once(desk, office)
    await here.change(lambda head: head.canceled(1.0, "enough"))
    answer = await _look(here, TOOL)
    assert "early" not in answer
    assert answer.get("control") == "cancel" or answer["undo"]
    assert office.asked == [1]


async def test_a_look_before_the_time_while_the_store_is_away_waits_on(desk, office):
    here = await _failed_once(desk, office)
    here.store.away = True
    assert await _look(here, TOOL) == {"key": "r/1/0", "early": True}


async def test_an_undoing_heeds_no_cancel_and_is_not_hurried_by_one(desk, office):
    here = await _failed_once(desk, office)
    await here.change(lambda head: head.canceled(1.0, "enough"))
    ending = {"status": "CANCELED", "error": {"type": "Canceled", "message": "enough"}}
    assert await _look(here, COMPENSATE, call="r/1/0", ending=ending) == {"key": "r/1/0/undo", "early": True}
    assert office.asked == [1]


async def test_people_see_how_often_it_failed_and_not_how_often_it_was_woken(desk, office):
    here = await _failed_once(desk, office)
    call = {"run": "r", "turn": 1, "revision": here._revision.name, "deadline": time.time() + 600, "call": 0}
    await here.steps.once(ACTIVITIES[TOOL], call | {"attempt": 7, "failed": 1})
    assert here.head.trouble.attempt == 7
    assert views.run(here.head, Timeline())["retrying"]["failed_attempts"] == 2


async def test_people_see_that_a_call_which_waits_for_its_rate_has_not_failed(desk):
    async def handler(_):
        return web.Response(text="yes")

    here = await desk(handler, BOOK, BOOK, tools={"book": {"rateLimitPerMinute": 1}})
    await here.tool()
    assert (await here.tool(1, attempt=4))["waiting"]
    assert views.run(here.head, Timeline())["retrying"]["failed_attempts"] == 0


def test_a_step_is_told_how_many_attempts_came_before_whatever_became_of_them():
    driver = drive(new(state={"deadline": NOW + 10_000})).answer(error("r/1/model", cause="charged")).fire()
    assert (driver.called("model")[-1]["tried"], driver.called("model")[-1]["failed"]) == (1, 0)
    driver.answer(said(1, "a"))
    assert "tried" not in driver.called("tool")[-1]


async def test_the_pause_after_a_failure_grows_with_attempts_and_not_with_wakes(desk, office):
    here = await desk(office, BOOK, tools={"book": {}})
    call = {"run": "r", "turn": 1, "revision": "lost", "deadline": time.time() + 600, "call": 0, "failed": 0}
    first, woken, later = [
        (await here.steps.once(ACTIVITIES[TOOL], call | more))["error"]["retryAfter"]
        for more in ({"attempt": 1}, {"attempt": 9, "tried": 0}, {"attempt": 9, "tried": 3})
    ]
    assert first == woken < 2
    assert later >= 8


async def test_nobody_is_waited_for_when_the_process_that_made_the_last_attempt_is_gone_and_its_answer_was_heard(desk, office):
    here = await _failed_once(desk, office)
    await here.change(lambda head: head.canceled(1.0, "enough"))
    answer = await _look(here.another(), TOOL)
    assert (answer["undo"], here.outcome().outcome) == (True, "unknown")
    assert office.asked == [1]
