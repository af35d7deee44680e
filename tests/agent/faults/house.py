"""Agent, daprd, Redis, scheduler and placement of one test or one soak, each of which can be killed and comes back."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp
import yaml

from holdfast_agent.local.binaries import find
from holdfast_agent.local.ports import free_ports
from holdfast_agent.local.process import Process
from holdfast_agent.local.processes import DaprOptions, DaprProcesses
from holdfast_api.config import ApprovalConfig, LimitsConfig
from holdfast_api.dapr import api_spec, resiliency_spec
from tests.agent.agents import AgentProcess, agent_config, agent_process, model_component
from tests.agent.faults.oracles import Kill
from tests.agent.faults.world import ONCE, SIGNED, TOOLS, UNDONE, Plan, World, task

Part = Literal["agent", "daprd", "redis", "scheduler"]
PARTS: tuple[Part, ...] = ("agent", "daprd", "redis", "scheduler")
REVIVE_SECONDS = 3.0
"""Longer than a part that was killed on purpose is left down."""
FAULTS = (aiohttp.ClientError, TimeoutError, AssertionError, ValueError)


@dataclass
class House:
    """All parts, running."""

    world: World
    dapr: DaprProcesses
    redis: Process
    redis_port: int
    agent: AgentProcess
    kills: list[Kill] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)

    def process(self, part: Part) -> Process:
        """The process of a part."""
        own = {"agent": self.agent.process, "redis": self.redis}
        return own.get(part) or self.dapr.processes[part]

    async def kill(self, part: Part, *, down: float = 0.0) -> None:
        """SIGKILL it, and start it again `down` seconds after its end."""
        at = time.monotonic()
        await self.process(part).kill()
        await asyncio.sleep(down)
        self.process(part).start()
        self.kills.append(Kill(part, at, time.monotonic()))

    def dead(self) -> list[Part]:
        """Parts that do not run."""
        return [part for part in PARTS if not self.process(part).running]

    async def keep_running(self) -> None:
        """As a cluster does: what ended by itself is started again. A sidecar does that when the agent finds it locked up."""
        since: dict[Part, float] = {}
        while True:
            await asyncio.sleep(0.5)
            since = {part: since.get(part, time.monotonic()) for part in self.dead()}
            for part in [part for part, at in since.items() if time.monotonic() - at > REVIVE_SECONDS]:
                self.process(part).start()
                self.kills.append(Kill(part, since.pop(part), time.monotonic()))

    async def begin(self, run: str, plan: Plan) -> None:
        """Ask for a run until it is accepted. Asking again is safe, because the id is the same."""
        self.plans[run] = plan
        await self.insist(lambda: self.agent.begin(task(run, plan), id=run))

    async def insist(self, ask: Callable[[], Awaitable[Any]], *, within: float = 120.0) -> Any:
        """Ask until there is an answer."""
        async with asyncio.timeout(within):
            while True:
                with contextlib.suppress(*FAULTS):
                    return await ask()
                await asyncio.sleep(0.1)

    async def cancel(self, run: str) -> None:
        """Cancel a run. Once that is acknowledged it must end as canceled."""

        async def ask() -> None:
            status, answer = await self.agent.call("POST", f"/runs/{run}/cancel", json={"reason": "plans changed"})
            assert status in {200, 202}, answer

        await self.insist(ask)

    async def asked(self, run: str) -> list[str]:
        """Where to decide what the run waits for; none if nobody is asked."""
        return [question["decide"] for question in (await self.agent.run(run)).get("approvals", ())]

    async def approve(self, run: str) -> None:
        """Approve whatever the run waits for. A decision that was stored and not acknowledged is made again, which changes nothing."""
        for path in await self.asked(run):
            status, answer = await self.agent.call("POST", path, json={"approved": True})
            assert status == 200, answer

    async def ended(self, run: str, *, within: float) -> dict[str, Any]:
        """How the agent shows a run that has ended. Until then, what it asks for is approved.

        Raises:
            AssertionError: it has not ended in time.
        """
        give_up, seen = time.monotonic() + within, None
        while time.monotonic() < give_up:
            with contextlib.suppress(*FAULTS):
                seen = await self.agent.run(run)
                if seen["status"] not in ("RUNNING", "SUSPENDED"):
                    return seen
                if seen.get("approvals"):
                    await self.approve(run)
            await asyncio.sleep(0.1)
        raise AssertionError(f"{run} has not ended within {within:.0f} s: {seen}\n{self.agent.log.read_text()[-3000:]}")

    async def stored(self, *keys: str) -> bool:
        """Whether Redis holds these documents. Asked past Dapr, so that the moment is not missed."""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.redis_port)
            names = [f"{self.dapr.options.app_id}||{key}" for key in keys]
            writer.write(f"*{len(names) + 1}\r\n$6\r\nEXISTS\r\n".encode() + b"".join(f"${len(n)}\r\n{n}\r\n".encode() for n in names))
            line = await reader.readline()
            writer.close()
            return line == f":{len(keys)}\r\n".encode()
        return False

    async def until(self, probe: Callable[[], Awaitable[Any]], *, within: float = 30.0) -> None:
        """Wait for a probe, looking each millisecond."""
        async with asyncio.timeout(within):
            while not await probe():  # noqa: ASYNC110 - a document has no event
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def house(folder: Path, world: World, *, tools: Iterable[str] = TOOLS, **config: Any) -> AsyncIterator[House]:
    """Everything started in `folder`, and ended with the block. More keywords are fields of the agent's configuration."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)))
        url = await stack.enter_async_context(world.serving())
        redis_port, agent_port = free_ports(2)
        redis = _redis(folder / "redis", redis_port)
        stack.push_async_callback(redis.kill)
        redis.start()
        settings = agent_config(url, *tools, **{"limits": LimitsConfig(max_iterations=500), "changed": _traits()} | config)
        resources = [
            _state(redis_port),
            model_component(url),
            {
                "apiVersion": "dapr.io/v1alpha1",
                "kind": "Resiliency",
                "metadata": {"name": "agent"},
                "spec": resiliency_spec(settings),
            },
        ]
        dapr = await stack.enter_async_context(DaprProcesses(_dapr_options(folder / "dapr", resources, agent_port)))
        agent = agent_process(dapr.app_environ, settings, folder / "agent", session, port=agent_port)
        stack.push_async_callback(agent.process.stop, grace=10.0)
        await agent.start()
        made = House(world, dapr, redis, redis_port, agent)
        keeping = asyncio.create_task(made.keep_running())
        stack.callback(keeping.cancel)
        yield made


def _traits() -> dict[str, dict[str, Any]]:
    """What is special about the world's tools."""
    # A call that a killed process had begun may go on for its time limit; a canceled run waits for that before it is undone.
    traits: dict[str, dict[str, Any]] = {name: {"compensate": undoes, "timeout_seconds": 15.0} for name, undoes in UNDONE.items()}
    traits |= {name: {"approval": ApprovalConfig()} for name in SIGNED}
    return traits | {name: {"delivery": "atMostOnce", "timeout_seconds": 5.0} for name in ONCE}


def _redis(folder: Path, port: int) -> Process:
    """A Redis that syncs its append-only file for every write."""
    program = shutil.which("redis-server")
    assert program, "redis-server is needed: install the package redis-server"
    folder.mkdir(parents=True)
    options = {"--bind": "127.0.0.1", "--port": str(port), "--save": "", "--appendonly": "yes", "--appendfsync": "always"}
    argv = [program, "--dir", folder, *(part for option in options.items() for part in option)]
    return Process("redis", argv, env={"PATH": os.environ["PATH"]}, log=folder / "redis.log")


def _state(port: int) -> dict[str, Any]:
    metadata = {"redisHost": f"127.0.0.1:{port}", "actorStateStore": "true"}
    spec = {"type": "state.redis", "version": "v1", "metadata": [{"name": name, "value": value} for name, value in metadata.items()]}
    return {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": "state"}, "spec": spec}


def _dapr_options(folder: Path, resources: list[dict[str, Any]], app_port: int) -> DaprOptions:
    place = folder / "resources"
    place.mkdir(parents=True)
    for number, document in enumerate(resources):
        (place / f"{number}.yaml").write_text(yaml.safe_dump(document))
    return DaprOptions(
        binaries=find(os.environ, Path.home()),
        folder=folder,
        app_id="agent",
        resources=place,
        app_port=app_port,
        api_token="token-of-the-sidecar",
        app_token="token-of-the-app",
        configuration={"api": api_spec()},
    )
