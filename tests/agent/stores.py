"""Every supported store behind a real daprd, and ways to make it fail."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from dapr.conf import settings

from holdfast_agent.local.binaries import find
from holdfast_agent.local.processes import DaprOptions, DaprProcesses
from holdfast_agent.sidecar import Sidecar
from holdfast_agent.store import Store
from tests.agent.servers import PostgresServer, RedisServer, running_postgres, running_redis, state_component

KINDS = ("sqlite", "redis", "postgresql")
TOKEN = "token-of-the-sidecar"


@dataclass(frozen=True)
class Place:
    """A store, and the sidecar that it is seen through."""

    kind: str
    dapr: DaprProcesses
    sidecar: Sidecar
    server: RedisServer | PostgresServer | None

    @property
    def store(self) -> Store:
        """As one process of the agent has it."""
        return Store(self.sidecar, "state")

    async def kill(self) -> None:
        """SIGKILL for whatever keeps the data: the server, or daprd, in which SQLite is."""
        await (self.server.kill() if self.server else self.dapr.kill("daprd"))

    async def start(self) -> None:
        await (self.server.start() if self.server else self.dapr.restart("daprd"))


@contextlib.asynccontextmanager
async def running_store(kind: str, folder: Path, template: Path) -> AsyncIterator[Place]:
    """A store of that kind, with its data in the folder (PostgreSQL: in one of its own, a copy of `template`)."""
    async with contextlib.AsyncExitStack() as stack:
        server: RedisServer | PostgresServer | None = None
        if kind == "redis":
            server = await stack.enter_async_context(running_redis(folder))
        elif kind == "postgresql":
            server = await stack.enter_async_context(running_postgres(template))
        component = server.component if server else state_component("state.sqlite", {"connectionString": str(folder / "state.db")})
        options = DaprOptions(
            binaries=find(os.environ, Path.home()), folder=folder, app_id="agent", resources=_written(folder, component), api_token=TOKEN
        )
        dapr = await stack.enter_async_context(DaprProcesses(options))
        sidecar = _sidecar(dapr)
        stack.push_async_callback(sidecar.close)
        await sidecar.wait_healthy()
        yield Place(kind, dapr, sidecar, server)


def _written(folder: Path, component: dict[str, Any]) -> Path:
    resources = folder / "resources"
    resources.mkdir()
    (resources / "state.yaml").write_text(yaml.safe_dump(component))
    return resources


def _sidecar(dapr: DaprProcesses) -> Sidecar:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "DAPR_HTTP_PORT", dapr.http_port)
        patch.setattr(settings, "DAPR_GRPC_PORT", dapr.grpc_port)
        patch.setattr(settings, "DAPR_API_TOKEN", TOKEN)
        return Sidecar()


class LosingReplies:
    """A sidecar that does what it is asked, and loses the first `count` replies of that method."""

    def __init__(self, sidecar: Sidecar, method: str, *, count: int = 1) -> None:
        self.metadata, self.stub = sidecar.metadata, self
        self._real, self._method, self.left = sidecar.stub, method, count

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)

        async def call(request: Any, **options: Any) -> Any:
            reply = await real(request, **options)
            if name == self._method and self.left:
                self.left -= 1
                raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="lost")
            return reply

        return call
