"""A Kubernetes API server alone: etcd and kube-apiserver as two processes on loopback, up in seconds, gone without a trace.

    with ApiServer() as server:
        run_tests(kubeconfig=server.kubeconfig)

`controllers=True` adds the kube-controller-manager (deployments, garbage collector, service accounts and the rest; no nodes, so
pods stay Pending). Faults are made with `kill`, `restart`, `pause` and `resume`: data and ports stay the same across a restart.
Without controllers nobody makes a namespace's default ServiceAccount, so that admission step is left out then and pods can be made
by hand.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e.cluster import shell, tools
from e2e.cluster.faults import Fault
from e2e.cluster.places import Places, places

PREFIX = "holdfast-api-"
READY_SECONDS = 60.0
ATTEMPTS = 3
PARTS = ("etcd", "apiserver", "controllers")


def free_ports(count: int) -> list[int]:
    """Find free loopback ports: all at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found


def kubeconfig_text(url: str, authority: Path, token: str) -> str:
    """Write the admin's kubeconfig (JSON is YAML)."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "alone", "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "alone", "context": {"cluster": "alone", "user": "admin"}}],
        "current-context": "alone",
    }
    return json.dumps(config, indent=2) + "\n"


def sweep(base: Path | None = None) -> list[Path]:
    """Remove the folders of API servers whose owner was killed; their processes have died with it."""
    removed = []
    for folder in (base or Path(tempfile.gettempdir())).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


class ApiServer:
    """etcd + kube-apiserver (+ kube-controller-manager), as a context manager."""

    def __init__(self, *, controllers: bool = False, extra_args: Sequence[str] = (), here: Places | None = None) -> None:
        self.controllers = controllers
        self.extra_args = list(extra_args)
        self.here = here or places()
        self.token = secrets.token_hex(16)
        self.folder = Path()
        self.url = ""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, shell.Words] = {}
        self._killed: set[str] = set()

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def pids(self) -> dict[str, int]:
        """The running parts' process ids."""
        return {part: process.pid for part, process in self.processes.items() if process.poll() is None}

    def __enter__(self) -> Self:
        """Start; see `start`."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop; see `stop`."""
        self.stop()

    def start(self) -> Self:
        """Start all parts and wait until the API server is ready; take other ports when somebody was faster."""
        sweep()
        for attempt in range(ATTEMPTS):
            self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
            try:
                self._prepare()
                for part in ("etcd", "apiserver"):
                    self._launch(part)
                self.wait_ready()
                if self.controllers:
                    # it gives up when the API server takes more than ten seconds, as on a busy machine
                    self._launch("controllers")
            except BaseException as error:
                taken = "address already in use" in self._logs()
                if attempt + 1 < ATTEMPTS and taken and isinstance(error, Fault):
                    self.stop()
                    continue
                self.stop(keep_folder=isinstance(error, Fault))
                raise
            return self
        raise AssertionError

    def stop(self, *, keep_folder: bool = False) -> None:
        """End every process and remove the folder."""
        for part in reversed(PARTS):
            process = self.processes.pop(part, None)
            if process and process.poll() is None:
                # nothing here is worth a graceful end: the data go as well
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        if not keep_folder and self.folder.name.startswith(PREFIX):
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self, part: str, number: int = signal.SIGKILL) -> None:
        """Kill one part ("etcd", "apiserver", "controllers") and wait for its end."""
        process = self._process(part)
        self._killed.add(part)
        os.killpg(process.pid, number)
        process.wait(30)

    def restart(self, part: str) -> None:
        """Start a part again with the same data and ports, killing it first when it still runs; wait until it serves."""
        if self._process(part).poll() is None:
            self.kill(part)
        self._launch(part)
        self.wait_ready()

    def pause(self, part: str) -> None:
        """Freeze a part, as a stalled machine would."""
        os.killpg(self._process(part).pid, signal.SIGSTOP)

    def resume(self, part: str) -> None:
        """Let a frozen part go on."""
        os.killpg(self._process(part).pid, signal.SIGCONT)

    def compact(self) -> int:
        """Make etcd forget everything but what is: whoever asks for an older version hears that it is too old.

        Returns:
            The version from which on it remembers.
        """
        revision = int(self._etcd_says("kv/range", {"key": "YQ=="})["header"]["revision"])
        self._etcd_says("kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    def _etcd_says(self, path: str, question: dict[str, object]) -> dict[str, dict[str, str]]:
        """Ask etcd in JSON, which needs no client of it."""
        words = [str(word) for word in self._commands["etcd"]]
        url = words[words.index("--listen-client-urls") + 1]
        request = urllib.request.Request(f"{url}/v3/{path}", data=json.dumps(question).encode(), method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as reply:
            answer: dict[str, dict[str, str]] = json.loads(reply.read())
            return answer

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait until the API server says that it is ready."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for part, process in self.processes.items():
                if process.poll() is not None and part not in self._killed:
                    raise Fault(f"{part} ended with {process.returncode}", log=self.folder / f"{part}.log")
            if self._ready():
                return
            time.sleep(0.05)
        raise Fault(f"the API server is not ready after {timeout:.0f} s", log=self.folder / "apiserver.log")

    def _ready(self) -> bool:
        authority = self.folder / "certs" / "apiserver.crt"
        if not authority.exists():
            return False
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.token}"})
        try:
            context = ssl.create_default_context(cafile=str(authority))
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
            with opener.open(request, timeout=2) as reply:
                return bool(reply.status == HTTPStatus.OK)
        except (OSError, ValueError):  # URLError is an OSError
            return False

    def _process(self, part: str) -> "subprocess.Popen[bytes]":
        try:
            return self.processes[part]
        except KeyError:
            raise ValueError(f"no part {part!r}; there are: {', '.join(self.processes)}") from None

    def _logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def _launch(self, part: str) -> None:
        self._killed.discard(part)
        with (self.folder / f"{part}.log").open("ab") as log:
            self.processes[part] = shell.start(self._commands[part], log)

    def _prepare(self) -> None:
        etcd_port, peer_port, api_port, manager_port = free_ports(4)
        self.url = f"https://127.0.0.1:{api_port}"
        certs = self.folder / "certs"
        certs.mkdir()
        tokens = self.folder / "tokens.csv"
        tokens.touch(0o600)
        tokens.write_text(f'{self.token},admin,admin,"system:masters"\n')
        self.kubeconfig.touch(0o600)
        self.kubeconfig.write_text(kubeconfig_text(self.url, certs / "apiserver.crt", self.token))
        kubeadm = tools.find(self.here, "kubernetes", "kubeadm")
        shell.run([kubeadm, "init", "phase", "certs", "sa", "--cert-dir", certs], self.folder / "keys.log", timeout=60)
        self._commands = {
            "etcd": self._etcd(etcd_port, peer_port),
            "apiserver": self._apiserver(etcd_port, api_port, certs, tokens),
        }
        if self.controllers:
            self._commands["controllers"] = self._manager(manager_port, certs)

    def _etcd(self, port: int, peer_port: int) -> shell.Words:
        url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        argv: shell.Words = [tools.find(self.here, "etcd", "etcd"), "--data-dir", self.folder / "etcd", "--name", "alone"]
        # a machine that loses power loses the test as well, so no fsync
        flags = ["--unsafe-no-fsync", "--log-level", "warn", "--quota-backend-bytes", str(4 << 30)]
        listen = ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer]
        return [*argv, *flags, *listen, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"alone={peer}"]

    def _apiserver(self, etcd_port: int, port: int, certs: Path, tokens: Path) -> shell.Words:
        flags = {
            "etcd-servers": f"http://127.0.0.1:{etcd_port}",
            "secure-port": str(port),
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "cert-dir": str(certs),
            "token-auth-file": str(tokens),
            "authorization-mode": "RBAC",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": str(certs / "sa.pub"),
            "service-account-signing-key-file": str(certs / "sa.key"),
            "service-cluster-ip-range": "10.96.0.0/16",
            "endpoint-reconciler-type": "none",
            "allow-privileged": "true",
        }
        if not self.controllers:
            flags["disable-admission-plugins"] = "ServiceAccount"
        argv: shell.Words = [tools.find(self.here, "kubernetes", "kube-apiserver")]
        return [*argv, *(f"--{name}={value}" for name, value in flags.items()), *self.extra_args]

    def _manager(self, port: int, certs: Path) -> shell.Words:
        flags = {
            "kubeconfig": str(self.kubeconfig),
            "authentication-kubeconfig": str(self.kubeconfig),
            "authorization-kubeconfig": str(self.kubeconfig),
            "bind-address": "127.0.0.1",
            "secure-port": str(port),
            "cert-dir": str(certs / "manager"),
            "leader-elect": "false",
            "service-account-private-key-file": str(certs / "sa.key"),
            "root-ca-file": str(certs / "apiserver.crt"),
            # it starts before the API server serves, and should not wait long to try again
            "kube-api-qps": "200",
            "kube-api-burst": "400",
        }
        argv: shell.Words = [tools.find(self.here, "kubernetes", "kube-controller-manager")]
        return [*argv, *(f"--{name}={value}" for name, value in flags.items())]
