"""The container engine: the Docker at hand, else as root one of our own, shared by all checkouts of the machine.

Our own is Debian's dockerd with its data in the cache and everything else in one folder under /run, so that nothing of it can be
mistaken for a Docker of the machine. Every cluster that uses it has a file in `users`; whoever removes the last one ends it. What
it changed on the machine (packet filter, bridges, cgroups, kernel settings) is written down before its start; see `leftovers`.
"""

import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import leftovers, packages, runtime, shell
from e2e.cluster.faults import Fault
from e2e.cluster.locks import locked
from e2e.cluster.places import Places
from e2e.cluster.progress import step

# another name makes an engine apart: for tests of the engine itself, in network and process namespaces of their own
NAME = os.environ.get("HOLDFAST_ENGINE", "holdfast-engine")
RUN = Path("/run") / NAME
SOCKET = RUN / "docker.sock"
START_SECONDS = 60
STOP_SECONDS = 30
PROGRAMS = ("dockerd", "docker", "iptables", "nft")
ROOT_FIX = "run as root, or start Docker and give yourself access to it (docker info must work)"


@dataclass(frozen=True)
class Engine:
    """How to talk to the engine in use."""

    host: str  # empty: whatever docker finds by itself
    own: bool

    def environment(self) -> dict[str, str]:
        """Environment for docker and kind."""
        environment = {**os.environ, "PATH": packages.search_path(), "DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "")}
        if not environment["DOCKER_BUILDKIT"]:
            del environment["DOCKER_BUILDKIT"]
        if self.host:
            environment["DOCKER_HOST"] = self.host
            environment.pop("DOCKER_CONTEXT", None)
        return environment

    def ask(self, *arguments: str, timeout: float = 60) -> str:
        """Run a short docker command and return its answer."""
        return shell.ask(["docker", *arguments], env=self.environment(), timeout=timeout)

    def has_image(self, name: str) -> bool:
        """Tell whether the engine holds an image."""
        return bool(self.ask("image", "inspect", "--format", "{{.Id}}", name))


def find() -> Engine | None:
    """Find a running engine: a Docker at hand first, then ours."""
    docker = packages.program("docker")
    if docker is None:
        return None
    ours = f"unix://{SOCKET}"
    if os.environ.get("DOCKER_HOST") != ours and _answers(""):
        return Engine("", own=False)
    return Engine(ours, own=True) if SOCKET.exists() and _answers(ours) else None


def _answers(host: str) -> bool:
    environment = {**os.environ, "PATH": packages.search_path()}
    if host:
        environment["DOCKER_HOST"] = host
    return shell.answer(["docker", "version", "--format", "{{.Server.Os}}"], env=environment, timeout=10)[1].strip() == "linux"


def join(here: Places) -> Engine:
    """Give an engine, starting ours when there is none, and sign in as its user."""
    if (found := find()) and not found.own:
        return found
    if os.geteuid() != 0:
        raise Fault("no Docker answers, and only root can start one", fix=ROOT_FIX)
    packages.provide(here, list(PROGRAMS))
    with locked(RUN / "lock", "starting the engine"):
        found = find()
        if found is None or not found.own:
            found = _start(here)
        users = RUN / "users"
        users.mkdir(exist_ok=True)
        (users / here.name).write_text(str(here.checkout))
    return found


def leave(here: Places) -> None:
    """Sign out; end our engine when nobody uses it any more."""
    if not RUN.exists() or os.geteuid() != 0:
        return
    with locked(RUN / "lock", "ending the engine"):
        users = RUN / "users"
        (users / here.name).unlink(missing_ok=True)
        engine = find()
        _forget_vanished(engine)
        # a reboot may have emptied /run, and with it the list of users
        clusters = engine.ask("ps", "--quiet", "--filter", "label=io.x-k8s.kind.cluster") if engine and engine.own else ""
        if clusters or (users.exists() and any(users.iterdir())):
            return
        with step("end the engine"):
            if engine and engine.own:
                leftovers.remember_bridges(RUN, engine.ask("network", "ls", "--quiet", "--no-trunc").split())
                for network in engine.ask("network", "ls", "--quiet", "--filter", "driver=bridge").split():
                    engine.ask("network", "rm", network)
            _stop()
            leftovers.clean(RUN, data_roots(), cgroup_parent())
            shutil.rmtree(RUN, ignore_errors=True)


def _forget_vanished(engine: Engine | None) -> None:
    """Sign out the clusters of checkouts that are no more; nobody else could remove their nodes."""
    for user in (RUN / "users").glob("*"):
        if not Path(user.read_text()).exists():
            if engine and engine.own:
                engine.ask("rm", "--force", "--volumes", f"{user.name}-control-plane")
            user.unlink()


def users() -> list[str]:
    """Name the clusters that use our engine."""
    folder = RUN / "users"
    return sorted(user.name for user in folder.iterdir()) if folder.exists() else []


def _config(name: str) -> str:
    """Read what the engine that runs (or crashed) was started with."""
    try:
        return str(json.loads((RUN / "daemon.json").read_text())[name])
    except (OSError, ValueError, KeyError):
        return ""


def data_roots() -> list[Path]:
    """Where the engine keeps its data."""
    return [Path(found)] if (found := _config("data-root")) else []


def cgroup_parent() -> str:
    """The cgroup that holds all containers of the engine."""
    return _config("cgroup-parent") or f"/{NAME}"


def daemon_pid() -> int | None:
    """Find our dockerd by its pid file, trusting it only when that process is ours (a pid may be reused after a reboot)."""
    try:
        pid = int((RUN / "dockerd.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(RUN / "daemon.json").encode() in words else None


def daemon_config(data: Path, *, mended: bool) -> dict[str, object]:
    """Give dockerd's configuration."""
    config: dict[str, object] = {
        "data-root": str(data),
        "exec-root": str(RUN / "exec"),
        "pidfile": str(RUN / "dockerd.pid"),
        "hosts": [f"unix://{SOCKET}"],
        # kind makes its own network, builds use the host's: a default bridge would only be one more thing to remove
        "bridge": "none",
        "cgroup-parent": f"/{NAME}",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "log-opts": {"max-size": "20m", "max-file": "2"},
    }
    if mended:
        config["runtimes"] = {"mended": {"path": str(RUN / "runc-mended")}}
        config["default-runtime"] = "mended"
    return config


def _start(here: Places) -> Engine:
    _stop()  # a dockerd that hangs, or the containers of one that was killed
    previous = data_roots()
    if previous:
        leftovers.clean(RUN, previous, cgroup_parent(), keep_snapshot=True)
    home = here.cache / "engine" / NAME
    home.mkdir(parents=True, exist_ok=True)
    log = home / "dockerd.log"
    leftovers.remember(RUN)
    bounding = runtime.bounding_set(Path("/proc/self/status").read_text())
    mended = bool(runtime.forbidden(bounding))
    if mended:
        shim = RUN / "runc-mended"
        shim.write_text(f"#!{sys.executable} -IS\n" + Path(runtime.__file__).read_text())
        shim.chmod(0o755)
    (RUN / "daemon.json").write_text(json.dumps(daemon_config(home / "data", mended=mended), indent=2))
    dockerd = packages.program("dockerd")
    if dockerd is None:
        raise Fault("dockerd is not installed", fix="apt-get install docker.io")
    with step("start the engine", log), log.open("wb") as out:
        environment = {**os.environ, "PATH": packages.search_path()}
        environment.pop("DOCKER_HOST", None)
        process = shell.start([dockerd, "--config-file", RUN / "daemon.json"], out, env=environment, cwd=Path("/"), detached=True)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"unix://{SOCKET}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Fault("dockerd did not start", log=log, fix="see the log; `python3 -m e2e.cluster preflight` checks what it needs")
            time.sleep(0.2)
    return Engine(f"unix://{SOCKET}", own=True)


def _stop() -> None:
    pid = daemon_pid()
    if pid is not None:
        for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + patience
            while daemon_pid() == pid and time.monotonic() < deadline:
                time.sleep(0.1)
                _reap(pid)
            if daemon_pid() != pid:
                break
    leftovers.kill_strays(RUN, cgroup_parent())
    # both daemons believe a pid file as long as any process has that number, be it a zombie or, after a reboot, a stranger
    for stale in (RUN / "dockerd.pid", RUN / "exec" / "containerd" / "containerd.pid"):
        stale.unlink(missing_ok=True)


def _reap(pid: int) -> None:
    """Collect the daemon when it happens to be our own child; otherwise it would stay a zombie until we end."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
