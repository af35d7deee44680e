"""The verbs `up`, `down`, `status` and `env`: which steps, in which order."""

import contextlib
import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from e2e.cluster import daprinstall, debian, engine, images, kindcluster, nodeimage, packages, preflight, registry, shell, tools
from e2e.cluster.faults import Fault
from e2e.cluster.locks import locked
from e2e.cluster.places import Places
from e2e.cluster.progress import say, step

MADE_MARK = "made-here"
NETWORK_MARK = "network-was-not-there"


def is_current() -> bool:
    """Tell whether the user's own cluster is to be used."""
    return os.environ.get("CLUSTER", "kind") == "current"


def current_kubeconfig() -> Path:
    """The kubeconfig at hand."""
    return Path(os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or Path.home() / ".kube" / "config")


def up(here: Places, *, dapr: bool) -> None:
    """Have a cluster, with Dapr in it."""
    if is_current():
        _up_current(here, dapr=dapr)
        return
    here.state.mkdir(exist_ok=True)
    with locked(here.state / "lock", "bringing up the cluster"):
        registered = registry.answers()
        preflight.require(here, own_images=not registered)
        if registered:
            tools.provide(here, ["client"])
            running = engine.join(here)
            image = ""
        else:
            _programs_and_debian(here)
            running = engine.join(here)
            image = nodeimage.provide(here, running)
        (here.state / MADE_MARK).write_text("no" if registered else "yes")
        if not running.own and not running.ask("network", "ls", "--quiet", "--filter", "name=^kind$"):
            (here.state / NETWORK_MARK).touch()
        kindcluster.provide(here, running, image)
        if dapr:
            daprinstall.provide(here, here.kubeconfig)
    say(f'cluster {here.name} is up. Next: eval "$(python3 -m e2e.cluster env)" && kubectl get pods -A')


def _programs_and_debian(here: Places) -> None:
    """Build the programs while debootstrap, which mostly waits for the network and the disk, runs beside it."""
    packages.provide(here, ["debootstrap"] if not debian.ready(here) else [])
    with ThreadPoolExecutor(1, "debian") as pool:
        beside = pool.submit(debian.provide, here)
        # whichever fails first ends the other: nobody wants to hear after a quarter of an hour that the mirror never answered
        beside.add_done_callback(lambda done: shell.end_all() if done.exception() else None)
        built = False
        try:
            tools.provide(here, ["cluster"])
            built = True
        finally:
            if not built:
                shell.end_all()
            if built or (beside.done() and beside.exception()):
                beside.result()


def _up_current(here: Places, *, dapr: bool) -> None:
    tools.provide(here, ["client"])
    config = current_kubeconfig()
    with step("reach the cluster at hand"):
        kubectl = tools.find(here, "kubernetes", "kubectl")
        if shell.answer([kubectl, "--kubeconfig", config, "get", "--raw=/readyz"])[0] != 0:
            raise Fault(f"the cluster of {config} does not answer", fix="KUBECONFIG must name a reachable cluster, or use CLUSTER=kind")
    if dapr:
        argv: shell.Words = [kubectl, "--kubeconfig", config, "get", "deployments", "-A", "-l", "app=dapr-operator", "-o", "name"]
        if shell.ask(argv):
            say("  ok  Dapr is there already and is left as it is")
        else:
            raise Fault(
                "the cluster at hand has no Dapr", fix="install it first (see docs), e.g. dapr init --kubernetes; it is your cluster"
            )
    say("the cluster at hand is ready. Next: make test CLUSTER=current")


def down(here: Places) -> None:
    """Remove this checkout's cluster, and the engine when it was ours and nobody else uses it."""
    if is_current():
        say("CLUSTER=current: nothing of ours to remove")
        return
    here.state.mkdir(exist_ok=True)
    with locked(here.state / "lock", "removing the cluster"):
        running = engine.find()
        if running is None and here.name in engine.users():
            # our engine died: only it can take its containers away in good order, so it starts once more
            with contextlib.suppress(Fault):
                running = engine.join(here)
        if running is not None:
            kindcluster.delete(here, running)
            if (here.state / NETWORK_MARK).exists():
                # kind makes its network once and never removes it; docker refuses while another cluster is in it
                running.ask("network", "rm", "kind")
                (here.state / NETWORK_MARK).unlink()
        engine.leave(here)
    say("nothing is left running. Next: make cluster (warm: under a minute), or python3 -m e2e.cluster purge to free the disk")


def status(here: Places) -> bool:
    """Say what is there; tell whether the cluster is healthy."""
    running = engine.find()
    say(f"checkout  {here.checkout}")
    say(f"cluster   {here.name}")
    say(f"cache     {here.cache}")
    say(f"engine    {'none' if running is None else (running.host or 'the Docker at hand')}" + _users(running))
    jobs = tools.plan(here, ["cluster"])
    say("programs  " + ("all built" if not jobs else "missing: " + ", ".join(job.project.name for job in jobs)))
    if running is None or tools.plan(here, ["client"]) or not kindcluster.exists(here, running):
        say("state     down. Next: make cluster")
        return False
    good = kindcluster.healthy(here)
    say(f"state     {'up' if good else 'broken'}. Next: " + ('eval "$(python3 -m e2e.cluster env)"' if good else "make cluster mends it"))
    return good


def _users(running: engine.Engine | None) -> str:
    return f" (ours; used by {', '.join(engine.users()) or 'nobody'})" if running and running.own else ""


def base_images(here: Places) -> images.Names:
    """Name the base images in force for this checkout: those of its cluster, else those that an `up` would choose."""
    mark = here.state / MADE_MARK
    return images.in_force(made_here=mark.read_text() == "yes" if mark.exists() else not registry.answers())


def exports(here: Places) -> dict[str, str]:
    """Give the environment in which kubectl, helm, kind and docker work on this checkout's cluster."""
    running = engine.find()
    names = base_images(here)
    folders = [str(tools.folder(here, name)) for name in ("kubernetes", "helm", "kind") if tools.folder(here, name).exists()]
    found = {
        "KUBECONFIG": str(current_kubeconfig() if is_current() else here.kubeconfig),
        "PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")]),
        "HOLDFAST_CLUSTER": here.name,
        "HOLDFAST_PYTHON_BASE": names.python,
        "HOLDFAST_PYTHON_BUILD_BASE": names.python_build,
        "HOLDFAST_REDIS_IMAGE": names.redis,
    }
    if running and running.host:
        found["DOCKER_HOST"] = running.host
    return found


def print_exports(here: Places) -> None:
    """Print shell exports."""
    for name, value in exports(here).items():
        print(f"export {name}={shlex.quote(value)}")
