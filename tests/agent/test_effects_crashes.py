"""A call that must not be made twice, on a real Dapr, with everything that can die in the middle of it. The ledger judges."""

import pytest

pytestmark = pytest.mark.dapr

PAY = {"name": "pay", "arguments": {"city": "Rome"}}
ONCE = {"pay": {"delivery": "atMostOnce", "timeout_seconds": 2.0}}


def _script(latency="1s", faults=()):
    return {
        "rules": [{"turns": [{"toolCalls": [PAY]}, {"answer": "done"}]}],
        "tools": {"pay": {"latency": latency, "faults": list(faults), "result": "paid"}},
    }


async def _step(here, run):
    return next(step for step in await here.agent.steps(run) if step["kind"] == "tool")


async def _paying(here):
    await here.agent.until(lambda: here.underway("tool"))


async def test_an_agent_killed_in_the_middle_of_the_call_leaves_an_unknown_outcome_and_no_second_call(stage):
    here = await stage(_script(), "pay", changed=ONCE)
    run = await here.agent.begin("go", id="trip")
    await _paying(here)
    await here.agent.kill()
    await here.agent.start()

    async def waits():
        return (await _step(here, run))["status"] == "awaiting_outcome"

    await here.agent.until(waits, within=30)
    assert (await here.agent.ended(run))["result"] == "done"
    step = await _step(here, run)
    assert step["status"] == "unknown"
    assert "may or may not have taken effect" in step["output"]
    assert [call["key"] for call in (await here.ledger("tool"))["calls"]] == ["trip/1/0"]


async def test_a_sidecar_killed_in_the_middle_of_the_call_costs_nothing(stage):
    here = await stage(_script(), "pay", changed=ONCE)
    run = await here.agent.begin("go", id="trip")
    await _paying(here)
    await here.dapr.kill("daprd")
    await here.dapr.restart("daprd")
    assert (await here.agent.ended(run, within=90))["result"] == "done"
    step = await _step(here, run)
    assert (step["status"], step["output"]) == ("completed", '"paid"')
    assert [call["key"] for call in (await here.ledger("tool"))["calls"]] == ["trip/1/0"]


async def test_a_call_that_the_server_refuses_for_now_is_made_once(stage):
    here = await stage(_script(latency="1ms", faults=[{"status": 503, "times": 9}]), "pay", changed=ONCE)
    run = (await here.agent.ask("go"))["instance_id"]
    step = await _step(here, run)
    assert step["status"] == "failed"
    assert "delivery is atMostOnce" in step["output"]
    assert (await here.ledger())["summary"]["tool"]["requests"] == 1
