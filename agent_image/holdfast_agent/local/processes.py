"""Dapr without containers: placement, scheduler and daprd as children of this process, all on the loopback.

What is durable is the scheduler's folder: workflows live in the state store, but what wakes them lives there. A scheduler that is
killed with SIGKILL makes its successor wait for a lease (about 25 s), so it always gets SIGTERM, also from the kernel when this
process dies.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp
import yaml

from holdfast_agent.local.binaries import DaprBinaries
from holdfast_agent.local.ports import free_ports
from holdfast_agent.local.process import Process
from holdfast_api import names

Part = Literal["placement", "scheduler", "daprd"]
_LOOPBACK = "127.0.0.1"
_START_SECONDS = 60.0
_PROBE = aiohttp.ClientTimeout(total=1.0)
_OK = range(200, 300)
_GRACE: dict["Part", float] = {"daprd": 8.0, "placement": 5.0, "scheduler": 10.0}
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class DaprOptions:
    """What to start.

    Attributes:
        binaries: the programs.
        folder: where the scheduler's data, logs and daprd's configuration go; kept for as long as workflows are to live.
        app_id: of the one app.
        resources: folder of Components, Resiliency and so on.
        app_port: where the app listens; daprd then waits for it before it calls it, but serves its own APIs at once.
        api_token: what the app must send to daprd.
        app_token: what daprd sends to the app.
        environ: more variables for daprd: what `envRef` in Components names.
        configuration: `spec` of the Configuration, merged over the one needed here.
        names: file in which sidecars look each other up; None: one of its own.
        keep_open: descriptors that all processes inherit.
        log_level: of daprd.
    """

    binaries: DaprBinaries
    folder: Path
    app_id: str
    resources: Path
    app_port: int | None = None
    api_token: str | None = None
    app_token: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    names: Path | None = None
    keep_open: tuple[int, ...] = ()
    log_level: str = "info"


class DaprProcesses:
    """The three processes, as a context manager.

    ```
    async with DaprProcesses(options) as dapr:
        os.environ.update(dapr.app_environ)
        await dapr.kill("daprd")
        await dapr.restart("daprd")
    ```
    They keep their ports for the life of this object, so a restarted part is found by the others.
    """

    def __init__(self, options: DaprOptions) -> None:
        """Choose ports and write daprd's configuration; nothing is started yet."""
        self.options = options
        ports = free_ports(10)
        self.http_port, self.grpc_port, internal, self._placement_port, self._scheduler_port = ports[:5]
        self._healthz: dict[Part, str] = {
            "placement": f"http://{_LOOPBACK}:{ports[5]}/healthz",
            "scheduler": f"http://{_LOOPBACK}:{ports[6]}/healthz",
            "daprd": f"http://{_LOOPBACK}:{self.http_port}/v1.0/healthz/outbound",
        }
        self.processes: dict[Part, Process] = {
            "placement": self._placement(healthz=ports[5], raft=ports[7]),
            "scheduler": self._scheduler(healthz=ports[6], client=ports[8], peer=ports[9]),
            "daprd": self._daprd(internal),
        }

    @property
    def app_environ(self) -> dict[str, str]:
        """Variables that the app needs, as the injector sets them in a pod."""
        found = {"DAPR_HTTP_PORT": str(self.http_port), "DAPR_GRPC_PORT": str(self.grpc_port), "APP_PROTOCOL": "http"}
        if self.options.api_token:
            found[names.ENV_DAPR_TOKEN] = self.options.api_token
        if self.options.app_token:
            found[names.ENV_APP_TOKEN] = self.options.app_token
        return found

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start what does not run, all at once, and wait until all are healthy.

        Raises:
            LocalError: one of them ended or did not become healthy; with the end of its log.
        """
        self.options.folder.mkdir(parents=True, exist_ok=True)
        for process in self.processes.values():
            process.start()
        for part in self.processes:
            await self.healthy(part)

    async def stop(self) -> None:
        """End all: daprd first, because the others serve it; the scheduler always by SIGTERM."""
        await self._stop("daprd")
        await asyncio.gather(self._stop("placement"), self._stop("scheduler"))

    async def kill(self, part: Part) -> None:
        """SIGKILL one part."""
        await self.processes[part].kill()

    async def restart(self, part: Part, *, wait: bool = True) -> None:
        """Start a part again (ending it with SIGTERM if it runs), and wait until it is healthy."""
        await self._stop(part)
        self.processes[part].start()
        if wait:
            await self.healthy(part)

    async def healthy(self, part: Part, *, within: float = _START_SECONDS) -> None:
        """Wait until a part says that it serves; daprd's app need not be up for that.

        Raises:
            LocalError: it ended or took too long.
        """
        async with aiohttp.ClientSession(timeout=_PROBE) as session:

            async def serves() -> bool:
                try:
                    async with session.get(self._healthz[part]) as response:
                        return response.status in _OK
                except (aiohttp.ClientError, TimeoutError, OSError):
                    return False

            await self.processes[part].until(serves, within=within)

    async def workers(self) -> int:
        """How many workflow workers daprd counts; 0 when it cannot be asked."""
        headers = {"dapr-api-token": self.options.api_token} if self.options.api_token else {}
        url = f"http://{_LOOPBACK}:{self.http_port}/v1.0/metadata"
        try:
            async with aiohttp.ClientSession(timeout=_PROBE) as session, session.get(url, headers=headers) as response:
                document = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0
        return int((document.get("workflows") or {}).get("connectedWorkers") or 0)

    async def _stop(self, part: Part) -> None:
        await self.processes[part].stop(grace=_GRACE[part])

    def _placement(self, *, healthz: int, raft: int) -> Process:
        argv: list[str | Path] = [self.options.binaries.placement, "--listen-address", _LOOPBACK, "--port", str(self._placement_port)]
        argv += ["--healthz-listen-address", _LOOPBACK, "--healthz-port", str(healthz), "--enable-metrics=false"]
        argv += ["--initial-cluster", f"dapr-placement-0={_LOOPBACK}:{raft}"]
        return self._process("placement", argv, {})

    def _scheduler(self, *, healthz: int, client: int, peer: int) -> Process:
        argv: list[str | Path] = [self.options.binaries.scheduler, "--listen-address", _LOOPBACK, "--port", str(self._scheduler_port)]
        argv += ["--healthz-listen-address", _LOOPBACK, "--healthz-port", str(healthz), "--enable-metrics=false"]
        argv += ["--override-broadcast-host-port", f"{_LOOPBACK}:{self._scheduler_port}"]
        argv += ["--etcd-data-dir", self.options.folder / "scheduler", "--etcd-client-port", str(client)]
        argv += ["--etcd-client-listen-address", _LOOPBACK]
        argv += ["--etcd-initial-cluster", f"dapr-scheduler-server-0=http://{_LOOPBACK}:{peer}"]
        return self._process("scheduler", argv, {}, on_orphaned=signal.SIGTERM)

    def _daprd(self, internal: int) -> Process:
        options = self.options
        argv: list[str | Path] = [options.binaries.daprd, "--app-id", options.app_id, "--resources-path", options.resources]
        argv += ["--config", self._configuration(), "--log-level", options.log_level, "--max-body-size", "16Mi"]
        argv += ["--dapr-listen-addresses", _LOOPBACK, "--dapr-internal-grpc-listen-address", _LOOPBACK]
        argv += [
            "--dapr-http-port",
            str(self.http_port),
            "--dapr-grpc-port",
            str(self.grpc_port),
            "--dapr-internal-grpc-port",
            str(internal),
        ]
        argv += ["--placement-host-address", f"{_LOOPBACK}:{self._placement_port}"]
        argv += ["--scheduler-host-address", f"{_LOOPBACK}:{self._scheduler_port}"]
        argv += ["--enable-metrics=false", "--disable-init-endpoints", "config,subscribe", "--dapr-graceful-shutdown-seconds", "2"]
        argv += ["--app-port", str(options.app_port), "--app-protocol", "http"] if options.app_port else []
        tokens = {names.ENV_DAPR_TOKEN: options.api_token, names.ENV_APP_TOKEN: options.app_token}
        return self._process("daprd", argv, dict(options.environ) | {name: value for name, value in tokens.items() if value})

    def _configuration(self) -> Path:
        """The Configuration; names are resolved through a file, because the default (mDNS) talks to the whole network."""
        path = self.options.folder / "configuration.yaml"
        resolution = {"connectionString": str(self.options.names or self.options.folder / "names.db")}
        spec = {
            "features": [{"name": "HotReload", "enabled": False}],
            "nameResolution": {"component": "sqlite", "version": "v1", "configuration": resolution},
        } | dict(self.options.configuration)
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"apiVersion": "dapr.io/v1alpha1", "kind": "Configuration", "metadata": {"name": self.options.app_id}, "spec": spec}
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def _process(
        self, part: Part, argv: list[str | Path], environ: Mapping[str, str], *, on_orphaned: signal.Signals = signal.SIGKILL
    ) -> Process:
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"NAMESPACE": "default"} | dict(environ)
        log = self.options.folder / "logs" / f"{part}.log"
        return Process(part, argv, env=env, log=log, on_orphaned=on_orphaned, cwd=self.options.folder, keep_open=self.options.keep_open)
