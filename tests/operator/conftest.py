"""A real API server with Holdfast's and Dapr's CRDs, a namespace per test, and the operator in it."""

import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import yaml

from e2e.cluster.apiserver import ApiServer
from holdfast_operator import kinds
from holdfast_operator.cluster import Cluster
from tests.operator.live import DEFAULTS, Api, Process, World, credentials, free_port, install_crds, restricted_kubeconfig


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    with ApiServer() as server:
        found = Api(server)
        install_crds(found)
        yield found


@pytest.fixture
def namespace(api: Api) -> str:
    name = f"ns-{uuid.uuid4().hex[:8]}"
    api.create(kinds.Kind("", "v1", "namespaces", "Namespace"), None, {"metadata": {"name": name}})
    return name


@pytest.fixture
async def world(api: Api, namespace: str) -> AsyncIterator[World]:
    cluster = Cluster(credentials(api.server))
    found = World(api, cluster)
    await found.take_stock(namespace)
    yield found
    await cluster.close()


StartOperator = Callable[..., Process]


@pytest.fixture
def start_operator(tmp_path: Path, api: Api) -> Iterator[StartOperator]:
    """Start the operator as it is installed in namespaces: with a kubeconfig of a ServiceAccount that has rbac's rules."""
    started: list[Process] = []

    def start(namespace: str, *, server: Api = api, wait: bool = True, **environment: str) -> Process:
        cluster_wide = environment.get("HOLDFAST_NAMESPACES") == ""
        secrets = "HOLDFAST_WATCH_SECRETS" in environment
        kubeconfig = restricted_kubeconfig(server, namespace, tmp_path, cluster_wide=cluster_wide, secrets=secrets)
        defaults = tmp_path / "defaults.yaml"
        defaults.write_text(yaml.safe_dump(DEFAULTS))
        port = free_port()
        base = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        ours = {
            "KUBECONFIG": str(kubeconfig),
            "HOLDFAST_NAMESPACES": namespace,
            "HOLDFAST_DEFAULTS_FILE": str(defaults),
            "HOLDFAST_HTTP_PORT": str(port),
            "HOLDFAST_POD_NAMESPACE": namespace,
            "HOLDFAST_POD_NAME": f"operator-{len(started)}",
            "HOLDFAST_LOG_FORMAT": "text",
        }
        command = [sys.executable, "-m", "holdfast_operator"]
        process = Process(command, base | ours | environment, tmp_path / f"operator-{len(started)}.log", port)
        started.append(process)
        if wait:
            process.wait_ready()
        return process

    yield start
    for process in started:
        if process.popen.poll() is None:
            process.send(signal.SIGCONT)
            process.end(signal.SIGKILL)
