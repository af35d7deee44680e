"""Calls of one turn that wait for different things, on a real Dapr: each wait ends by what it waits for."""

import itertools
from datetime import datetime

import pytest
from dapr.conf import settings
from dapr.ext.workflow.aio import DaprWorkflowClient

from holdfast_agent.loop import poke_event
from holdfast_api.config import ApprovalConfig, LimitsConfig, RetriesConfig
from tests.agent.agents import second_replica, told

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


async def _pauses(here, name):
    """Seconds between one call of that tool and the next."""
    began = [datetime.fromisoformat(call["started"]) for call in (await here.ledger("tool"))["calls"] if call["name"] == name]
    return [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(began)]


async def test_answers_to_questions_hurry_no_retry_beside_them_and_use_up_none_of_its_attempts(stage):
    busy = {"book": {"faults": [{"status": 429, "retryAfter": 5}]}, "pay": {}, "refund": {}}
    changed = CHANGED | {"book": {"retries": RetriesConfig(max_attempts=2)}}
    here = await stage(_script(PAY, PAY, PAY, BOOK, tools=busy), "pay", "book", "refund", changed=changed)
    run = await here.agent.begin("go", id="trip")
    await _asked(here, run, 3)

    async def retrying():
        return (await here.agent.run(run)).get("retrying")

    assert (await here.agent.until(retrying))["failed_attempts"] == 1
    for call in ("1.0", "1.1", "1.2"):
        assert (await _decide(here.agent, run, call, approved=True))[0] == 200
    assert (await here.agent.ended(run, within=20))["result"] == "done"
    assert sorted(await _keys(here, "pay")) == ["trip/1/0", "trip/1/1", "trip/1/2"]
    [pause] = await _pauses(here, "book")
    assert pause >= 5


async def test_a_cancel_ends_a_long_pause_before_a_retry_at_once(stage):
    here = await stage(_script(BOOK, tools={"book": {"faults": [{"status": 429, "retryAfter": 300}]}}), "book")
    run = await here.agent.begin("go", id="trip")

    async def retrying():
        return (await here.agent.run(run)).get("retrying")

    await here.agent.until(retrying)
    await here.agent.call("POST", f"/runs/{run}/cancel", json={})
    assert (await here.agent.ended(run, within=15))["status"] == "CANCELED"
    assert await _keys(here, "book") == ["trip/1/0"]


async def test_wakes_that_found_nobody_waiting_hurry_nothing_in_a_later_generation(stage, monkeypatch):
    look = {"toolCalls": [{"name": "pay", "arguments": {"city": "Paris"}}], "repeat": 21}
    tools = {"pay": {"latency": "20ms"}, "book": {"faults": [{"status": 503, "retryAfter": 3}]}}
    script = {"rules": [{"turns": [look, {"toolCalls": [BOOK]}, {"answer": "done"}]}], "tools": tools}
    here = await stage(script, "pay", "book", limits=LimitsConfig(max_iterations=50))
    monkeypatch.setattr(settings, "DAPR_HTTP_PORT", here.dapr.http_port)
    monkeypatch.setattr(settings, "DAPR_GRPC_PORT", here.dapr.grpc_port)
    monkeypatch.setattr(settings, "DAPR_API_TOKEN", here.dapr.options.api_token)
    run = await here.agent.begin("go", id="trip")
    for _ in range(3):
        await told(lambda: DaprWorkflowClient().raise_workflow_event(run, poke_event(run), data={"wake": True}))
    view = await here.agent.ended(run, within=60)
    assert (view["result"], len(await _keys(here, "book"))) == ("done", 2)
    [pause] = await _pauses(here, "book")
    assert pause >= 3
