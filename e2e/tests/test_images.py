"""What is in the images, seen from inside of the running containers."""

import json

import pytest

from e2e import holdfast
from e2e.holdfast import kubectl
from e2e.tests.support import Namespace

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
    travel.ready("trip-planner")

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
