"""What a step says of a call that may have happened while there is no outcome: whatever ends the run then, the call is undone."""

import time

import pytest
from aiohttp import web

from holdfast_agent.activities import model
from holdfast_agent.activities.steps import Activity
from holdfast_agent.documents import ModelTurn

PAY = ("pay", {"city": "Rome"})
REFUND = {"compensate": "refund"}


async def _paid(_):
    return web.Response(text="paid")


@pytest.fixture
def paying(desk):
    async def open_(*calls, **pay):
        return await desk(_paid, *(calls or (PAY,)), tools={"pay": REFUND | pay, "refund": {}})

    return open_


async def test_a_suspended_run_waits_for_a_call_that_another_process_may_be_at(paying):
    here = await paying()
    await here.another().steps.intents.claim("r/1/0", 600)
    await here.change(lambda head: head.suspend(1.0))
    answer = await here.tool()
    assert (answer["waiting"]["kind"], answer["undo"]) == ("unknown", True)


async def test_a_suspended_run_that_ends_by_its_deadline_undoes_a_call_that_was_begun(paying):
    here = await paying()
    await here.another().steps.intents.claim("r/1/0", -60)
    await here.change(lambda head: head.suspend(1.0))
    answer = await here.tool()
    assert (answer["control"], answer["undo"]) == ("suspend", True)


async def test_a_call_that_was_begun_and_waits_for_its_rate_is_undone_if_the_run_ends_meanwhile(paying, monkeypatch):
    here = await paying(rateLimitPerMinute=1)
    monkeypatch.setattr(here.steps.rates, "wait", lambda *_: 30.0)
    await here.another().steps.intents.claim("r/1/0", -60)
    answer = await here.tool()
    assert (answer["waiting"]["kind"], answer["undo"]) == ("retry", True)


async def test_a_call_that_was_never_begun_is_not_undone(paying):
    here = await paying()
    await here.change(lambda head: head.suspend(1.0))
    assert "undo" not in await here.tool()


async def test_calls_that_a_limit_came_before_are_told_of_also_by_a_step_that_is_not_begun(paying):
    here = await paying(PAY, PAY)
    assert (await here.tool(0))["undo"]
    call = {"run": "r", "turn": 2, "revision": here.steps.revisions.current.name, "deadline": time.time() - 1, "attempt": 1}
    call |= {"segments": 0, "usage": {}, "closing": "maxToolCalls", "failed": 0}
    ask = Activity(model.key, model.ask)
    late = await here.steps.once(ask, call)
    assert (late["timeout"], [skipped["key"] for skipped in late["skipped"]]) == (True, ["r/1/1"])
    await here.change(lambda head: head.canceled(1.0, ""))
    canceled = await here.steps.once(ask, call | {"attempt": 2})
    assert (canceled["control"], canceled["skipped"]) == ("cancel", late["skipped"])
    assert here.outcome("r/1/1").outcome == "skipped"


async def test_calls_that_a_limit_came_before_are_told_of_also_when_the_answer_cannot_be_stored(paying, monkeypatch):
    here = await paying(PAY, PAY)
    await here.tool(0)

    async def answered(*_, **__):
        return ModelTurn(key="r/2/model", content="x", calls=(), usage=model.Usage(), model="m", started=1.0, ended=2.0)

    async def refused(key, document):
        if key == "r/2/model":
            raise model.UnstoredError("too large", for_ever=True)
        return document

    monkeypatch.setattr(model, "_made", answered)
    monkeypatch.setattr(here.steps, "persist", refused)
    call = {"run": "r", "turn": 2, "revision": here.steps.revisions.current.name, "deadline": time.time() + 60, "attempt": 1}
    answer = await here.steps.once(Activity(model.key, model.ask), call | {"segments": 0, "usage": {}, "closing": "maxTokens", "failed": 0})
    assert (answer["error"]["cause"], [skipped["key"] for skipped in answer["skipped"]]) == ("unstored", ["r/1/1"])
