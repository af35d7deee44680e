"""Calls of one turn that wait for different things, on a real Dapr: each wait ends by what it waits for."""

import pytest

from holdfast_api.config import ApprovalConfig, RetriesConfig
from tests.agent.agents import second_replica

pytestmark = pytest.mark.dapr

PAY = {"name": "pay", "arguments": {"city": "Paris"}}
BOOK = {"name": "book", "arguments": {"city": "Rome"}}
FLAKY = {"book": {"faults": [{"status": 503, "times": 3}]}, "pay": {}, "refund": {}}


def _script(*calls, tools=FLAKY):
    return {"rules": [{"turns": [{"toolCalls": list(calls)}, {"answer": "done"}]}], "tools": tools}


CHANGED = {
    "pay": {"approval": ApprovalConfig(timeout_seconds=300), "compensate": "refund"},
    "book": {"retries": RetriesConfig(initial_seconds=0.2, max_seconds=0.2, max_attempts=9)},
}


async def _asked(here, run, count=1):
    async def asked():
        found = (await here.agent.run(run)).get("approvals", [])
        return found if len(found) == count else None

    return await here.agent.until(asked)


async def _decide(agent, run, call, *, approved):
    return await agent.call("POST", f"/runs/{run}/approvals/{call}", json={"approved": approved, "reason": "because"})


async def _keys(here, name):
    return [call["key"] for call in (await here.ledger("tool"))["calls"] if call["name"] == name]


async def test_a_call_that_waits_for_a_person_holds_up_no_retries_beside_it_and_is_made_once_approved(stage):
    here = await stage(_script(PAY, BOOK), "pay", "book", "refund", changed=CHANGED)
    run = await here.agent.begin("go", id="trip")
    [question] = await _asked(here, run)
    assert (question["call"], question["tool"]) == ("1.0", "pay")

    async def booked():
        return len(await _keys(here, "book")) == 4

    await here.agent.until(booked)
    assert await _keys(here, "pay") == []
    assert (await _decide(here.agent, run, "1.0", approved=True))[0] == 200
    assert (await here.agent.ended(run, within=15))["result"] == "done"
    assert await _keys(here, "pay") == ["trip/1/0"]


async def test_several_questions_of_one_turn_are_answered_through_any_replica(stage, redis_server, tmp_path):
    here = await stage(_script(PAY, PAY, PAY), "pay", "refund", changed=CHANGED, store=redis_server.component)
    async with second_replica(here, tmp_path) as (other, _):
        run = await here.agent.begin("go", id="trip")
        await _asked(here, run, 3)
        for call, agent, approved in (("1.2", other, True), ("1.0", here.agent, False), ("1.1", other, True)):
            assert (await _decide(agent, run, call, approved=approved))[0] == 200
        assert (await other.ended(run, within=15))["result"] == "done"
    assert sorted(await _keys(here, "pay")) == ["trip/1/1", "trip/1/2"]
    outcomes = {step["key"]: step["status"] for step in await here.agent.steps(run) if step["kind"] == "tool"}
    assert outcomes["trip/1/0"] == "rejected"
