"""Dapr in the cluster, from its own chart by Helm."""

import json
from pathlib import Path

from e2e.cluster import shell, tools
from e2e.cluster.faults import Fault
from e2e.cluster.pins import digest
from e2e.cluster.places import Places
from e2e.cluster.progress import step

VALUES = Path(__file__).parent / "dapr" / "values.yaml"
NAMESPACE = "dapr-system"
RELEASE = "dapr"


def label(version: str) -> str:
    """Give the label by which a release shows that it was made from this version and these values."""
    return digest(version, VALUES.read_bytes(), Path(__file__).read_bytes())


def installed(releases: str, wanted: str) -> bool:
    """Read `helm list -o json`: is the release there, complete, and made from the same?"""
    try:
        found = json.loads(releases or "[]")
    except ValueError:
        return False
    return any(one.get("name") == RELEASE and one.get("status") == "deployed" and wanted in one.get("description", "") for one in found)


def provide(here: Places, kubeconfig: Path) -> None:
    """Install or upgrade Dapr and wait until it serves."""
    version = tools.projects()["dapr"].version
    helm = tools.find(here, "helm", "helm")
    where: shell.Words = ["--namespace", NAMESPACE, "--kubeconfig", kubeconfig]
    wanted = label(version)
    if installed(shell.ask([helm, "list", *where, "-o", "json"]), wanted) and _ready(here, kubeconfig):
        return
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
        if not _ready(here, kubeconfig):
            raise Fault("Dapr is installed, but not all of it runs", log=log, fix=fix)


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
