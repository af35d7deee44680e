"""Events that come while a request is under way."""

from typing import Any

import pytest

from holdfast_api import conditions, names
from holdfast_operator import kinds
from holdfast_operator.children import RETIREMENT_MANAGER
from holdfast_operator.cluster import ApiError
from holdfast_operator.facts import ANNOTATION_SUPERSEDED
from holdfast_operator.queue import Retry
from tests.operator.live import World
from tests.operator.test_children import change, made
from tests.operator.test_pins import rolled_out

pytestmark = pytest.mark.apiserver
LABEL = "app.kubernetes.io/managed-by"


async def test_a_child_that_is_changed_while_it_is_removed_is_removed_at_the_next_look(world: World, namespace: str) -> None:
    api = world.api
    api.agent(namespace, "a", {"replicas": 2})
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    delete, meddled = world.cluster.delete, []

    async def meddled_with(kind: kinds.Kind, *args: Any, **more: Any) -> bool:
        if not meddled:
            meddled.append(kind)
            api.patch(kinds.DISRUPTION_BUDGET, namespace, "a", {"metadata": {"annotations": {"mine": "yes"}}})
            world.hear(kinds.DISRUPTION_BUDGET, namespace, "a")
        return await delete(kind, *args, **more)

    world.cluster.delete = meddled_with
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 1}})
    world.hear(kinds.AGENT, namespace, "a")
    with pytest.raises(Retry):
        await world.look(namespace, "a")
    assert meddled == [kinds.DISRUPTION_BUDGET]
    assert api.get(kinds.DISRUPTION_BUDGET, namespace, "a") is not None

    await world.look(namespace, "a")

    assert api.get(kinds.DISRUPTION_BUDGET, namespace, "a") is None


async def test_a_removal_that_is_refused_for_a_change_that_nobody_tells_of_is_tried_again(world: World, namespace: str) -> None:
    api = world.api
    api.agent(namespace, "a", {"replicas": 2})
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    delete, refused = world.cluster.delete, []

    async def refuse_once(kind: kinds.Kind, *args: Any, **more: Any) -> bool:
        if refused:
            return await delete(kind, *args, **more)
        refused.append(kind)
        return False

    world.cluster.delete = refuse_once
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 1}})
    world.hear(kinds.AGENT, namespace, "a")
    with pytest.raises(Retry, match="was changed in the meantime"):
        await world.look(namespace, "a")

    await world.look(namespace, "a")

    assert api.get(kinds.DISRUPTION_BUDGET, namespace, "a") is None


async def test_a_mark_of_what_is_superseded_that_is_refused_for_a_change_that_nobody_tells_of_is_set_again(
    world: World, namespace: str
) -> None:
    api = world.api
    api.agent(namespace, "a", {"goal": "one"})
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    former = api.get(kinds.AGENT, namespace, "a")["status"]["revision"]
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"goal": "two"}})
    world.hear(kinds.AGENT, namespace, "a")
    await world.look(namespace, "a")
    apply, changed = world.cluster.apply, []

    async def after_a_change(kind: kinds.Kind, manifest: dict[str, Any], **more: Any) -> dict[str, Any]:
        if not changed and more.get("manager") == RETIREMENT_MANAGER:
            changed.append(api.patch(kind, namespace, manifest["metadata"]["name"], {"metadata": {"annotations": {"seen": "yes"}}}))
        return await apply(kind, manifest, **more)

    world.cluster.apply = after_a_change
    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    with pytest.raises(Retry):
        await world.look(namespace, "a")

    await world.look(namespace, "a")

    marked = [live for live in api.list(kinds.CONFIG_MAP, namespace) if ANNOTATION_SUPERSEDED in live["metadata"].get("annotations", {})]
    assert len(changed) == 1
    assert [live["metadata"]["name"] for live in marked] == [names.config_map("a", former)]


async def test_a_child_that_goes_while_it_comes_back_is_made_whole(world: World, namespace: str) -> None:
    api = world.api
    await made(world, namespace, {"goal": "one"})
    name = names.config_map("a", api.get(kinds.AGENT, namespace, "a")["status"]["revision"])
    await change(world, namespace, {"goal": "two"})
    await rolled_out(world, namespace)
    assert ANNOTATION_SUPERSEDED in api.get(kinds.CONFIG_MAP, namespace, name)["metadata"]["annotations"]
    apply, gone = world.cluster.apply, []

    async def after_its_end(kind: kinds.Kind, manifest: dict[str, Any], **more: Any) -> dict[str, Any]:
        if not gone and more.get("manager") == RETIREMENT_MANAGER:
            gone.append(api.get(kind, namespace, name))
            api.delete(kind, namespace, name)
        return await apply(kind, manifest, **more)

    world.cluster.apply = after_its_end
    with pytest.raises(Retry):
        await change(world, namespace, {"goal": "one"})
    assert api.get(kinds.CONFIG_MAP, namespace, name) is None

    world.intake.child(kinds.CONFIG_MAP, "DELETED", gone[0])
    await world.look(namespace, "a")

    live = api.get(kinds.CONFIG_MAP, namespace, name)
    assert live["data"] == gone[0]["data"]
    assert [owner["name"] for owner in live["metadata"]["ownerReferences"]] == ["a"]


async def test_a_child_that_is_changed_before_its_apply_is_removed_when_it_is_not_wanted_any_more(world: World, namespace: str) -> None:
    api = world.api
    await made(world, namespace, {"replicas": 2})
    for value in ("one", "two"):
        api.patch(kinds.DISRUPTION_BUDGET, namespace, "a", {"metadata": {"labels": {names.LABEL_AGENT: "a", LABEL: value}}})
        if value == "one":
            world.hear(kinds.DISRUPTION_BUDGET, namespace, "a")
    with pytest.raises(Retry, match="modified"):
        await world.look(namespace, "a")

    await change(world, namespace, {"replicas": 1})

    assert api.get(kinds.DISRUPTION_BUDGET, namespace, "a") is None


async def test_the_counts_of_a_deployment_that_an_apply_found_gone_are_not_told(world: World, namespace: str) -> None:
    api = world.api
    await made(world, namespace)
    await rolled_out(world, namespace)
    assert api.condition(namespace, "a", conditions.AVAILABLE)["status"] == "True"
    former = api.get(kinds.DEPLOYMENT, namespace, "a")
    api.delete(kinds.DEPLOYMENT, namespace, "a")
    with pytest.raises(Retry):
        await change(world, namespace, {"replicas": 2})
    world.intake.child(kinds.DEPLOYMENT, "DELETED", former)

    await change(world, namespace, {"systemPromptFrom": {"configMapKeyRef": {"name": "absent", "key": "text"}}})

    assert api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)["status"] == "False"
    assert api.condition(namespace, "a", conditions.AVAILABLE)["status"] == "Unknown"


async def test_an_event_that_comes_late_does_not_bring_an_earlier_spec_back(world: World, namespace: str) -> None:
    api = world.api
    api.agent(namespace, "a", {"replicas": 1})
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    old = api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 2}})
    new = api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 3}})
    apply, applied = world.cluster.apply, []

    async def meddled_with(kind: kinds.Kind, manifest: dict[str, Any], **more: Any) -> dict[str, Any]:
        if kind == kinds.AGENT and "status" not in applied:
            applied.append("status")
            world.intake.agent("MODIFIED", old)
            raise ApiError(500, "InternalError", "the leader has changed")
        if kind == kinds.DEPLOYMENT:
            applied.append(manifest["spec"]["replicas"])
        return await apply(kind, manifest, **more)

    world.cluster.apply = meddled_with
    # Something else made it due, so this look reads the Agent by itself, later than the events have told.
    with pytest.raises(Retry):
        await world.look(namespace, "a")
    await world.look(namespace, "a")
    world.intake.agent("MODIFIED", new)
    await world.look(namespace, "a")

    assert applied == [3, "status"]
    assert api.get(kinds.AGENT, namespace, "a")["status"]["observedGeneration"] == new["metadata"]["generation"]
