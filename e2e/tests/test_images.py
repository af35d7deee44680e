"""What is in the images, seen from inside of the running containers, and in their layers, also in what a later layer hides."""

import json
import os
from pathlib import Path

import pytest

from e2e import canaries, holdfast
from e2e.caller import PLANNER
from e2e.cluster import dockerfile, shell
from e2e.cluster.places import places
from e2e.holdfast import Images, kubectl
from e2e.tests.support import Namespace
from e2e.tests.voyage import Voyage

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]
LOOK = """
import importlib.util, json, os, shutil, sys
names = ["pip", "setuptools", "kopf", "kubernetes", "dapr", "grpc", "holdfast_operator", "holdfast_agent"]
print(json.dumps({
    "user": os.getuid(),
    "programs": sorted(p for p in ("sh", "bash", "apt", "dpkg", "gcc", "perl", "ldd") if shutil.which(p)),
    "modules": sorted(name for name in names if importlib.util.find_spec(name)),
    "writable": sorted(folder for folder in ("/", "/opt/holdfast", "/usr", "/etc", "/tmp") if os.access(folder, os.W_OK)),
}))
"""


def look(namespace: str, pod: str, container: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(kubectl("exec", "-n", namespace, pod, "-c", container, "--", "python3", "-c", LOOK))
    return found


def test_the_agents_image_has_no_kubernetes_and_nothing_to_install_or_run_by_hand(travel: Namespace) -> None:
    travel.ready(PLANNER)

    assert look(travel.name, "deployment/trip-planner", "agent") == {
        "user": 65532,
        "programs": [],
        "modules": ["dapr", "grpc", "holdfast_agent"],
        "writable": ["/tmp"],
    }


def test_the_operators_image_has_no_dapr_no_client_library_and_nothing_to_install_or_run_by_hand(travel: Namespace) -> None:
    assert look(holdfast.NAMESPACE, "deployment/holdfast", "operator") == {
        "user": 65532,
        "programs": [],
        "modules": ["holdfast_operator", "kopf"],
        "writable": [],
    }


def of_this_machine() -> dict[str, str]:
    """What the machine that builds knows and nobody else is to learn: its index of packages, its proxy, its folders, its cluster's key."""
    settings = dockerfile.host_settings(dict(os.environ), shell.ask(["python3", "-m", "pip", "config", "list"]))
    named = {name: value for name, value in settings.items() if "://" in value}
    kubeconfig = places().kubeconfig.read_text() if places().kubeconfig.exists() else ""
    key = next((line.split()[1] for line in kubeconfig.splitlines() if "client-key-data:" in line), "")
    folders = {"checkout": str(places().checkout), "cache": str(places().cache)}
    return named | folders | ({"key of the cluster": key} if key else {})


def test_no_layer_of_an_image_holds_a_secret_or_anything_of_the_machine_that_built_it(images: Images, sea: Voyage) -> None:
    unwanted = canaries.in_secrets(sea.namespace.name) | of_this_machine()
    for image, program in ((images.agent, "holdfast_agent/program.py"), (images.operator, "holdfast_operator/reconcile.py")):
        layers = list(canaries.in_layers(image))
        names = {Path(name.rpartition(": ")[2]).name for name, _ in layers}

        assert any(name.endswith(program) for name, _ in layers), "the search looks into the layers"
        assert canaries.hits(unwanted, layers, encoded=False) == []
        assert names & {".env", ".git", ".netrc", ".pypirc", "pip.conf", "config.json", "id_rsa", "kubeconfig"} == set()
        assert [name for name, content in layers if b"PRIVATE KEY-----\n" in content] == []
