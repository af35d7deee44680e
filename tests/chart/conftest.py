"""The chart, rendered by the pinned Helm and shown to a real API server."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from e2e.cluster import tools
from e2e.cluster.apiserver import ApiServer
from e2e.cluster.places import places

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/holdfast"
NAMESPACE = "holdfast-system"
Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


class HelmRefusedError(Exception):
    """Helm's own words."""


def run_helm(*arguments: str) -> str:
    helm = tools.find(places(), "helm", "helm")
    done = subprocess.run([str(helm), *arguments], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise HelmRefusedError(done.stderr)
    return done.stdout


@pytest.fixture(scope="session")
def helm() -> Callable[..., str]:
    return run_helm


@pytest.fixture(scope="session")
def render() -> Render:
    """Render the chart as release `holdfast` with values given as a dict; returns the objects."""

    def _render(values: Manifest | None = None, *options: str) -> list[Manifest]:
        command = ["template", "holdfast", str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.36.3", *options]
        for key, value in (values or {}).items():
            command += ["--set-json", f"{key}={json.dumps(value)}"]
        return [document for document in yaml.safe_load_all(run_helm(*command)) if document]

    return _render


@pytest.fixture(scope="session")
def refusal(render: Render) -> Callable[[Manifest], str]:
    """What Helm says to values that it refuses."""

    def _refusal(values: Manifest) -> str:
        with pytest.raises(HelmRefusedError) as caught:
            render(values)
        return str(caught.value)

    return _refusal


@pytest.fixture(scope="session")
def server() -> Iterator[client.ApiClient]:
    with ApiServer() as started:
        connection = config.new_client_from_config(str(started.kubeconfig))
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        client.CoreV1Api(connection).create_namespace({"metadata": {"name": NAMESPACE, "labels": labels}})
        yield connection


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def chart() -> Path:
    return CHART


@pytest.fixture(scope="session")
def version() -> str:
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])
