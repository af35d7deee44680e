"""A proxy in the agent's environment is for its tools, never for what it says to its own sidecar."""

import pytest

pytestmark = pytest.mark.dapr


async def test_an_agent_behind_a_proxy_still_talks_to_its_sidecar_directly(stage):
    here = await stage({"rules": [{"turns": [{"answer": "hello"}]}]})
    await here.agent.kill()
    nowhere = "http://127.0.0.1:1"
    here.agent.process._env |= dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere)
    await here.agent.start()
    assert (await here.agent.ask("go"))["result"] == "hello"
    await here.dapr.kill("daprd")
    await here.dapr.restart("daprd")
    await here.agent.until(here.agent.ready, within=30)
    assert (await here.agent.ask("again"))["result"] == "hello"
