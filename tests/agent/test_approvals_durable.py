"""Approvals on a real Dapr: a wait that outlives every process, one decision, and no call without it."""

import pytest

from holdfast_api.config import ApprovalConfig, LimitsConfig
from tests.agent.agents import second_replica

pytestmark = pytest.mark.dapr

BOOK = {"name": "book", "arguments": {"city": "Rome"}}
SEARCH = {"name": "search", "arguments": {"city": "Oslo"}}
ASKING = {"book": {"approval": ApprovalConfig()}}


def _script(*calls):
    return {"rules": [{"turns": [{"toolCalls": list(calls or [BOOK])}, {"answer": "done"}]}], "tools": {"book": {}, "search": {}}}


async def _asked(agent, run):
    """The run once a person is asked."""

    async def asks():
        view = await agent.run(run)
        return view if view.get("approvals") else None

    return await agent.until(asks, within=30)


async def _decide(agent, run, call="1.0", **answer):
    status, view = await agent.call("POST", f"/runs/{run}/approvals/{call}", json={"approved": True, **answer})
    assert status == 200, view


async def _calls(here):
    return [(call["name"], call["key"]) for call in (await here.ledger("tool"))["calls"]]


async def test_an_approval_outlives_the_agent_and_nothing_is_called_before_it(stage):
    here = await stage(_script(), "book", changed=ASKING)
    run = await here.agent.begin("go", id="trip")
    await _asked(here.agent, run)
    await here.agent.kill()
    await here.agent.start()
    [question] = (await here.agent.run(run))["approvals"]
    assert question["tool"] == "book"
    assert await _calls(here) == []
    await _decide(here.agent, run)
    assert (await here.agent.ended(run))["result"] == "done"
    assert await _calls(here) == [("book", "trip/1/0")]


async def test_a_decision_that_was_acknowledged_holds_whatever_dies_then(stage):
    here = await stage(_script(), "book", changed=ASKING)
    run = await here.agent.begin("go", id="trip")
    await _asked(here.agent, run)
    await _decide(here.agent, run)
    await here.agent.kill()
    await here.dapr.kill("daprd")
    await here.dapr.restart("daprd")
    await here.agent.start()
    assert (await here.agent.ended(run, within=90))["result"] == "done"
    assert set(await _calls(here)) == {("book", "trip/1/0")}
    assert (await here.ledger())["summary"]["tool"]["repeated"] <= 1  # the kill may have met the call itself


async def test_a_sidecar_that_dies_during_the_wait_ends_nothing(stage):
    here = await stage(_script(), "book", changed=ASKING)
    run = await here.agent.begin("go", id="trip")
    await _asked(here.agent, run)
    await here.dapr.kill("daprd")
    await here.dapr.restart("daprd")

    async def ready():
        return await here.agent.ready()

    await here.agent.until(ready, within=60)
    await _decide(here.agent, run, approved=False, reason="too far")
    assert (await here.agent.ended(run, within=90))["result"] == "done"
    assert await _calls(here) == []
    step = next(step for step in await here.agent.steps(run) if step["kind"] == "tool")
    assert (step["status"], step["approval"]["reason"]) == ("rejected", "too far")


async def test_another_replica_can_decide(stage, redis_server, tmp_path):
    here = await stage(_script(), "book", changed=ASKING, store=redis_server.component)
    async with second_replica(here, tmp_path) as (other, _):
        for asker, decider in ((here.agent, other), (other, here.agent)):
            run = await asker.begin("go")
            await _asked(asker, run)
            await _decide(decider, run)
            assert (await asker.ended(run))["result"] == "done"


@pytest.mark.parametrize(
    ("on_timeout", "status", "calls"), [("reject", "COMPLETED", 0), ("approve", "COMPLETED", 1), ("fail", "FAILED", 0)], ids=str
)
async def test_when_nobody_decides_in_time_the_run_goes_on_as_configured(stage, on_timeout, status, calls):
    changed = {"book": {"approval": ApprovalConfig(timeout_seconds=1, on_timeout=on_timeout)}}
    here = await stage(_script(), "book", changed=changed)
    answer = await here.agent.ask("go")
    assert answer["status"] == status
    assert len(await _calls(here)) == calls
    if status == "FAILED":
        assert answer["error"]["type"] == "ToolFailed"
        assert "nobody decided about this call of 'book' within 1 s" in answer["error"]["message"]


async def test_the_other_calls_of_the_turn_are_made_while_one_waits(stage):
    here = await stage(_script(SEARCH, BOOK, SEARCH), "book", "search", changed=ASKING)
    run = await here.agent.begin("go", id="trip")
    await _asked(here.agent, run)

    async def searched():
        return len(await _calls(here)) == 2

    await here.agent.until(searched)
    assert {key for _, key in await _calls(here)} == {"trip/1/0", "trip/1/2"}
    await _decide(here.agent, run, call="1.1")
    assert (await here.agent.ended(run))["result"] == "done"
    assert sorted(await _calls(here)) == [("book", "trip/1/1"), ("search", "trip/1/0"), ("search", "trip/1/2")]


async def test_a_cancel_ends_the_wait_and_a_decision_comes_too_late(stage):
    here = await stage(_script(), "book", changed=ASKING)
    run = await here.agent.begin("go")
    await _asked(here.agent, run)
    status, _ = await here.agent.call("POST", f"/runs/{run}/cancel")
    assert status in {200, 202}
    assert (await here.agent.ended(run, within=20))["status"] == "CANCELED"
    status, _ = await here.agent.call("POST", f"/runs/{run}/approvals/1.0", json={"approved": True})
    assert status == 409
    assert await _calls(here) == []


async def test_the_runs_own_time_goes_on_while_it_waits(stage):
    here = await stage(_script(), "book", changed=ASKING, limits=LimitsConfig(run_timeout_seconds=2))
    answer = await here.agent.ask("go")
    assert (answer["status"], answer["error"]["type"]) == ("FAILED", "RunTimeout")
    assert await _calls(here) == []
