"""From the operator's first complete version to this one and back: no pod is rolled, nothing is lost.

Both are run as programs, one after the other, on one real API server; each brings its own CRD.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.apiserver import ApiServer
from holdfast_api import names
from holdfast_operator import kinds
from holdfast_operator.facts import ANNOTATION_SUPERSEDED
from tests.first import unpack
from tests.operator.conftest import StartOperator
from tests.operator.live import CRD, ROOT, Api, Process, eventually, install_crds
from tests.operator.test_program import NAMESPACE, ready

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(420)]

TEAM = "team"
KEY = {"name": "openai", "key": "api-key"}
AGENTS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "tools": {
        "role": "Helper",
        "model": {"provider": "openai", "name": "m", "apiKeySecretRef": KEY},
        "tools": [
            {
                "name": "look",
                "description": "Looks",
                "http": {"url": "https://example.com", "headersFrom": [{"name": "X-Key", "secretKeyRef": {"name": "s", "key": "k"}}]},
            }
        ],
        "replicas": 2,
    },
    "texts": {
        "systemPromptFrom": {"configMapKeyRef": {"name": "texts", "key": "prompt"}},
        "tools": [{"name": "book", "python": {"configMapKeyRef": {"name": "texts", "key": "book.py"}, "function": "book"}}],
        "limits": {"maxIterations": 5, "runTimeout": "2h"},
        "env": [{"name": "A", "value": "1"}],
        "resources": {"limits": {"memory": "1Gi"}},
    },
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first version's packages."""
    return unpack(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def old(first: Path) -> Iterator[Api]:
    """An API server with the first version's CRD."""
    with ApiServer() as server:
        api = Api(server)
        api.create(CRD, None, crd(first))
        install_crds(api, ours=False)
        api.create(NAMESPACE, None, {"metadata": {"name": TEAM}})
        yield api


def crd(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "crds/agents.holdfast.dev.yaml").read_text())


def put_crd(api: Api, root: Path) -> None:
    path = f"{CRD.path(None)}/agents.holdfast.dev"
    version = api.request("GET", path)["metadata"]["resourceVersion"]
    wanted = crd(root)
    api.request("PUT", path, wanted | {"metadata": wanted["metadata"] | {"resourceVersion": version}})


def pods_of(api: Api) -> dict[str, Any]:
    """What would roll pods if it changed: each Deployment's pod template; and what they would miss if it went."""
    found: dict[str, Any] = {}
    for live in api.list(kinds.DEPLOYMENT, TEAM):
        found[live["metadata"]["name"]] = live["spec"]["template"]
    for kind in (kinds.CONFIG_MAP, kinds.SECRET, kinds.COMPONENT, kinds.SERVICE):
        for live in api.list(kind, TEAM):
            assert ANNOTATION_SUPERSEDED not in live["metadata"].get("annotations", {}), live["metadata"]["name"]
            content = live.get("data") or (live["spec"] if kind == kinds.COMPONENT else None)
            found[f"{kind.kind}/{live['metadata']['name']}"] = (live["metadata"]["uid"], content)
    return found


def settled(api: Api, operator: Process, agents: int = len(AGENTS)) -> None:
    """Every Agent has been looked at by this process and is ready, and nothing is asked any more."""
    eventually(lambda: operator.metric('holdfast_reconciles_total{result="done"}') >= agents, seconds=60)
    for name in AGENTS:
        eventually(lambda name=name: ready(api, TEAM, name), seconds=60)
    eventually(lambda: operator.metric("holdfast_queue_due") + operator.metric("holdfast_reconciles_running") == 0, seconds=60)
    assert operator.metric('holdfast_reconciles_total{result="error"}') == 0


def test_an_upgrade_and_the_way_back_roll_no_pod_and_lose_nothing(old: Api, first: Path, start_operator: StartOperator) -> None:
    api, old_code = old, {"PYTHONPATH": f"{first}/operator:{first}/crds"}
    api.create(kinds.CONFIG_MAP, TEAM, {"metadata": {"name": "texts"}, "data": {"prompt": "one", "book.py": "def book() -> str: ..."}})
    for name, spec in AGENTS.items():
        api.agent(TEAM, name, spec)
    operator = start_operator(TEAM, server=api, **old_code)
    settled(api, operator)
    assert operator.end() == 0
    before = pods_of(api)
    assert names.ENV_AUDIT_KEY not in json.dumps(before), "the first version does not know what this one adds to every pod"

    # Upgraded, and started twice: what stands is known from the objects alone.
    put_crd(api, ROOT)
    for _ in range(2):
        assert operator.end() == 0
        operator = start_operator(TEAM, server=api)
        settled(api, operator)
        after = pods_of(api)
        assert {name: after[name] for name in before} == before
        revisions = {name: api.get(kinds.AGENT, TEAM, name)["status"]["revision"] for name in AGENTS}
        assert all(names.config_map(name, revision) in json.dumps(after[name]) for name, revision in revisions.items())

    # What stands is looked after all the same: its number of pods, and everything that is no pod.
    api.patch(kinds.AGENT, TEAM, "tiny", {"spec": {"replicas": 3}})
    eventually(lambda: api.get(kinds.DEPLOYMENT, TEAM, "tiny")["spec"]["replicas"] == 3)
    api.delete(kinds.RESILIENCY, TEAM, "tools")
    eventually(lambda: api.get(kinds.RESILIENCY, TEAM, "tools"))
    settled(api, operator)
    assert operator.end() == 0
    assert {name: pods_of(api)[name] for name in before} == before

    # The way back.
    put_crd(api, first)
    operator = start_operator(TEAM, server=api, **old_code)
    settled(api, operator)
    assert operator.end() == 0
    assert {name: pods_of(api)[name] for name in before} == before

    # Forward again. What changes is carried out as this version does it, for the Agent that changed alone.
    put_crd(api, ROOT)
    operator = start_operator(TEAM, server=api)
    settled(api, operator)
    api.patch(kinds.AGENT, TEAM, "tiny", {"spec": {"goal": "Another"}})
    eventually(lambda: names.ENV_AUDIT_KEY in json.dumps(api.get(kinds.DEPLOYMENT, TEAM, "tiny")["spec"]["template"]))
    api.patch(kinds.CONFIG_MAP, TEAM, "texts", {"data": {"prompt": "two"}})
    eventually(lambda: names.ENV_AUDIT_KEY in json.dumps(api.get(kinds.DEPLOYMENT, TEAM, "texts")["spec"]["template"]))
    settled(api, operator)
    assert api.get(kinds.DEPLOYMENT, TEAM, "tools")["spec"]["template"] == before["tools"]

    # What somebody else changes in pods that another version made is put right as well.
    patch = {"spec": {"template": {"spec": {"containers": [{"name": names.CONTAINER, "image": "somebody-elses:1"}]}}}}
    api.request("PATCH", kinds.DEPLOYMENT.path(TEAM, "tools"), patch, content="application/strategic-merge-patch+json")
    eventually(lambda: "somebody-elses:1" not in json.dumps(api.get(kinds.DEPLOYMENT, TEAM, "tools")))
