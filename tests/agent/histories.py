"""The runs of which histories are kept, one for each thing that a workflow can do. Each carries a run to its end on a real Dapr.

What the code of today does with each of them is recorded anew by every run of the tests. To keep that as the next shape, which all
later code must be able to carry on:

    make histories SHAPE=v3
"""

import shutil
from collections.abc import Awaitable, Callable
from typing import Any

from dapr.conf import settings
from dapr.ext.workflow.aio import DaprWorkflowClient

from holdfast_api.config import LimitsConfig
from tests.agent.agents import Stage, told

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}
SLOW = {"name": "slow", "arguments": {"city": "Paris"}}
RUN = "recorded"
TIDY_SECONDS = 0.5
BREAKING = """
from holdfast_agent import workitems
plain = workitems.WorkItems.__init__
times = []
def breaking(self, worker, activities, **more):
    tool = activities["tool"]
    async def broken(payload):
        if len(times) < 2:
            times.append(1)
            raise RuntimeError("broken on purpose")
        return await tool(payload)
    plain(self, worker, {**activities, "tool": broken}, **more)
workitems.WorkItems.__init__ = breaking
"""
EAGER = f"""
from holdfast_agent import program
program.Program.__init__.__kwdefaults__.update(tidy_seconds={TIDY_SECONDS}, overdue_seconds=0.5)
"""

Build = Callable[..., Awaitable[Stage]]
Scenario = Callable[[Build], Awaitable[str]]


def _script(*turns: dict[str, Any], **tools: dict[str, Any]) -> dict[str, Any]:
    return {"rules": [{"turns": list(turns)}], "tools": {"search": {}, "slow": {}} | tools}


async def _ended(here: Stage) -> str:
    await here.agent.begin("go", id=RUN)
    return (await here.agent.ended(RUN, within=90))["status"]


async def one_tool(build: Build) -> str:
    """Model, tool, model."""
    return await _ended(await build(_script({"toolCalls": [SEARCH]}, {"answer": "done"}), "search"))


async def parallel_tools(build: Build) -> str:
    """Three calls side by side, which end in another order than they began, then two."""
    script = _script({"toolCalls": [SLOW, SEARCH, SEARCH]}, {"toolCalls": [SEARCH, SLOW]}, {"answer": "done"}, slow={"latency": "300ms"})
    return await _ended(await build(script, "search", "slow"))


async def generations(build: Build) -> str:
    """Forty-five turns: two times packed and continued as new."""
    script = _script({"toolCalls": [SEARCH], "repeat": 45}, {"answer": "done"})
    return await _ended(await build(script, "search", limits=LimitsConfig(max_iterations=50)))


async def retries(build: Build) -> str:
    """Waits on timers: twice for the model, then once for each of two calls that fail side by side for different times."""
    fault = {"status": 503, "times": 2}
    script = _script(
        {"toolCalls": [SEARCH, SLOW], "faults": [fault]},
        {"answer": "done"},
        search={"faults": [{"status": 503, "retryAfter": 1}]},
        slow={"faults": [{"status": 503, "retryAfter": 3}]},
    )
    return await _ended(await build(script, "search", "slow"))


async def early_poke(build: Build) -> str:
    """An event during the wait for a timer: the run looks at its head and waits for the rest."""
    here = await build(
        _script({"toolCalls": [SEARCH]}, {"answer": "done"}, search={"faults": [{"status": 503, "retryAfter": 4}]}), "search"
    )
    await here.agent.begin("go", id=RUN)
    client = await _waiting(here)
    await told(lambda: client.raise_workflow_event(RUN, f"poke/{RUN}", data={"wake": True}))
    return (await here.agent.ended(RUN))["status"]


async def late_poke(build: Build) -> str:
    """An event after the time of a timer that never fires, because the scheduler has lost its data."""
    here = await build(
        _script({"toolCalls": [SEARCH]}, {"answer": "done"}, search={"faults": [{"status": 503, "retryAfter": 3}]}), "search", before=EAGER
    )
    await here.agent.begin("go", id=RUN)
    await _waiting(here)
    await here.dapr.kill("scheduler")
    shutil.rmtree(here.dapr.options.folder / "scheduler")
    await here.dapr.restart("scheduler")
    return (await here.agent.ended(RUN, within=90))["status"]


async def broken_activity(build: Build) -> str:
    """An activity that raises, twice, which no activity of ours should."""
    return await _ended(await build(_script({"toolCalls": [SEARCH]}, {"answer": "done"}), "search", before=BREAKING))


async def failure(build: Build) -> str:
    """A model that refuses the key: the run is finished as failed."""
    return await _ended(await build(_script({"answer": "never", "faults": [{"status": 401, "times": 9}]})))


async def limit(build: Build) -> str:
    """More turns than the limit allows."""
    script = _script({"toolCalls": [SEARCH], "repeat": 9}, {"answer": "never"})
    return await _ended(await build(script, "search", limits=LimitsConfig(max_iterations=2)))


async def run_timeout(build: Build) -> str:
    """A deadline that passes during a call, which is left to settle."""
    script = _script({"toolCalls": [SLOW]}, {"answer": "never"}, slow={"latency": "3s"})
    return await _ended(await build(script, "slow", limits=LimitsConfig(run_timeout_seconds=2)))


async def timeout_in_a_wait(build: Build) -> str:
    """A deadline that would pass before the next attempt."""
    script = _script({"answer": "never", "faults": [{"status": 503, "times": 20}]})
    return await _ended(await build(script, limits=LimitsConfig(run_timeout_seconds=3)))


async def _waiting(here: Stage) -> DaprWorkflowClient:
    """A client, once the run waits on a timer."""
    settings.DAPR_HTTP_PORT, settings.DAPR_GRPC_PORT = here.dapr.http_port, here.dapr.grpc_port
    settings.DAPR_API_TOKEN = here.dapr.options.api_token
    client = DaprWorkflowClient()

    async def waits() -> bool:
        return any("timerCreated" in str(event) for event in await told(lambda: client.get_workflow_history(RUN)))

    await here.agent.until(waits)
    return client


SCENARIOS: dict[str, Scenario] = {
    "one-tool": one_tool,
    "parallel-tools": parallel_tools,
    "generations": generations,
    "retries": retries,
    "early-poke": early_poke,
    "late-poke": late_poke,
    "broken-activity": broken_activity,
    "failure": failure,
    "limit": limit,
    "run-timeout": run_timeout,
    "timeout-in-a-wait": timeout_in_a_wait,
}
