"""Kills at any moment of runs that do not end well: whatever took effect is undone, newest first, and nothing is paid for twice."""

import asyncio
import contextlib

import aiohttp
import pytest

from holdfast_api.config import LimitsConfig

pytestmark = [pytest.mark.dapr, pytest.mark.timeout(300)]

TOOLS = ("fly", "sleep", "pay", "cancel_flight", "cancel_room", "look")
CHANGED = {
    "fly": {"compensate": "cancel_flight", "timeout_seconds": 2.0},
    "sleep": {"compensate": "cancel_room", "timeout_seconds": 2.0},
    "pay": {"delivery": "atMostOnce", "timeout_seconds": 1.0},
}
MOMENTS = (("agent", 0.10), ("daprd", 0.16), ("agent", 0.22), ("agent", 0.28), ("daprd", 0.34), ("agent", 0.40))


def _call(name):
    return {"name": name, "arguments": {"city": "Rome"}}


SCRIPT = {
    "rules": [
        {
            "turns": [
                {"toolCalls": [_call("fly"), _call("look")]},
                {"toolCalls": [_call("sleep"), _call("pay")]},
                {"toolCalls": [_call("look")], "repeat": 1000},
            ]
        }
    ],
    "tools": {name: {"latency": "60ms"} for name in TOOLS},
}


async def _kill(here, victim):
    if victim == "agent":
        await here.agent.kill()
        await here.agent.start()
    else:
        await here.dapr.kill("daprd")
        await here.dapr.restart("daprd")
        await here.agent.until(here.agent.ready, within=60)


async def test_kills_at_any_moment_leave_nothing_behind_that_was_done(stage):
    here = await stage(SCRIPT, *TOOLS, changed=CHANGED, limits=LimitsConfig(max_iterations=3))
    runs = []
    for number, (victim, moment) in enumerate(MOMENTS):
        runs.append(await here.agent.begin("go", id=f"trip-{number}"))
        await asyncio.sleep(moment)
        if number % 2:
            with contextlib.suppress(aiohttp.ClientError):
                await here.agent.call("POST", f"/runs/{runs[-1]}/cancel")
        await _kill(here, victim)
    for run in runs:
        assert (await here.agent.ended(run, within=90))["status"] in {"FAILED", "CANCELED"}
    calls = (await here.ledger("tool"))["calls"]
    for run in runs:
        began = {call["key"] for call in calls} & {f"{run}/1/0", f"{run}/2/0"}
        undone = [call["key"] for call in calls if call["key"].startswith(run) and call["key"].endswith("/undo")]
        assert list(dict.fromkeys(undone)) == sorted(set(undone), reverse=True)
        assert began <= {key.removesuffix("/undo") for key in undone}
        # A process that was killed before its call left took with it whether it had: that is undone too.
        steps = {step["key"]: step["status"] for step in await here.agent.steps(run)}
        assert all(key in began or steps[key] == "unknown" for key in (key.removesuffix("/undo") for key in undone))
        assert sum(call["key"] == f"{run}/2/1" for call in calls) <= 1
    # An answer that was heard and not yet stored when its process was killed is asked for again, under its key.
    assert (await here.ledger())["summary"]["tool"]["repeated"] <= sum(victim == "agent" for victim, _ in MOMENTS)
