"""Everything that an agent needs here, started together and ended in order: the agent first, then daprd, then what serves daprd."""

import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from holdfast_agent.local import environment, manifests
from holdfast_agent.local.beside import Beside
from holdfast_agent.local.binaries import find
from holdfast_agent.local.client import AgentClient
from holdfast_agent.local.documents import Documents
from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.manifests import Plan
from holdfast_agent.local.ports import free_ports, is_free
from holdfast_agent.local.process import Process
from holdfast_agent.local.processes import DaprOptions, DaprProcesses
from holdfast_agent.local.workspace import CONFIG, Workspace
from holdfast_api import names

_READY_SECONDS = 90.0
_SPARE_SECONDS = 5.0
_MAX_RESTARTS = 5
_RESTARTS_WITHIN = 600.0


class Session:
    """A running agent.

    Attributes:
        client: its HTTP API.
    """

    def __init__(self, client: AgentClient, agent: Process, dapr: DaprProcesses, say: Callable[[str], None]) -> None:
        """Keep what `running` started."""
        self.client = client
        self._processes = (agent, *dapr.processes.values())
        self._say = say
        self._restarts: list[float] = []

    def mend(self) -> None:
        """Start again what has died, as the kubelet would; the run goes on by itself then.

        Raises:
            LocalError: it dies again and again; with the end of its log.
        """
        for process in self._processes:
            if process.running:
                continue
            now = time.monotonic()
            self._restarts = [at for at in self._restarts if at > now - _RESTARTS_WITHIN]
            if len(self._restarts) == _MAX_RESTARTS:
                raise LocalError(f"{process.name} ended with code {process.exit_code}, and that was no single case:\n{process.tail()}")
            self._restarts.append(now)
            self._say(f"{process.name} ended with code {process.exit_code}; starting it again")
            process.start()


@contextlib.asynccontextmanager
async def running(
    documents: Documents,
    workspace: Workspace,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    *,
    port: int = 0,
    beside: Beside | None = None,
) -> AsyncIterator[Session]:
    """Start an agent and all it needs; ready when entered, ended when left.

    Args:
        documents: what it is.
        workspace: where it lives.
        environ: the user's.
        say: for people.
        port: of its HTTP API; 0 for any free one.
        beside: the Agents that are served together with it.

    Raises:
        LocalError: something is missing, or does not start.
    """
    port = _port(port)
    others = beside.here(documents.agent) if beside else frozenset[str]()
    plan = manifests.plan(documents, workspace.folder / "state.db", others)
    sidecar_secrets = environment.secret_environ(plan.sidecar_secrets, documents, environ)
    tool_secrets = environment.secret_environ(plan.resolved.container_secrets, documents, environ)
    binaries = find(environ, Path.home())
    for note in (*plan.notes, *(beside.refused(documents.agent) if beside else ())):
        say(f"note: {note}")
    async with contextlib.AsyncExitStack() as stack:
        lock = await stack.enter_async_context(workspace.processes_lock(say))
        manifests.write(plan.resources, workspace.folder / "resources")
        dapr = DaprProcesses(
            DaprOptions(
                binaries=binaries,
                folder=workspace.folder,
                app_id=plan.resolved.config.name,
                resources=workspace.folder / "resources",
                app_port=port,
                api_token=secrets.token_urlsafe(32),
                app_token=workspace.secret("app.token"),
                environ=sidecar_secrets | {"NAMESPACE": documents.agent.metadata.namespace},
                configuration=manifests.configuration(plan.resolved.config),
                names=beside.lookup if beside else None,
                keep_open=(lock,),
            )
        )
        if _killed(dapr.processes["scheduler"]):
            say("Dapr's scheduler was killed last time: it waits for its old lease to end, about 20 s, before the run goes on")
        await stack.enter_async_context(dapr)
        own = tool_secrets | dapr.app_environ | {names.ENV_AUDIT_KEY: workspace.secret("audit.key")}
        members = beside.members(documents.agent) if beside else None
        own |= {names.ENV_TEAM: str(members)} if members else {}
        agent = _agent(plan, documents, workspace, environ, own, port=port, lock=lock)
        stack.push_async_callback(_stop, agent, dapr, _grace(plan))
        agent.start()
        client = await stack.enter_async_context(AgentClient(f"http://127.0.0.1:{port}", dapr.app_environ[names.ENV_APP_TOKEN]))
        await agent.until(client.ready, within=_READY_SECONDS)
        yield Session(client, agent, dapr, say)


def _agent(
    plan: Plan, documents: Documents, workspace: Workspace, environ: Mapping[str, str], own: Mapping[str, str], *, port: int, lock: int
) -> Process:
    config = workspace.folder / CONFIG
    config.write_text(json.dumps(plan.resolved.config.document(), ensure_ascii=False))
    return Process(
        "the agent",
        [sys.executable, "-m", "holdfast_agent", "serve", "--host", "127.0.0.1", "--port", str(port)],
        env=environment.base(environ) | environment.container_environ(documents) | dict(own) | {names.ENV_CONFIG: str(config)},
        log=workspace.folder / "logs" / "agent.log",
        cwd=workspace.folder,
        keep_open=(lock,),
    )


def _port(wished: int) -> int:
    if not wished:
        return free_ports(1)[0]
    if not is_free(wished):
        raise LocalError(f"port {wished} is in use: choose another one with --port, or --port 0 for any that is free")
    return wished


def _killed(scheduler: Process) -> bool:
    """Whether it ended without saying goodbye; its log is the only witness that outlives it."""
    last = scheduler.tail()
    return bool(last) and "shut down gracefully" not in last


async def _stop(agent: Process, dapr: DaprProcesses, grace: float) -> None:
    """Let calls in flight end; without daprd their results could not be stored, and waiting for that has no end."""
    await agent.stop(grace=grace if dapr.processes["daprd"].running else _SPARE_SECONDS)


def _grace(plan: Plan) -> float:
    """As long as the longest call that may be in flight: what is broken off would have to be made again."""
    return plan.resolved.config.longest_call_seconds + _SPARE_SECONDS


def new_run_id() -> str:
    """An id that sorts by nothing and is short enough to type."""
    return f"run-{os.urandom(4).hex()}"
