"""What rolls an Agent's pods and what does not, as docs/install.md has it in a table."""

import importlib
from typing import Any

import pytest

from holdfast_operator import kinds, reconcile
from holdfast_operator.desired.standing import ANNOTATION_MARK
from tests.operator.live import Api, World
from tests.operator.test_children import made, writes
from tests.operator.test_desired import agent, children, pod, resolved

BEFORE: dict[str, Any] = {"role": "Helper", "limits": {"maxIterations": 5}}


def revision(spec: dict[str, Any]) -> str:
    return resolved(agent(spec)).config.revision


@pytest.mark.parametrize(
    "change",
    [
        {"goal": "Another"},
        {"model": {"provider": "echo", "name": "other"}},
        {"limits": {"maxIterations": 6}},
        {"tools": [{"name": "look", "description": "Looks", "http": {"url": "https://example.com"}}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_configuration_is_a_new_revision_a_new_config_map_and_new_pods(change: dict) -> None:
    after = BEFORE | change

    assert revision(after) != revision(BEFORE)
    assert children(agent(after))["ConfigMap"]["metadata"]["name"] != children(agent(BEFORE))["ConfigMap"]["metadata"]["name"]
    assert pod(after) != pod(BEFORE)


@pytest.mark.parametrize(
    "change",
    [
        {"image": "mine:2"},
        {"env": [{"name": "A", "value": "1"}]},
        {"resources": {"limits": {"memory": "1Gi"}}},
        {"nodeSelector": {"a": "b"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_pod_is_the_same_revision(change: dict) -> None:
    assert revision(BEFORE | change) == revision(BEFORE)
    assert pod(BEFORE | change) != pod(BEFORE)


@pytest.mark.parametrize("change", [{"replicas": 3}, {"suspend": True}, {"replicas": 0}], ids=str)
def test_another_number_of_pods_is_neither(change: dict) -> None:
    assert revision(BEFORE | change) == revision(BEFORE)
    assert pod(BEFORE | change) == pod(BEFORE)


def test_a_former_agent_has_its_former_revision() -> None:
    assert revision(BEFORE | {"goal": "Another"} | {"goal": None}) == revision(BEFORE)


@pytest.mark.apiserver
async def test_pods_that_somebody_restarts_by_hand_are_left_to_restart(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    api.patch(kinds.DEPLOYMENT, namespace, "a", {"spec": {"template": {"metadata": {"annotations": restarted}}}})
    world.hear(kinds.DEPLOYMENT, namespace, "a")

    _, asked = await world.look(namespace, "a")

    assert writes(asked).keys() <= {("PATCH", "agents")}
    live = api.get(kinds.DEPLOYMENT, namespace, "a")
    assert restarted.items() <= live["spec"]["template"]["metadata"]["annotations"].items()


@pytest.fixture
async def upgraded(world: World, namespace: str, monkeypatch: pytest.MonkeyPatch) -> World:
    """An Agent that another version made, which gives pods a second less to end; this one has looked at it."""
    monkeypatch.setattr(reconcile, "program", lambda: "another")
    pods = importlib.import_module("holdfast_operator.desired.deployment")
    monkeypatch.setattr(pods, "_GRACE_MARGIN", pods._GRACE_MARGIN - 1)
    await made(world, namespace, {"replicas": 2})
    monkeypatch.undo()
    world.restart()
    await world.take_stock(namespace)
    world.hear(kinds.AGENT, namespace, "a")
    assert writes((await world.look(namespace, "a"))[1]) == {}
    return world


def grace(api: Api, namespace: str) -> int:
    return api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def meddle(world: World, namespace: str) -> None:
    spec = {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}
    world.api.patch(kinds.DEPLOYMENT, namespace, "a", {"spec": spec})
    world.hear(kinds.DEPLOYMENT, namespace, "a")


@pytest.mark.apiserver
async def test_pods_of_another_version_stand_until_somebody_changes_them(upgraded: World, namespace: str, api: Api) -> None:
    before = grace(api, namespace)
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 3}})
    upgraded.hear(kinds.AGENT, namespace, "a")
    assert ("PATCH", "deployments") in writes((await upgraded.look(namespace, "a"))[1])
    assert (grace(api, namespace), api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["replicas"]) == (before, 3)
    upgraded.due.clear()
    upgraded.hear(kinds.DEPLOYMENT, namespace, "a")
    assert upgraded.due == set(), "its own write is no news"

    meddle(upgraded, namespace)
    await upgraded.look(namespace, "a")

    assert grace(api, namespace) == before + 1


@pytest.mark.apiserver
async def test_who_changes_pods_that_stand_during_a_look_is_noticed_by_the_next_one(upgraded: World, namespace: str, api: Api) -> None:
    before, served, meddled = grace(api, namespace), upgraded.cluster.apply, []

    async def meddled_with(kind: kinds.Kind, *args: Any, **more: Any) -> Any:
        if not meddled:
            meddled.append(kind)
            meddle(upgraded, namespace)
        return await served(kind, *args, **more)

    upgraded.cluster.apply = meddled_with
    api.patch(kinds.SERVICE, namespace, "a", {"metadata": {"labels": {"app.kubernetes.io/part-of": "mine"}}})
    upgraded.hear(kinds.SERVICE, namespace, "a")
    await upgraded.look(namespace, "a")
    assert meddled == [kinds.SERVICE]
    assert upgraded.due == {(namespace, "a")}

    await upgraded.look(namespace, "a")

    assert grace(api, namespace) == before + 1


@pytest.mark.apiserver
@pytest.mark.parametrize("text", [None, "nonsense"], ids=["taken off", "spoiled"])
async def test_a_mark_that_somebody_meddled_with_is_put_right_and_rolls_nothing(
    world: World, namespace: str, api: Api, text: str | None
) -> None:
    await made(world, namespace)
    before = api.get(kinds.DEPLOYMENT, namespace, "a")
    api.patch(kinds.DEPLOYMENT, namespace, "a", {"metadata": {"annotations": {ANNOTATION_MARK: text}}})
    world.hear(kinds.DEPLOYMENT, namespace, "a")

    await world.look(namespace, "a")

    after = api.get(kinds.DEPLOYMENT, namespace, "a")
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]
    assert after["spec"] == before["spec"]
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    assert writes((await world.look(namespace, "a"))[1]) == {}
