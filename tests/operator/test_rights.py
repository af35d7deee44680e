"""The operator's rights are what it needs and nothing more, by the API server's own audit of a life that uses all of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.apiserver import ApiServer
from holdfast_api import conditions, names
from holdfast_operator import kinds, rbac
from holdfast_operator.facts import ANNOTATION_SUPERSEDED
from tests.operator.conftest import StartOperator
from tests.operator.live import Api, eventually, install_crds
from tests.operator.test_program import NAMESPACE, ready

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(240)]

Right = tuple[str, str, str]
TEAM, OTHER = "team", "other"
LONG_AGO = "2026-01-01T00:00:00+00:00"
ROLE = kinds.Kind("rbac.authorization.k8s.io", "v1", "roles", "Role")
NOT_BY_A_REQUEST = {("holdfast.dev", "agents/finalizers", "update")}
"""Asked for by an admission plugin; has a test of its own."""


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Path]]:
    """An API server that writes down who asked for what, and asks for the right to block the deletion of owners."""
    folder = tmp_path_factory.mktemp("audit")
    policy, log = folder / "policy.yaml", folder / "audit.log"
    rules = [{"level": "Metadata", "omitStages": ["RequestReceived"]}]
    policy.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
    arguments = [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={log}",
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
    ]
    with ApiServer(extra_args=arguments) as server:
        api = Api(server)
        install_crds(api)
        for name in (TEAM, OTHER):
            api.create(NAMESPACE, None, {"metadata": {"name": name}})
        yield api, log


def asked(log: Path, namespace: str) -> list[dict[str, Any]]:
    """What the operator of a namespace asked for, discovery and what it may know of itself aside."""
    user = f"system:serviceaccount:{namespace}:operator"
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return [entry for entry in found if entry["user"]["username"] == user and "objectRef" in entry]


def rights_of(entry: dict[str, Any]) -> set[Right]:
    """The rights that a request needed."""
    ref = entry["objectRef"]
    resource = ref["resource"] + (f"/{ref['subresource']}" if "subresource" in ref else "")
    verbs = {entry["verb"]} | ({"create"} if entry["responseStatus"]["code"] == 201 else set())
    return {(ref.get("apiGroup", ""), resource, verb) for verb in verbs}


def granted() -> set[Right]:
    tables = (rbac.WATCHED, rbac.OWN_NAMESPACE)
    return {(*place, verb) for table in tables for place, verbs in table.items() for verb in verbs}


def test_every_right_is_used_nothing_is_forbidden_and_no_other_namespace_is_asked_about(
    audited: tuple[Api, Path], start_operator: StartOperator
) -> None:
    api, log = audited
    api.agent(OTHER, "a")
    operator = start_operator(TEAM, server=api, HOLDFAST_LEADER_ELECTION="true")
    api.create(kinds.CONFIG_MAP, TEAM, {"metadata": {"name": "prompt"}, "data": {"text": "one"}})
    prompt = {"configMapKeyRef": {"name": "prompt", "key": "text"}}
    before = {
        "replicas": 2,
        "systemPromptFrom": prompt,
        "networkPolicy": {},
        "pubsub": {"type": "pubsub.redis", "topic": "a.topic", "broadcast": "all"},
    }
    api.agent(TEAM, "a", before)
    api.agent(TEAM, "large", {"systemPrompt": "x" * 20_000})  # more than is kept of an event
    for name in ("a", "large"):
        eventually(lambda name=name: ready(api, TEAM, name), seconds=60)
    old = api.get(kinds.AGENT, TEAM, "a")["status"]["revision"]

    # Everything that may be removed is superseded, or no longer wanted.
    changed = {"replicas": 1, "model": {"provider": "openai", "name": "m"}, "networkPolicy": None, "serviceAccountName": "mine"}
    api.patch(kinds.AGENT, TEAM, "a", {"spec": changed | {"pubsub": {"broadcast": None}}})
    eventually(lambda: ready(api, TEAM, "a"), seconds=60)
    removed = [
        (kinds.DISRUPTION_BUDGET, "a"),
        (kinds.SERVICE_ACCOUNT, "a"),
        (kinds.NETWORK_POLICY, "a"),
        (kinds.SUBSCRIPTION, "a-broadcast"),
    ]
    former = [(kinds.CONFIG_MAP, names.config_map("a", old)), (kinds.COMPONENT, echo(api))]
    for kind, name in former:
        eventually(lambda kind=kind, name=name: ANNOTATION_SUPERSEDED in annotations(api, kind, name), seconds=60)
    for kind, name in former:
        api.patch(kind, TEAM, name, {"metadata": {"annotations": {ANNOTATION_SUPERSEDED: LONG_AGO}}})
    for kind, name in (*removed, *former):
        eventually(lambda kind=kind, name=name: api.get(kind, TEAM, name) is None, seconds=60)

    # A pod without a sidecar is deleted; what happens twice is counted in its Event.
    api.create(kinds.POD, TEAM, uninjected(api))
    eventually(lambda: api.get(kinds.POD, TEAM, "a-1-1") is None, seconds=60)
    for number in range(2):
        api.delete(kinds.CONFIG_MAP, TEAM, "prompt")
        eventually(lambda: api.condition(TEAM, "a")["reason"] == conditions.CONFIG_MAP_NOT_FOUND, seconds=60)
        api.create(kinds.CONFIG_MAP, TEAM, {"metadata": {"name": "prompt"}, "data": {"text": f"again {number}"}})
        eventually(lambda: ready(api, TEAM, "a"), seconds=60)
    assert operator.end() == 0

    entries = asked(log, TEAM)
    used = set[Right]().union(*(rights_of(entry) for entry in entries))
    assert used == granted() - NOT_BY_A_REQUEST
    assert [entry for entry in entries if entry["responseStatus"]["code"] == 403] == []
    assert {entry["objectRef"].get("namespace") for entry in entries} == {TEAM}
    assert [live["metadata"]["name"] for live in api.list(kinds.DEPLOYMENT, OTHER)] == []


def test_without_the_right_to_block_the_deletion_of_agents_their_children_are_refused_where_that_is_asked_for(
    audited: tuple[Api, Path], start_operator: StartOperator
) -> None:
    api, _ = audited
    start_operator(OTHER, server=api)
    role = api.get(ROLE, OTHER, f"operator-{OTHER}")
    api.patch(ROLE, OTHER, f"operator-{OTHER}", {"rules": [rule for rule in role["rules"] if rule["resources"] != ["agents/finalizers"]]})
    api.agent(OTHER, "b")

    eventually(lambda: "blockOwnerDeletion" in api.condition(OTHER, "b")["message"], seconds=60)
    assert api.condition(OTHER, "b")["reason"] == conditions.APPLY_FAILED


def annotations(api: Api, kind: kinds.Kind, name: str) -> dict[str, str]:
    return api.get(kind, TEAM, name)["metadata"].get("annotations", {})


def echo(api: Api) -> str:
    """The model Component of the Agent's first shape."""
    (found,) = [live for live in api.list(kinds.COMPONENT, TEAM) if live["metadata"]["name"].startswith("a-llm") and "echo" in str(live)]
    return found["metadata"]["name"]


def uninjected(api: Api) -> dict[str, Any]:
    """A pod of the Agent's Deployment that the injector has missed."""
    template = api.get(kinds.DEPLOYMENT, TEAM, "a")["spec"]["template"]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a-1", "uid": "1", "controller": True}
    metadata = {"name": "a-1-1", **template["metadata"], "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": {"containers": [{"name": names.CONTAINER, "image": "x"}]}}
