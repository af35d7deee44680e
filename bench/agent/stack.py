"""What surrounds a contender: Redis, Dapr, the model outside, and the worker itself; and what each of them used."""

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bench.agent.contenders import HERE, Contender, environ, write_config
from holdfast_agent.local.binaries import find
from holdfast_agent.local.ports import free_ports
from holdfast_agent.local.process import Process
from holdfast_agent.local.processes import DaprOptions, DaprProcesses

TICKS = os.sysconf("SC_CLK_TCK")
FSYNC = ("everysec", "always")
READY_SECONDS = 120.0


class Redis:
    """A client for the few commands that are asked here, past Dapr."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._file = self._socket.makefile("rb")

    def ask(self, *words: str) -> Any:  # noqa: ANN401 - any reply
        """One command and its reply."""
        self._socket.sendall(f"*{len(words)}\r\n".encode() + b"".join(f"${len(w.encode())}\r\n{w}\r\n".encode() for w in words))
        return self._reply()

    def _reply(self) -> Any:  # noqa: ANN401 - any reply
        line = self._file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            data = self._file.read(int(rest) + 2)[:-2] if int(rest) >= 0 else b""
            return data.decode(errors="replace")
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest.decode()

    def commands(self) -> int:
        """Commands that it has carried out, without those that ask about it."""
        lines = self.ask("INFO", "commandstats").splitlines()
        counts = [line.split(":calls=") for line in lines if ":calls=" in line]
        asking = ("cmdstat_info", "cmdstat_dbsize", "cmdstat_ping", "cmdstat_memory", "cmdstat_keys", "cmdstat_hstrlen")
        return sum(int(rest.split(",")[0]) for name, rest in counts if not name.startswith(asking))

    def keys(self) -> int:
        """How many there are."""
        return int(self.ask("DBSIZE"))

    def bytes(self) -> int:
        """What the data takes."""
        lines = self.ask("INFO", "memory").splitlines()
        return int(next(line for line in lines if line.startswith("used_memory_dataset:")).split(":")[1])

    def history_bytes(self, run: str) -> int:
        """What Dapr holds for the history of one workflow."""
        keys = self.ask("KEYS", f"*{run}||history*")
        return sum(int(self.ask("HSTRLEN", key, "data")) for key in keys)


@dataclass
class Stack:
    """All of it, running."""

    contender: Contender
    redis: Redis
    dapr: DaprProcesses
    worker: Process
    processes: dict[str, Process]
    session: aiohttp.ClientSession
    outside: str
    url: str
    ready_seconds: float

    async def set(self, *, latency: float, turns: int) -> None:
        """How slow the model is, and how many tool turns it makes."""
        async with self.session.post(f"{self.outside}/set", json={"latency": latency, "turns": turns}) as response:
            response.raise_for_status()

    async def seen(self) -> dict[str, Any]:
        """What the model saw since."""
        async with self.session.get(f"{self.outside}/seen") as response:
            return await response.json()

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU time that each part and its children have used."""
        return {name: sum(map(_cpu, _group(process.pid))) for name, process in self.processes.items()}

    def rss(self, name: str = "worker") -> float:
        """MiB of one part and its children."""
        return sum(map(_rss, _group(self.processes[name].pid)))


@contextlib.asynccontextmanager
async def stack(contender: Contender, folder: Path, *, fsync: str) -> AsyncIterator[Stack]:
    """Everything for one contender, with a ready worker; ended with the block."""
    async with contextlib.AsyncExitStack() as ending:
        session = await ending.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)))
        redis_port, outside_port, app_port = free_ports(3)
        _make(folder)
        plain = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        redis = Process("redis", _redis(folder, redis_port, fsync), env=plain, log=folder / "redis.log")
        outside = Process("outside", [sys.executable, HERE / "outside.py", str(outside_port)], env=plain, log=folder / "outside.log")
        for process, port in ((redis, redis_port), (outside, outside_port)):
            ending.push_async_callback(process.stop, grace=3.0)
            process.start()
            await process.until(lambda port=port: _open(port), within=20)
        url = f"http://127.0.0.1:{outside_port}"
        options = _dapr_options(folder / "dapr", list(_resources(contender, redis_port, url)))
        dapr = await ending.enter_async_context(DaprProcesses(options))
        write_config(folder / "agent.json", url)
        argv = [contender.python, *contender.argv(app_port)]
        worker = Process("worker", argv, env=environ(plain | dapr.app_environ, folder / "agent.json"), log=folder / "worker.log")
        ending.push_async_callback(worker.stop, grace=5.0)
        began = time.monotonic()
        worker.start()

        async def connected() -> bool:
            return await dapr.workers() > 0 and (
                contender.workflow is not None or await _serves(session, f"http://127.0.0.1:{app_port}/readyz")
            )

        await worker.until(connected, within=READY_SECONDS)
        ready = time.monotonic() - began
        parts = {"worker": worker, "redis": redis, "daprd": dapr.processes["daprd"], "scheduler": dapr.processes["scheduler"]}
        yield Stack(contender, Redis(redis_port), dapr, worker, parts, session, url, f"http://127.0.0.1:{app_port}", ready)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True)


def _redis(folder: Path, port: int, fsync: str) -> list[str | Path]:
    program = shutil.which("redis-server")
    if not program:
        raise SystemExit("redis-server is needed: install the package redis-server")
    return [
        program,
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--dir",
        folder,
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        fsync,
    ]


def _resources(contender: Contender, redis_port: int, outside: str) -> Iterable[dict[str, Any]]:
    redis = {"redisHost": f"127.0.0.1:{redis_port}"}
    yield _component(contender.state, "state.redis", redis | {"actorStateStore": "true"})
    for name in contender.others:
        yield _component(name, "state.redis", redis)
    if contender.others:
        yield _component("agent-pubsub", "pubsub.redis", redis)
    yield _component("llm", "conversation.openai", {"key": "none", "model": "outside", "endpoint": f"{outside}/v1"})


def _component(name: str, kind: str, metadata: dict[str, str]) -> dict[str, Any]:
    spec = {"type": kind, "version": "v1", "metadata": [{"name": key, "value": value} for key, value in metadata.items()]}
    return {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec}


def _dapr_options(folder: Path, resources: list[dict[str, Any]]) -> DaprOptions:
    place = folder / "resources"
    place.mkdir(parents=True)
    for number, document in enumerate(resources):
        (place / f"{number}.yaml").write_text(yaml.safe_dump(document))
    return DaprOptions(binaries=find(os.environ, Path.home()), folder=folder, app_id="bench", resources=place, log_level="warn")


async def _serves(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.ok
    except aiohttp.ClientError:
        return False


async def _open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def _group(leader: int) -> list[int]:
    """A process and those in its process group; each part is started as a leader."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found


def _cpu(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    return 0.0


def _rss(pid: int) -> float:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0) / 1024
    return 0.0
