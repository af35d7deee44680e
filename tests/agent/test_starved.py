"""A sidecar that gives nothing to a connected worker is asked to end; one that has a reason is left alone."""

import asyncio
import contextlib

import pytest

from holdfast_agent import starved
from holdfast_agent.sidecar import Sidecar


class Pair:
    """An engine and its sidecar, as they answer."""

    def __init__(self, *, streaming=True, ready=False, healthy=True):
        self.streaming, self._ready, self._healthy, self.ends = streaming, ready, healthy, 0

    async def ready(self):
        return self._ready

    async def healthy(self):
        return self._healthy

    async def end(self):
        self.ends += 1


async def _watched(pair, *, patience=0.05):
    watching = asyncio.create_task(starved.guard(pair, pair, look=0.01, patience=patience))
    await asyncio.sleep(0.3)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    return pair.ends


async def test_a_healthy_sidecar_that_knows_no_worker_is_asked_to_end_and_given_time_to_come_back():
    assert await _watched(Pair()) == 1


@pytest.mark.parametrize("state", [{"streaming": False}, {"ready": True}, {"healthy": False}])
async def test_a_sidecar_that_works_or_has_a_reason_not_to_is_left_alone(state):
    assert await _watched(Pair(**state)) == 0


@pytest.mark.dapr
async def test_a_sidecar_ends_when_it_is_asked_to_and_a_run_goes_on_with_the_next(stage, monkeypatch):
    from dapr.conf import settings

    search = {"name": "search", "arguments": {"city": "Paris"}}
    script = {"rules": [{"turns": [{"toolCalls": [search]}, {"answer": "done"}]}], "tools": {"search": {"latency": "2s"}}}
    here = await stage(script, "search")
    monkeypatch.setattr(settings, "DAPR_HTTP_PORT", here.dapr.http_port)
    monkeypatch.setattr(settings, "DAPR_API_TOKEN", here.dapr.options.api_token)
    run = await here.agent.begin("go")
    await here.agent.until(lambda: here.underway("tool"))
    daprd, sidecar = here.dapr.processes["daprd"], Sidecar()
    first = daprd.pid
    await sidecar.end()
    await sidecar.close()

    async def another():
        """The stage starts again what has ended."""
        return daprd.running and daprd.pid != first

    await here.agent.until(another, within=30)
    assert (await here.agent.ended(run))["result"] == "done"
