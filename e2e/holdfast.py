"""Holdfast in a cluster, from the sources at hand: the images, the chart, and the few things that one then does with an Agent.

The demo and the cluster tests share this. Images are tagged with a digest of what goes into them, so that a second run builds and loads
nothing, and a changed line of code reaches the pods.

    python -m e2e.holdfast        build, load, install into the cluster of this checkout (CLUSTER=current: the kubeconfig at hand)

With CLUSTER=current the cluster has to be able to pull the images: HOLDFAST_IMAGES names the registry and path under which
`holdfast-operator:TAG` and `holdfast-agent:TAG` are, HOLDFAST_TAG the tag.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from e2e.cluster import cluster, dockerfile, engine, images, kindcluster, shell, tools
from e2e.cluster.faults import Fault
from e2e.cluster.places import Places, places
from e2e.cluster.progress import say, step

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = "holdfast-system"
RELEASE = "holdfast"
SOURCES = {
    "operator": ("Dockerfile", "docker", "requirements/operator.txt", "crds/holdfast_api", "operator/holdfast_operator"),
    "agent": ("Dockerfile", "docker", "requirements/agent.txt", "crds/holdfast_api", "agent_image/holdfast_agent"),
}


@dataclass(frozen=True)
class Images:
    """Full names of the images to be used."""

    operator: str
    agent: str
    redis: str


def tag(target: str) -> str:
    """Digest of everything that goes into an image."""
    found = hashlib.sha256()
    for source in SOURCES[target]:
        path = ROOT / source
        files = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts) if path.is_dir() else [path]
        for file in files:
            found.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return found.hexdigest()[:12]


def provide_images(here: Places) -> Images:
    """Have the images where the cluster finds them."""
    if cluster.is_current():
        prefix, version = os.environ.get("HOLDFAST_IMAGES", ""), os.environ.get("HOLDFAST_TAG", "0.1.0")
        if not prefix:
            raise Fault("CLUSTER=current needs images that the cluster can pull", fix="push them, then set HOLDFAST_IMAGES=registry/path")
        return Images(f"{prefix}/holdfast-operator:{version}", f"{prefix}/holdfast-agent:{version}", images.PUBLIC_REDIS)
    running = engine.find()
    if running is None:
        raise Fault(f"no cluster runs for {here.checkout}", fix="make cluster")
    names = images.in_force(made_here=(here.state / cluster.MADE_MARK).read_text() == "yes")
    found = Images(f"holdfast-operator:{tag('operator')}", f"holdfast-agent:{tag('agent')}", names.redis)
    for target, name in (("operator", found.operator), ("agent", found.agent)):
        if not running.ask("image", "inspect", "--format", "{{.Id}}", name):
            dockerfile.build(here, running, target, name, names)
    there = _node_images(here, running)
    missing = [name for name in (found.operator, found.agent, found.redis) if not any(one.endswith(f"/{name}") for one in there)]
    kindcluster.load(here, running, missing)
    return found


def _node_images(here: Places, running: engine.Engine) -> list[str]:
    argv = ["docker", "exec", f"{here.name}-control-plane", "ctr", "-n", "k8s.io", "images", "ls", "-q"]
    listed = [
        name if name.count("/") > 1 or "." in name.partition("/")[0] else f"/{name}"
        for name in shell.ask(argv, env=running.environment()).split()
    ]
    return [*listed, *(f"/{name}" for name in listed)]


def install(here: Places, found: Images, *more: str) -> None:
    """Install or upgrade the chart and wait until the operator is ready."""
    repository, _, version = found.operator.rpartition(":")
    redis, _, redis_version = found.redis.rpartition(":")
    values = {
        "image.repository": repository,
        "image.tag": version,
        "agents.image": found.agent,
        "redis.enabled": "true",
        "redis.image.repository": redis,
        "redis.image.tag": redis_version,
    }
    settings = [word for name, value in values.items() for word in ("--set-string" if "tag" in name else "--set", f"{name}={value}")]
    argv: list[str | Path] = [
        tools.find(here, "helm", "helm"),
        "upgrade",
        "--install",
        RELEASE,
        ROOT / "charts/holdfast",
        "--namespace",
        NAMESPACE,
    ]
    argv += ["--create-namespace", "--wait", "--timeout", "180s", *settings, *more]
    log = here.log("helm-holdfast")
    log.unlink(missing_ok=True)
    with step("helm install holdfast", log):
        shell.run(argv, log, env=environment(), timeout=240, fix=f"kubectl -n {NAMESPACE} get pods; kubectl -n {NAMESPACE} get events")


@cache
def _exports() -> dict[str, str]:
    """Asked once, when the cluster is up: finding the engine takes two programs, and kubectl is called in loops."""
    return cluster.exports(places())


def environment() -> dict[str, str]:
    """Environment in which kubectl, helm and docker work on the cluster, which has to be up."""
    return {**os.environ, **_exports()}


def provide(here: Places) -> Images:
    """A cluster with Dapr and Holdfast in it."""
    cluster.up(here, dapr=True)
    found = provide_images(here)
    install(here, found)
    return found


def kubectl(*arguments: str, stdin: str = "", timeout: float = 60) -> str:
    """Run kubectl and return what it printed.

    Raises:
        Fault: it failed; the message is kubectl's own.
    """
    argv = ["kubectl", *arguments]
    try:
        done = subprocess.run(argv, input=stdin, env=environment(), capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise Fault(f"`kubectl {' '.join(arguments[:4])}` took longer than {timeout:.0f} s") from None
    if done.returncode:
        raise Fault(f"`kubectl {' '.join(arguments[:4])}`: {done.stderr.strip()}")
    return done.stdout


def get(*arguments: str) -> Any:  # noqa: ANN401 - whatever the object is
    """An object or a list as kubectl shows it in JSON."""
    return json.loads(kubectl("get", *arguments, "-o", "json"))


def token(namespace: str, agent: str) -> str:
    """The token that callers of an agent send."""
    data = get("secret", f"{agent}-app-token", "-n", namespace)["data"]
    return base64.b64decode(data["token"]).decode()


@contextlib.contextmanager
def port_forward(namespace: str, target: str, port: int) -> Iterator[str]:
    """Forward a free local port to `target` (service/NAME, pod/NAME); gives the base URL. Ends when its pod does."""
    argv = ["kubectl", "port-forward", "-n", namespace, target, f":{port}", "--address", "127.0.0.1"]
    before = shell.die_with_parent()
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, env=environment(), stdout=pipe, stderr=subprocess.STDOUT, text=True, preexec_fn=before)  # noqa: PLW1509 - as in shell
    try:
        yield f"http://127.0.0.1:{_local_port(process)}"
    finally:
        process.kill()
        process.wait()


def _local_port(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    if not found:
        raise Fault(f"kubectl port-forward: {line.strip() or 'it ended at once'}")
    return int(found.group(1))


def wait_ready(namespace: str, agent: str, *, seconds: int = 120) -> None:
    """Wait until an Agent is Ready.

    Raises:
        Fault: it is not; the Agent's own reason and message.
    """
    deadline = time.monotonic() + seconds
    ready: dict[str, str] = {}
    while time.monotonic() < deadline:
        status = get("agent", agent, "-n", namespace)
        ready = next((c for c in status["status"].get("conditions", []) if c["type"] == "Ready"), {})
        if ready.get("status") == "True" and status["status"].get("observedGeneration") == status["metadata"]["generation"]:
            return
        time.sleep(0.3)
    raise Fault(f"Agent {agent} is not ready after {seconds} s: {ready.get('reason')}: {ready.get('message')}")


def main() -> int:
    """Install Holdfast from the sources at hand."""
    try:
        provide(places())
    except Fault as fault:
        say(fault.report())
        return 1
    say(f'Holdfast runs in namespace {NAMESPACE}. Next: eval "$(python3 -m e2e.cluster env)" && kubectl apply -f examples/assistant.yaml')
    return 0


if __name__ == "__main__":
    sys.exit(main())
