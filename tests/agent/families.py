"""Several agents, each with its own sidecar, on one placement, scheduler and Sentry: mTLS, so access control holds as in a cluster."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from holdfast_agent import lineage
from holdfast_agent.documents import call_key, outgoing_key
from holdfast_agent.local.binaries import cache_folder, find
from holdfast_agent.local.ports import free_ports
from holdfast_agent.local.process import Process
from holdfast_agent.local.processes import DaprOptions, DaprProcesses
from holdfast_api.config import AgentConfig, AgentToolConfig, ToolConfig
from holdfast_api.dapr import resiliency_spec
from holdfast_api.defaults import AgentDefaults
from holdfast_api.resolve import resolve
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.configuration import configuration
from tests.agent.agents import AgentProcess, agent_config, agent_process, kept_running, model_component
from tests.agent.servers import state_component

TRUST_DOMAIN = "localhost"


def agent_tool(name: str, **more: Any) -> ToolConfig:
    """A tool that is the agent of that name."""
    return ToolConfig(name=name, agent=AgentToolConfig(name=name), **{"timeout_seconds": 120.0} | more)


@dataclass
class Relative:
    """One of them: its process, its sidecar's, and what it was started with."""

    agent: AgentProcess
    daprd: Process
    environ: dict[str, str]
    config: AgentConfig

    async def invoke(self, app: str, method: str, path: str) -> int:
        """The status of a call of another app by this one's sidecar."""
        url = f"http://127.0.0.1:{self.environ['DAPR_HTTP_PORT']}/v1.0/invoke/{app}/method{path}"
        headers = {"dapr-api-token": self.environ["DAPR_API_TOKEN"]}
        async with self.agent.session.request(method, url, headers=headers, json={} if method == "POST" else None) as response:
            return response.status


@dataclass
class Family:
    """All of them, and their scripted model."""

    members: dict[str, Relative]
    script_url: str
    session: aiohttp.ClientSession

    def __getitem__(self, name: str) -> AgentProcess:
        return self.members[name].agent

    async def ledger(self, kind: str) -> dict[str, Any]:
        async with self.session.get(f"{self.script_url}/ledger?kind={kind}") as response:
            return await response.json()

    async def at_work(self, task: str) -> bool:
        """Whether the scripted model is thinking about that task."""
        calls = (await self.ledger("model"))["calls"]
        return any(call["finished"] is None and task in str(call["detail"]) for call in calls)


async def child_run(parent: AgentProcess, name: str, run: str, call: int = 0) -> str:
    """The id of the run that a call of the first turn begins at another agent."""
    created = datetime.fromisoformat((await parent.run(run))["created"])
    epoch = round(created.timestamp() * 1000)
    return lineage.child_run(name, outgoing_key(call_key(run, 1, call), epoch))


def access(config: AgentConfig) -> dict[str, Any]:
    """`spec` of the Configuration that the operator makes for such an agent."""
    tools = [{"name": tool.name, "agent": {"name": tool.agent.name}} for tool in config.tools if tool.agent]
    spec = {"model": {"component": "llm"}, "state": {"component": "state"}, "access": {"callers": list(config.callers)}, "tools": tools}
    agent = Agent.model_validate({"metadata": {"name": config.name, "namespace": "default"}, "spec": spec | {"team": config.team}})
    made = configuration(agent, resolve(agent, AgentDefaults(), {}))["spec"]
    return {name: made[name] for name in ("api", "accessControl", "features")}


class _Control(DaprProcesses):
    """Placement, scheduler and the first daprd with mTLS; `sidecar` gives a daprd of another app."""

    def __init__(self, options: DaprOptions, sentry_port: int, anchors: Path) -> None:
        super().__init__(options)
        sentry = ["--sentry-address", f"localhost:{sentry_port}"]
        for part in ("placement", "scheduler"):
            self.processes[part]._argv += ["--tls-enabled", "--trust-domain", TRUST_DOMAIN, "--trust-anchors-file", str(anchors), *sentry]
        daprd = self.processes["daprd"]
        daprd._argv += ["--enable-mtls", *sentry, "--control-plane-trust-domain", TRUST_DOMAIN, "--control-plane-namespace", "default"]
        daprd._env["DAPR_TRUST_ANCHORS"] = anchors.read_text()

    def sidecar(self, name: str, folder: Path, *, app_port: int) -> tuple[Process, dict[str, str]]:
        first = self.processes["daprd"]
        http, grpc, internal = free_ports(3)
        argv = list(first._argv)
        changed = {"--dapr-http-port": http, "--dapr-grpc-port": grpc, "--dapr-internal-grpc-port": internal, "--app-port": app_port}
        changed |= {"--app-id": name, "--resources-path": folder / "resources", "--config": folder / "configuration.yaml"}
        for flag, value in changed.items():
            argv[argv.index(flag) + 1] = str(value)
        process = Process(f"daprd-{name}", argv, env=first._env, log=folder / "daprd.log", cwd=folder)
        return process, self.app_environ | {"DAPR_HTTP_PORT": str(http), "DAPR_GRPC_PORT": str(grpc)}


@pytest.fixture
async def family(tmp_path: Path, serve_script: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """`await family(script, planner={...}, critic={...})` -> a `Family` of ready agents.

    What is given for a name are fields of its `AgentConfig`, `environ` aside: more variables of its process. The list of a team is in
    `tmp_path/"members.json"`.
    """
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90)))

        async def build(script: dict[str, Any], **agents: dict[str, Any]) -> Family:
            url = await serve_script(script, ledger=tmp_path / "ledger.jsonl")
            binaries, root = find(os.environ, Path.home()), tmp_path / "family"
            places = (binaries.daprd.parent, cache_folder(os.environ, Path.home()))
            sentry = next((place / "sentry" for place in places if (place / "sentry").exists()), None)
            assert sentry, "Dapr's sentry is beside none of its other programs: build it with `python3 -m e2e.cluster tools dapr`"
            sentry_port = await _sentry(stack, sentry, root)
            members: dict[str, Relative] = {}
            control: _Control | None = None
            for name, given in agents.items():
                more = dict(given.pop("environ", {})) | {"HOLDFAST_TEAM": str(tmp_path / "members.json")}
                config, folder, (port,) = agent_config(url, **{"name": name, **given}), root / name, free_ports(1)
                _resources(folder, url, config, tmp_path)
                if control is None:
                    control = _Control(
                        DaprOptions(
                            binaries=binaries,
                            folder=root / "control",
                            app_id=name,
                            resources=folder / "resources",
                            app_port=port,
                            api_token="token-of-the-sidecar",
                            app_token="token-of-the-app",
                            configuration=access(config),
                        ),
                        sentry_port,
                        root / "creds" / "ca.crt",
                    )
                    await stack.enter_async_context(control)
                    daprd, environ = control.processes["daprd"], control.app_environ
                    resolution = yaml.safe_load((root / "control" / "configuration.yaml").read_text())["spec"]["nameResolution"]
                else:
                    spec = {"nameResolution": resolution} | access(config)
                    document = {"apiVersion": "dapr.io/v1alpha1", "kind": "Configuration", "metadata": {"name": name}, "spec": spec}
                    (folder / "configuration.yaml").write_text(yaml.safe_dump(document))
                    daprd, environ = control.sidecar(name, folder, app_port=port)
                    daprd.start()
                    stack.push_async_callback(daprd.kill)
                await stack.enter_async_context(kept_running(daprd))
                agent = agent_process(environ | more, config, folder / "agent", session, port=port)
                members[name] = Relative(agent, daprd, environ, config)
                stack.push_async_callback(_end, members)
                agent.process.start()
            for relative in members.values():
                await relative.agent.until(relative.agent.ready, within=90.0)
            return Family(members, url, session)

        yield build


async def _end(members: dict[str, Relative]) -> None:
    """All at once: one after the other they would take their time."""
    await asyncio.gather(*(relative.agent.process.stop(grace=10.0) for relative in members.values()))


async def _sentry(stack: contextlib.AsyncExitStack, program: Path, root: Path) -> int:
    """Dapr's certificate authority; it makes its own root into `root/"creds"`."""
    credentials = root / "creds"
    credentials.mkdir(parents=True)
    spec = {"mtls": {"enabled": True, "workloadCertTTL": "24h", "allowedClockSkew": "15m"}}
    document = {"apiVersion": "dapr.io/v1alpha1", "kind": "Configuration", "metadata": {"name": "daprsystem"}, "spec": spec}
    (root / "daprsystem.yaml").write_text(yaml.safe_dump(document))
    port, healthz = free_ports(2)
    argv: list[str | Path] = [program, "--issuer-credentials", credentials, "--trust-domain", TRUST_DOMAIN, "--port", str(port)]
    argv += ["--config", root / "daprsystem.yaml", "--healthz-port", str(healthz), "--enable-metrics=false"]
    argv += ["--listen-address", "127.0.0.1", "--healthz-listen-address", "127.0.0.1"]
    sentry = Process("sentry", argv, env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}, log=root / "sentry.log", cwd=root)
    sentry.start()
    stack.push_async_callback(sentry.kill)

    async def serves() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{healthz}/healthz") as response:
                return response.status < 300 and (credentials / "ca.crt").exists()
        except aiohttp.ClientError:
            return False

    await sentry.until(serves, within=60.0)
    return port


def _resources(folder: Path, url: str, config: AgentConfig, stores: Path) -> None:
    (folder / "resources").mkdir(parents=True)
    policy = {"apiVersion": "dapr.io/v1alpha1", "kind": "Resiliency", "metadata": {"name": "agent"}, "spec": resiliency_spec(config)}
    store = state_component("state.sqlite", {"connectionString": str(stores / f"{config.name}.db")})
    for number, document in enumerate([store, model_component(url), policy]):
        (folder / "resources" / f"{number}.yaml").write_text(yaml.safe_dump(document))
