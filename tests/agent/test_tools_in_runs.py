"""What an Agent says about a tool, in runs on a real Dapr: how often it is tried, and how often it is called in a minute."""

import pytest

from holdfast_api.config import LimitsConfig, RetriesConfig

pytestmark = pytest.mark.dapr

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}


def _script(*calls, faults=()):
    return {"rules": [{"turns": [{"toolCalls": list(calls)}, {"answer": "done"}]}], "tools": {"search": {"faults": list(faults)}}}


def _quick(attempts):
    return {"search": {"retries": RetriesConfig(max_attempts=attempts, initial_seconds=0.05, max_seconds=0.1)}}


async def _steps(here, answer):
    return [step for step in await here.agent.steps(answer["instance_id"]) if step["kind"] == "tool"]


@pytest.mark.parametrize(("attempts", "status", "requests"), [(8, "completed", 8), (7, "failed", 7), (1, "failed", 1)])
async def test_a_tool_is_tried_as_often_as_it_says(stage, attempts, status, requests):
    here = await stage(_script(SEARCH, faults=[{"status": 503, "times": 7}]), "search", changed=_quick(attempts))
    answer = await here.agent.ask("go")
    [step] = await _steps(here, answer)
    assert (answer["result"], step["status"]) == ("done", status)
    assert (await here.ledger())["summary"]["tool"]["requests"] == requests


async def test_a_tool_is_called_so_often_in_a_minute_and_what_the_run_cannot_wait_for_is_told_to_the_model(stage):
    changed = {"search": {"rate_limit_per_minute": 2}}
    here = await stage(_script(SEARCH, SEARCH, SEARCH), "search", changed=changed, limits=LimitsConfig(run_timeout_seconds=30))
    steps = await _steps(here, await here.agent.ask("go"))
    assert sorted(step["status"] for step in steps) == ["completed", "completed", "failed"]
    assert "rateLimit.perMinute of the tool 'search' is 2" in next(step for step in steps if step["status"] == "failed")["output"]
    assert (await here.ledger())["summary"]["tool"]["requests"] == 2


async def test_a_run_that_waits_for_a_place_in_the_rate_says_so_and_can_be_canceled(stage):
    here = await stage(_script(SEARCH, SEARCH), "search", changed={"search": {"rate_limit_per_minute": 1}})
    run = await here.agent.begin("go")

    async def waits():
        return (await here.agent.run(run)).get("retrying")

    assert "rateLimit.perMinute of the tool 'search' is 1" in (await here.agent.until(waits))["message"]
    status, _ = await here.agent.call("POST", f"/runs/{run}/cancel")
    assert status in {200, 202}
    assert (await here.agent.ended(run, within=20))["status"] == "CANCELED"
    assert (await here.ledger())["summary"]["tool"]["requests"] == 1
