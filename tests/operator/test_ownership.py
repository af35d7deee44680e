"""The digest of what we own in a live object is the digest of our manifest, until somebody touches it."""

import copy
from typing import Any

import pytest
import yaml

from holdfast_api import names
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import resolve
from holdfast_operator import kinds
from holdfast_operator.desired import desired
from holdfast_operator.ownership import owned_digest, wanted_digest
from tests.operator.live import Api, World
from tests.operator.test_desired import DATA, DEFAULT, TEXTS


def live(fields: dict[str, Any], **content: Any) -> dict[str, Any]:
    entry = {"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}
    return {"metadata": {"name": "x", "managedFields": [entry]}, **content}


def test_values_of_others_do_not_count() -> None:
    ours = {"f:spec": {"f:a": {}, "f:m": {"f:k": {}}}}

    first = owned_digest(live(ours, spec={"a": 1, "b": 2, "m": {"k": 1}}))
    second = owned_digest(live(ours, spec={"a": 1, "b": 3, "m": {"k": 1, "other": 2}}))

    assert first == second


def test_a_changed_value_counts() -> None:
    ours = {"f:spec": {"f:a": {}}}

    assert owned_digest(live(ours, spec={"a": 1})) != owned_digest(live(ours, spec={"a": 2}))


def test_items_of_a_keyed_list_are_told_by_their_keys() -> None:
    ours = {"f:ports": {'k:{"port":1,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}}}}
    mine = {"port": 1, "protocol": "TCP", "name": "a", "nodePort": 3}
    other = {"port": 2, "protocol": "TCP", "name": "b"}

    assert owned_digest(live(ours, ports=[mine])) == owned_digest(live(ours, ports=[other, mine]))
    assert owned_digest(live(ours, ports=[mine])) != owned_digest(live(ours, ports=[mine | {"name": "z"}]))


def test_members_of_a_set_are_told_by_their_value() -> None:
    ours = {"f:finalizers": {'v:"mine"': {}}}

    assert owned_digest(live(ours, finalizers=["mine"])) == owned_digest(live(ours, finalizers=["theirs", "mine"]))


def test_an_object_that_we_never_applied_has_no_digest() -> None:
    assert owned_digest({"metadata": {"name": "x"}}) == ""


@pytest.mark.apiserver
@pytest.mark.parametrize("name", ["minimal", "full"])
async def test_every_kind_of_child_comes_back_as_it_was_applied(world: World, namespace: str, api: Api, name: str) -> None:
    manifest = yaml.safe_load((DATA / f"{name}.agent.yaml").read_text())
    manifest["metadata"] = {"name": "a", "namespace": namespace}
    manifest["metadata"]["uid"] = api.create(kinds.AGENT, namespace, copy.deepcopy(manifest))["metadata"]["uid"]
    agent = parse_agent(manifest)

    for step in desired(agent, resolve(agent, DEFAULT, TEXTS), DEFAULT):
        for child in step:
            applied = await world.cluster.apply(child.kind, child.manifest)
            again = await world.cluster.apply(child.kind, child.manifest)
            meta = child.kind.metadata_only

            assert owned_digest(applied, metadata_only=meta) == wanted_digest(child.manifest, metadata_only=meta), child.kind.kind
            assert again["metadata"]["resourceVersion"] == applied["metadata"]["resourceVersion"]
