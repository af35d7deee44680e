"""A pod that is asked to end is still sent requests for a while: it takes them."""

import asyncio

import pytest

pytestmark = pytest.mark.dapr


async def test_in_a_pod_an_agent_goes_on_as_before_for_some_seconds_once_it_is_asked_to_end(stage):
    here = await stage({"rules": [{"turns": [{"answer": "done"}]}]}, environ={"KUBERNETES_SERVICE_HOST": "10.96.0.1"})
    ending = asyncio.create_task(here.agent.terminate())

    async def asked_to_end():
        return "asked to end" in here.agent.log.read_text()

    await here.agent.until(asked_to_end)
    run = await here.agent.begin("go")
    status, _ = await here.agent.call("GET", "/readyz", token=None)

    assert (status, (await here.agent.ended(run))["result"]) == (200, "done")
    await ending
    assert '"stopped"' in here.agent.log.read_text()
