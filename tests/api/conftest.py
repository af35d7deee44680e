"""A real API server with the CRD in it, and one way to ask it whether an Agent would be taken."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from e2e.cluster.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
Submit = Callable[..., dict[str, Any]]


class ServerRefusedError(Exception):
    """The API server's own words."""


@pytest.fixture(scope="session")
def api_client() -> Iterator[client.ApiClient]:
    with ApiServer() as server:
        connection = config.new_client_from_config(str(server.kubeconfig))
        crd = yaml.safe_load((ROOT / "crds/agents.holdfast.dev.yaml").read_text())
        client.ApiextensionsV1Api(connection).create_custom_resource_definition(crd)
        agents = client.CustomObjectsApi(connection)
        for _ in range(200):
            try:
                agents.list_namespaced_custom_object("holdfast.dev", "v1alpha1", "default", "agents")
                break
            except client.ApiException:
                time.sleep(0.1)
        yield connection


@pytest.fixture
def submit(api_client: client.ApiClient) -> Submit:
    """Create an Agent as `kubectl apply` would, without keeping it; returns what the server would have stored."""
    agents = client.CustomObjectsApi(api_client)

    def _submit(spec: dict[str, Any] | None, *, name: str = "a") -> dict[str, Any]:
        body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": name}, "spec": spec}
        try:
            stored: dict[str, Any] = agents.create_namespaced_custom_object(
                "holdfast.dev", "v1alpha1", "default", "agents", body, dry_run="All", field_validation="Strict"
            )
        except client.ApiException as error:
            raise ServerRefusedError(json.loads(error.body)["message"]) from None
        return stored

    return _submit


@pytest.fixture
def refused() -> Callable[[str], Any]:
    """Context manager: the server refuses, and its message holds these words."""

    @contextlib.contextmanager
    def _refused(words: str) -> Iterator[None]:
        with pytest.raises(ServerRefusedError) as caught:
            yield
        assert words in str(caught.value)

    return _refused
