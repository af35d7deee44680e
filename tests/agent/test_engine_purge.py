"""Forgetting workflows: only those that have ended, as often as one likes."""

import pytest
from dapr.conf import settings

from holdfast_agent.engine import Engine
from holdfast_agent.sidecar import Sidecar

pytestmark = pytest.mark.dapr
SLOW = {"rules": [{"task": "slow", "turns": [{"answer": "late", "latency": "4s"}]}, {"turns": [{"answer": "hello"}]}]}


@pytest.fixture
async def engine_of(monkeypatch):
    """A second client of the stage's sidecar. It carries nothing out."""
    opened = []

    def open_engine(dapr):
        monkeypatch.setattr(settings, "DAPR_HTTP_PORT", dapr.http_port)
        monkeypatch.setattr(settings, "DAPR_GRPC_PORT", dapr.grpc_port)
        monkeypatch.setattr(settings, "DAPR_API_TOKEN", "token-of-the-sidecar")
        sidecar = Sidecar()
        opened.extend([sidecar, Engine(sidecar, name="none", workflow=lambda ctx, payload: None, activities={})])
        return opened[-1]

    yield open_engine
    for one in reversed(opened):
        await one.close()


async def test_what_has_ended_is_forgotten_and_what_goes_on_is_not(stage, engine_of):
    here = await stage(SLOW)
    engine = engine_of(here.dapr)
    ended, going = (await here.agent.ask("quick"))["id"], await here.agent.begin("slow")
    await here.agent.until(lambda: here.underway("model"))
    assert {ended, going} <= set((await engine.instances(None))[0])
    assert await engine.purge(ended)
    assert await engine.instance(ended) is None
    assert await engine.purge(ended)
    assert await engine.purge("never there")
    assert not await engine.purge(going)
    assert (await engine.instance(going)).status == "RUNNING"
    assert set((await engine.instances(None))[0]) == {going}
    await engine.terminate(going)

    async def gone():
        return await engine.purge(going)

    await here.agent.until(gone)
    assert await engine.instances(None) == ([], None)
