"""Dapr in the cluster, from its own chart by Helm."""

import json
import time
from pathlib import Path

from e2e.cluster import shell, tools
from e2e.cluster.faults import Fault
from e2e.cluster.pins import digest
from e2e.cluster.places import Places
from e2e.cluster.progress import step

VALUES = Path(__file__).parent / "dapr" / "values.yaml"
NAMESPACE = "dapr-system"
RELEASE = "dapr"
READY_SECONDS = 90


def label(version: str) -> str:
    """Give the label by which a release shows that it was made from this version and these values."""
    return digest(version, VALUES.read_bytes(), Path(__file__).read_bytes())


def installed(release: str, wanted: str) -> bool:
    """Read `helm status -o json`: is the release complete, and made from the same?"""
    try:
        info = json.loads(release)["info"]
    except (ValueError, KeyError):
        return False
    return info.get("status") == "deployed" and wanted in info.get("description", "")


def provide(here: Places, kubeconfig: Path) -> None:
    """Install or upgrade Dapr and wait until it serves."""
    version = tools.projects()["dapr"].version
    helm = tools.find(here, "helm", "helm")
    where: shell.Words = ["--namespace", NAMESPACE, "--kubeconfig", kubeconfig]
    wanted = label(version)
    if installed(shell.ask([helm, "status", RELEASE, *where, "-o", "json"]), wanted):
        # after a restart of the node its pods take a while; only if they do not come back is it installed again
        with step("wait for Dapr") as waiting:
            if _becomes_ready(here, kubeconfig):
                return
            waiting.note = "it does not come back: installing again"
    log = here.log("dapr")
    log.unlink(missing_ok=True)
    folder = here.state / "dapr"
    tools.remove_tree(folder)
    folder.mkdir(parents=True)
    with step(f"install Dapr {version}", log):
        # the chart in the module says 0.0.0: Helm's own verb gives it its version, without which no version check can work
        chart = tools.find(here, "dapr", "chart")
        shell.run([helm, "package", chart, "--version", version, "--app-version", version, "-d", folder], log, timeout=60)
        argv: shell.Words = [helm, "upgrade", "--install", RELEASE, folder / f"dapr-{version}.tgz", *where, "--create-namespace"]
        argv += ["--values", VALUES, "--set-string", f"global.tag={version}", "--description", f"holdfast {wanted}"]
        # dapr-operator writes the webhook's certificate into the CRDs; a second install must be able to win
        argv += ["--force-conflicts", "--wait", "--timeout", "5m"]
        fix = f"kubectl --kubeconfig {kubeconfig} -n {NAMESPACE} get pods,events"
        shell.run(argv, log, timeout=330, fix=fix)
        if not _becomes_ready(here, kubeconfig):
            raise Fault("Dapr is installed, but not all of it runs", log=log, fix=fix)


def _becomes_ready(here: Places, kubeconfig: Path) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while not _ready(here, kubeconfig):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _ready(here: Places, kubeconfig: Path) -> bool:
    argv: shell.Words = [
        tools.find(here, "kubernetes", "kubectl"),
        "--kubeconfig",
        kubeconfig,
        "-n",
        NAMESPACE,
        "get",
        "pods",
        "-o",
        "json",
    ]
    code, text = shell.answer(argv)
    return code == 0 and all_ready(text)


def all_ready(pods: str) -> bool:
    """Read `kubectl get pods -o json`: at least one pod, and every one of them ready."""
    items = json.loads(pods)["items"]
    states = [{one["type"]: one["status"] for one in pod["status"].get("conditions", [])} for pod in items]
    return bool(states) and all(state.get("Ready") == "True" for state in states)
