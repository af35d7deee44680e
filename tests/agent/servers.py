"""Stores of the test's own: Redis and PostgreSQL, started where nobody else is and gone with the test."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.packages import program
from holdfast_agent.local.ports import free_ports
from holdfast_agent.local.process import Process

NOBODY = 65534
_STARTING_SECONDS = 20.0
_SYNC_ALWAYS = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")


def state_component(kind: str, metadata: dict[str, str], *, name: str = "state", version: str = "v1") -> dict[str, Any]:
    """A state Component that is good for workflows."""
    entries = [{"name": key, "value": value} for key, value in (metadata | {"actorStateStore": "true"}).items()]
    spec = {"type": kind, "version": version, "metadata": entries}
    return {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec}


def needed(name: str) -> Path:
    """A program of the machine."""
    found = program(name)
    assert found, f"{name} is needed for this test: python3 -m e2e.cluster programs redis-server postgres"
    return found


@dataclass(frozen=True)
class RedisServer:
    """A Redis of the test's own, which forgets nothing that it acknowledged."""

    process: Process
    port: int

    @property
    def component(self) -> dict[str, Any]:
        """A state Component for it, good for workflows."""
        return state_component("state.redis", {"redisHost": f"127.0.0.1:{self.port}"})

    async def answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        line = await reader.readline()
        writer.close()
        return line.startswith(b"+PONG")

    async def start(self) -> None:
        self.process.start()
        await self.process.until(self.answers, within=10)

    async def kill(self) -> None:
        await self.process.kill()


@contextlib.asynccontextmanager
async def running_redis(folder: Path) -> AsyncIterator[RedisServer]:
    """A Redis with its data in that folder, which exists."""
    (port,) = free_ports(1)
    argv = [needed("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--dir", folder, *_SYNC_ALWAYS]
    server = RedisServer(Process("redis", argv, env={"PATH": os.environ["PATH"]}, log=folder / "redis.log"), port)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
def redis_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "redis"
    folder.mkdir()
    return folder


@pytest.fixture
async def redis_server(redis_folder: Path) -> AsyncIterator[RedisServer]:
    """A running Redis with an append-only file that is synced for every write; `kill()` and `start()` it at will."""
    async with running_redis(redis_folder) as server:
        yield server


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL that syncs every commit, as it does by default."""

    process: Process
    port: int

    @property
    def component(self) -> dict[str, Any]:
        """A state Component for it, good for workflows."""
        dsn = f"host=127.0.0.1 port={self.port} user=holdfast database=postgres sslmode=disable"
        return state_component("state.postgresql", {"connectionString": dsn}, version="v2")

    async def answers(self) -> bool:
        argv = [needed("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return await (await asyncio.create_subprocess_exec(*argv)).wait() == 0

    async def start(self) -> None:
        """Start it, again and again until the processes of one that was killed have gone."""
        deadline = asyncio.get_running_loop().time() + _STARTING_SECONDS
        while not await self.answers():
            assert asyncio.get_running_loop().time() < deadline, self.process.tail()
            self.process.start()
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        await self.process.kill()


def _as_user(*argv: str | Path) -> list[str | Path]:
    """The command as somebody who is not root, because PostgreSQL refuses to run as root. It ends with us in either case."""
    if os.geteuid():
        return list(argv)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig", "KILL", *argv]


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


@contextlib.contextmanager
def _open_folder() -> Iterator[Path]:
    """A folder that such a user reaches: pytest's own is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
    try:
        if not os.geteuid():
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[Path]:
    """An empty database cluster, to be copied."""
    with _open_folder() as folder:
        options = ["--no-sync", "--auth=trust", "--username=holdfast", "--encoding=UTF8", "--locale=C"]
        argv = _as_user(needed("initdb"), "--pgdata", folder / "data", *options)
        done = subprocess.run(argv, env=_environment(), capture_output=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr.decode()
        yield folder / "data"


@contextlib.asynccontextmanager
async def running_postgres(template: Path) -> AsyncIterator[PostgresServer]:
    """A PostgreSQL with a copy of those data."""
    with _open_folder() as folder:
        copying = await asyncio.create_subprocess_exec(*_as_user("cp", "-a", template, folder / "data"), cwd="/")
        assert await copying.wait() == 0
        (port,) = free_ports(1)
        options = ["-h", "127.0.0.1", "-p", str(port), "-c", "unix_socket_directories="]
        argv = _as_user(needed("postgres"), "-D", folder / "data", *options)
        server = PostgresServer(Process("postgres", argv, env=_environment(), log=folder / "log", cwd=Path("/")), port)
        await server.start()
        yield server
        server.process.signal(signal.SIGINT)  # its fast shutdown; SIGTERM would wait for daprd to let go
        await server.process.stop(grace=5.0)


@pytest.fixture
async def postgres_server(postgres_template: Path) -> AsyncIterator[PostgresServer]:
    """A running PostgreSQL; `kill()` and `start()` it at will."""
    async with running_postgres(postgres_template) as server:
        yield server
