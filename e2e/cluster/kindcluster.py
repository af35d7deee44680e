"""The kind cluster of this checkout: made, mended, or thrown away and made again when it cannot be mended."""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import runtime, shell, tools
from e2e.cluster.engine import Engine
from e2e.cluster.faults import Fault
from e2e.cluster.places import Places
from e2e.cluster.progress import say, step

DATA = Path(__file__).parent / "kind"
READY_SECONDS = 90
SYS_RESOURCE = 24


@dataclass(frozen=True)
class Machine:
    """What of the machine decides how the node is configured."""

    cgroup_v1: bool
    no_sys_resource: bool


def machine() -> Machine:
    """Look at the machine."""
    bounding = runtime.bounding_set(Path("/proc/self/status").read_text())
    return Machine(not Path("/sys/fs/cgroup/cgroup.controllers").exists(), not bounding >> SYS_RESOURCE & 1)


def config_files(host: Machine, *, own_image: bool) -> list[str]:
    """Name the parts of kind's configuration that this machine needs; no two set the same key."""
    parts = ["cluster.yaml"]
    parts += ["own-node-image.yaml"] if own_image else []
    parts += ["cgroup-v1.yaml"] if host.cgroup_v1 else []
    parts += ["no-sys-resource.yaml"] if host.no_sys_resource else []
    return parts


def kubectl(here: Places, *arguments: str, timeout: float = 30) -> tuple[int, str]:
    """Run kubectl against this checkout's cluster."""
    argv: shell.Words = [tools.find(here, "kubernetes", "kubectl"), "--kubeconfig", here.kubeconfig, *arguments]
    return shell.answer(argv, timeout=timeout)


def exists(here: Places, engine: Engine) -> bool:
    """Tell whether kind knows the cluster (running or not)."""
    return here.name in shell.ask([tools.find(here, "kind", "kind"), "get", "clusters"], env=engine.environment()).split()


def healthy(here: Places) -> bool:
    """Tell whether the API server serves and the node is ready."""
    if not here.kubeconfig.exists() or kubectl(here, "get", "--raw=/readyz", timeout=10)[0] != 0:
        return False
    code, text = kubectl(here, "get", "nodes", "-o", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}", timeout=10)
    return code == 0 and text.split() == ["True"]


def provide(here: Places, engine: Engine, own_image: str) -> None:
    """Have a healthy cluster: use it, start its stopped node again, or make a new one, from our node image or (empty) a public one."""
    if exists(here, engine):
        if _mend(here, engine):
            made_from = engine.ask("container", "inspect", "--format", "{{.Config.Image}}", f"{here.name}-control-plane")
            if own_image and made_from != own_image:
                say("  ..  this cluster was made from other pins; `make cluster-down cluster` makes one from the present ones")
            return
        say("  ..  the cluster that is there cannot be mended: making a new one")
        delete(here, engine)
    _create(here, engine, own_image)


def _mend(here: Places, engine: Engine) -> bool:
    node = f"{here.name}-control-plane"
    with step("use the cluster that is there", here.log("kind")) as running_step:
        if not _complete(here, engine):
            running_step.note = "it was never finished"
            return False
        if healthy(here):
            return True
        # after a reboot, or a kill of the engine, the node is there but stopped
        running = engine.ask("container", "inspect", "--format", "{{.State.Running}}", node) == "true"
        if not running and shell.answer(["docker", "start", node], env=engine.environment(), timeout=60)[0] != 0:
            return False
        kind = tools.find(here, "kind", "kind")
        argv: shell.Words = [kind, "export", "kubeconfig", "--name", here.name, "--kubeconfig", here.kubeconfig]
        with contextlib.suppress(Fault):
            shell.run(argv, here.log("kind"), env=engine.environment(), timeout=60)
            return _wait(here)
    return False


def _marker(here: Places) -> Path:
    return here.state / "created"


def _complete(here: Places, engine: Engine) -> bool:
    """Tell whether kind finished making this very node: one that was killed on its way leaves a node that serves, without storage."""
    node = engine.ask("container", "inspect", "--format", "{{.Id}}", f"{here.name}-control-plane")
    return bool(node) and _marker(here).exists() and _marker(here).read_text() == node


def _wait(here: Places) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if healthy(here):
            return True
        time.sleep(0.5)
    return False


def _create(here: Places, engine: Engine, own_image: str) -> None:
    log = here.log("kind")
    log.unlink(missing_ok=True)
    _marker(here).unlink(missing_ok=True)
    config = here.state / "kind.yaml"
    parts = config_files(machine(), own_image=bool(own_image))
    config.write_text("\n".join((DATA / part).read_text() for part in parts))
    argv: shell.Words = [tools.find(here, "kind", "kind"), "create", "cluster", "--name", here.name, "--config", config]
    argv += ["--kubeconfig", here.kubeconfig, "--wait", "180s"]
    image = own_image or os.environ.get("HOLDFAST_NODE_IMAGE", "")
    # kept on failure: its logs tell why, and the next `up` removes it
    argv += [*(["--image", image] if image else []), "--retain"]
    fix = "" if own_image else "if docker cannot pull: HOLDFAST_REGISTRY=no makes all images here; else "
    fix += f"the node's own log: docker logs {here.name}-control-plane; then `python3 -m e2e.cluster down` and again `up`"
    with step("kind create cluster", log):
        shell.run(argv, log, env=engine.environment(), timeout=600, fix=fix)
        here.kubeconfig.chmod(0o600)
        if not healthy(here) and not _wait(here):
            raise Fault("the cluster did not become ready", log=log, fix=fix)
    # CoreDNS is ready once it has reached the API server through its Service. What starts earlier than that, before kube-proxy has its
    # rules, fails on its first request and comes back late.
    with step("wait until Services work", log):
        if kubectl(here, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s", timeout=130)[0] != 0:
            raise Fault("CoreDNS did not become ready", log=log, fix=f"kubectl --kubeconfig {here.kubeconfig} -n kube-system get pods")
        _marker(here).write_text(engine.ask("container", "inspect", "--format", "{{.Id}}", f"{here.name}-control-plane"))


def delete(here: Places, engine: Engine) -> None:
    """Delete the cluster with kind's own verb, or, when the cache with kind in it is gone, its node with Docker's."""
    if tools.plan(here, ["client"]):
        nodes = engine.ask("ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={here.name}").split()
        for node in nodes:
            engine.ask("rm", "--force", "--volumes", node)
        return
    if not exists(here, engine):
        return
    with step("kind delete cluster", here.log("kind")):
        argv: shell.Words = [tools.find(here, "kind", "kind"), "delete", "cluster", "--name", here.name, "--kubeconfig", here.kubeconfig]
        shell.run(argv, here.log("kind"), env=engine.environment(), timeout=180)
        with contextlib.suppress(OSError):
            os.unlink(here.kubeconfig)  # noqa: PTH108


def load(here: Places, engine: Engine, names: list[str]) -> None:
    """Load images of the engine into the cluster."""
    log = here.log("load")
    log.unlink(missing_ok=True)
    for name in names:
        with step(f"load {name}", log):
            argv: shell.Words = [tools.find(here, "kind", "kind"), "load", "docker-image", "--name", here.name, name]
            shell.run(argv, log, env=engine.environment(), timeout=300, fix=f"is there such an image? docker image inspect {name}")
