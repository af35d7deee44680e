"""An agent process of the test's own, on a real Dapr with a scripted model."""

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from holdfast_agent.local.ports import free_ports
from holdfast_agent.local.process import Process
from holdfast_agent.local.processes import DaprProcesses
from holdfast_api.config import AgentConfig, HttpToolConfig, LimitsConfig, ModelConfig, ToolConfig
from holdfast_api.dapr import api_spec, resiliency_spec
from holdfast_api.subscriptions import subscription, subscriptions

TOKEN = "token-of-the-app"
READY_SECONDS = 60.0
"""A sidecar that has locked itself up costs up to 15 s and a start of its own (see `holdfast_agent.starved`)."""


def model_component(url: str, *, name: str = "llm", model: str = "scripted") -> dict[str, Any]:
    """A conversation Component for a scripted model."""
    metadata = {"key": "none", "model": model, "endpoint": f"{url}/v1"}
    spec = {"type": "conversation.openai", "version": "v1", "metadata": [{"name": k, "value": v} for k, v in metadata.items()]}
    return {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec}


def http_tool(url: str, name: str, *, timeout: float = 60.0) -> ToolConfig:
    """A tool of the scripted server; it takes one argument `city`."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = HttpToolConfig(url=f"{url}/tools/{name}", method="POST", input_schema=schema)
    return ToolConfig(name=name, description="A tool.", timeout_seconds=timeout, http=tool)


def agent_config(
    url: str, *tools: str, limits: LimitsConfig | None = None, changed: dict[str, dict[str, Any]] | None = None, **more: Any
) -> AgentConfig:
    """An agent whose model and tools are the scripted server at `url`; `changed`: fields of tools by name."""
    fields: dict[str, Any] = {
        "name": "agent",
        "system_prompt": "You are the prompt that must not leak.",
        "model": ModelConfig(component="llm", label="openai/scripted", timeout_seconds=30),
        "tools": tuple(http_tool(url, name).model_copy(update=(changed or {}).get(name)) for name in tools),
        "state_component": "state",
        "memory_component": "state",
        "limits": limits or LimitsConfig(),
    }
    return AgentConfig(**fields | more)


@dataclass
class AgentProcess:
    """`python -m holdfast_agent serve` and a client for it."""

    process: Process
    url: str
    log: Path
    session: aiohttp.ClientSession

    def configure(self, config: AgentConfig) -> None:
        """What the next start will read."""
        (self.log.parent / "agent.json").write_text(json.dumps(config.document()))

    async def call(self, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> tuple[int, Any]:
        """Status and JSON of one request."""
        headers = ({"Authorization": f"Bearer {token}"} if token else {}) | options.pop("headers", {})
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            return response.status, await response.json(content_type=None)

    async def ask(self, task: str, *, wait: str = "30s", **more: Any) -> dict[str, Any]:
        """A run, waited for."""
        status, answer = await self.call("POST", f"/run?wait={wait}", json={"task": task, **more})
        assert status == 200, answer
        return answer

    async def begin(self, task: str, **more: Any) -> str:
        """The id of a new run."""
        status, answer = await self.call("POST", "/run", json={"task": task, **more})
        assert status == 202, answer
        return answer["instance_id"]

    async def run(self, run: str) -> dict[str, Any]:
        status, answer = await self.call("GET", f"/runs/{run}")
        assert status == 200, answer
        return answer

    async def steps(self, run: str) -> list[dict[str, Any]]:
        status, answer = await self.call("GET", f"/runs/{run}/steps")
        assert status == 200, answer
        return answer["steps"]

    async def ended(self, run: str, *, within: float = 60.0) -> dict[str, Any]:
        """The run once it has ended."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            with contextlib.suppress(aiohttp.ClientError, AssertionError):
                view = await self.run(run)
                if view["status"] != "RUNNING":
                    return view
            assert asyncio.get_running_loop().time() < deadline, f"run {run} has not ended; log:\n{self.log.read_text()[-4000:]}"
            await asyncio.sleep(0.05)

    async def ready(self) -> bool:
        assert self.process.running, self.log.read_text()[-4000:]
        try:
            status, _ = await self.call("GET", "/readyz", token=None)
        except aiohttp.ClientError:
            return False
        return status == 200

    async def start(self) -> None:
        """Start and wait until it is ready."""
        self.process.start()
        await self.until(self.ready, within=READY_SECONDS)

    async def kill(self) -> None:
        await self.process.kill()

    async def terminate(self) -> None:
        """SIGTERM, and wait for the end."""
        await self.process.stop(grace=30.0)

    async def until(self, probe: Callable[[], Any], *, within: float = 15.0) -> Any:
        """The first true value of a coroutine function."""
        deadline = asyncio.get_running_loop().time() + within
        while not (value := await probe()):
            assert asyncio.get_running_loop().time() < deadline, f"not within {within} s; log:\n{self.log.read_text()[-4000:]}"
            await asyncio.sleep(0.02)
        return value


def agent_process(
    environ: dict[str, str],
    config: AgentConfig,
    folder: Path,
    session: aiohttp.ClientSession,
    *,
    port: int,
    program: str | None = None,
) -> AgentProcess:
    """An agent, not started yet; `program` is Python text to run in place of `serve`."""
    folder.mkdir(parents=True, exist_ok=True)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "HOLDFAST_CONFIG": str(folder / "agent.json"),
        "HOLDFAST_POD": folder.name,
    }
    argv = [sys.executable, "-m", "holdfast_agent", "serve", "--host", "127.0.0.1", "--port", str(port)]
    if program:
        argv = [sys.executable, "-c", program, str(port)]
    process = Process("agent", argv, env=env | environ, log=folder / "agent.log")
    agent = AgentProcess(process, f"http://127.0.0.1:{port}", folder / "agent.log", session)
    agent.configure(config)
    return agent


@dataclass
class Stage:
    """A Dapr, a scripted model and an agent."""

    dapr: DaprProcesses
    agent: AgentProcess
    script_url: str
    config: AgentConfig

    async def ledger(self, kind: str | None = None) -> dict[str, Any]:
        """The scripted server's own account of what was asked, by the keys of the steps."""
        query = f"?kind={kind}" if kind else ""
        async with self.agent.session.get(f"{self.script_url}/ledger{query}") as response:
            found = await response.json()
        return found | {"calls": [call | {"key": step_key(call["key"])} for call in found["calls"]]}

    async def underway(self, kind: str, count: int = 1) -> bool:
        """Whether that many requests have arrived and are not answered."""
        calls = (await self.ledger(kind))["calls"]
        return sum(call["finished"] is None for call in calls) >= count


def step_key(sent: str) -> str:
    """The key of the step from the idempotency key that a tool got, which has the moment in it at which the run began."""
    return re.sub(r"~\d+", "", sent)


def second_sidecar(dapr: DaprProcesses, folder: Path, *, app_port: int) -> tuple[Process, dict[str, str]]:
    """Another daprd of the same app on the same placement and scheduler, as beside a second replica; and the app's variables for it."""
    first = dapr.processes["daprd"]
    http, grpc, internal = free_ports(3)
    argv = list(first._argv)
    changed = {"--dapr-http-port": http, "--dapr-grpc-port": grpc, "--dapr-internal-grpc-port": internal, "--app-port": app_port}
    for flag, port in changed.items():
        argv[argv.index(flag) + 1] = str(port)
    process = Process("daprd-2", argv, env=first._env, log=folder / "daprd-2.log", cwd=first._cwd)
    return process, dapr.app_environ | {"DAPR_HTTP_PORT": str(http), "DAPR_GRPC_PORT": str(grpc)}


async def told(ask: Callable[[], Awaitable[Any]], *, within: float = 10.0) -> Any:
    """What Dapr itself says of a workflow. While it saves one it may read a torn state and refuse, so it is asked until it answers."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        try:
            return await ask()
        except grpc.RpcError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def kept_running(process: Process) -> AsyncIterator[None]:
    """As the kubelet does: a sidecar that ended by itself is started again; one that the test stopped or killed is not."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(0.1)
            if process.lost:
                process.start()

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


@contextlib.asynccontextmanager
async def second_replica(here: Stage, folder: Path, *, program: str | None = None) -> AsyncIterator[tuple[AgentProcess, Process]]:
    """Another agent of the same app beside a sidecar of its own, and that sidecar. Both must work on a store that is shared."""
    (port,) = free_ports(1)
    daprd, environ = second_sidecar(here.dapr, folder, app_port=port)
    other = agent_process(environ, here.config, folder / "agent-2", here.agent.session, port=port, program=program)
    daprd.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(daprd.kill)
        await stack.enter_async_context(kept_running(daprd))
        stack.push_async_callback(other.process.stop, grace=10.0)
        await other.start()
        yield other, daprd


@pytest.fixture
async def stage(tmp_path, start_dapr, sqlite_component, serve_script) -> AsyncIterator[Callable[..., Any]]:
    """`await stage(script, "tool", ..., store=COMPONENT)` -> a `Stage` with a ready agent.

    `models`: more models of the scripted server, each behind a Component of its name; `environ`: more variables of the agent;
    `configuration`: more of the sidecar's; `resources`: more that it reads.

    The sidecar allows what it allows in a cluster, and bounds the model as there.
    """
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90)))

        async def build(
            script: dict[str, Any],
            *tools: str,
            store: dict[str, Any] | None = None,
            program: str | None = None,
            models: Sequence[str] = (),
            environ: dict[str, str] | None = None,
            configuration: dict[str, Any] | None = None,
            resources: Sequence[dict[str, Any]] = (),
            **more: Any,
        ) -> Stage:
            url = await serve_script(script, ledger=tmp_path / "ledger.jsonl")
            (port,) = free_ports(1)
            config = agent_config(url, *tools, **more)
            policy = {"apiVersion": "dapr.io/v1alpha1", "kind": "Resiliency", "metadata": {"name": "agent"}}
            made = [store or sqlite_component, model_component(url), policy | {"spec": resiliency_spec(config)}, *resources]
            made += [model_component(url, name=name, model=name) for name in models]
            made += [subscription(name, spec, app_id=config.name) for name, spec in subscriptions(config).items()]
            dapr = await start_dapr(made, app_port=port, configuration={"api": api_spec(config)} | (configuration or {}))
            agent = agent_process(dapr.app_environ | (environ or {}), config, tmp_path / "agent", session, port=port, program=program)
            stack.push_async_callback(agent.process.stop, grace=10.0)
            await agent.start()
            return Stage(dapr, agent, url, config)

        yield build
