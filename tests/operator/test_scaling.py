"""An autoscaler's way to an Agent: what the examples aim at is served, and reaches the pods. And scaling while something is wrong."""

from typing import Any

import pytest
import yaml

from holdfast_api import conditions, names
from holdfast_operator import kinds, reconcile
from holdfast_operator.desired.standing import ANNOTATION_MARK, Mark
from tests.operator.live import ROOT, Api, World

pytestmark = pytest.mark.apiserver
AUTOSCALER = kinds.Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(yaml.safe_load_all((ROOT / "examples" / name).read_text()))
    return found


@pytest.mark.parametrize("name", ["hpa.yaml", "keda.yaml"])
async def test_what_an_autoscaler_asks_for_becomes_pods_and_a_budget_for_them(name: str, api: Api, namespace: str, world: World) -> None:
    target = example(name)["spec"]["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == (kinds.AGENT.api_version, kinds.AGENT.kind)
    agent = target["name"]
    assert agent == example("trip-planner.yaml")["metadata"]["name"]
    if name == "hpa.yaml":
        api.create(AUTOSCALER, namespace, {key: example(name)[key] for key in ("metadata", "spec")})
    api.agent(namespace, agent)
    world.hear(kinds.AGENT, namespace, agent, "ADDED")
    await world.look(namespace, agent)

    path = kinds.AGENT.path(namespace, agent) + "/scale"
    scale = api.request("GET", path)
    assert scale["spec"]["replicas"] == 1
    assert scale["status"]["selector"] == f"holdfast.dev/agent={agent}"
    api.request("PUT", path, {**scale, "spec": {"replicas": 3}})
    world.hear(kinds.AGENT, namespace, agent)
    await world.look(namespace, agent)

    deployment = api.get(kinds.DEPLOYMENT, namespace, agent)
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"]["metadata"]["labels"]["holdfast.dev/agent"] == agent
    assert api.get(kinds.DISRUPTION_BUDGET, namespace, agent) is not None


async def upgraded(world: World, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Agent whose pods another version of the operator made, looked at by this one."""
    world.api.agent(namespace, "a")
    with monkeypatch.context() as former:
        former.setattr(reconcile, "program", lambda: "former")
        await world.look(namespace, "a")
    world.restart()
    await world.take_stock(namespace)
    await world.look(namespace, "a")


def deployment(api: Api, namespace: str) -> tuple[int, str, str]:
    """How many pods, by whom they are written down, and their image."""
    live = api.get(kinds.DEPLOYMENT, namespace, "a")
    assert live is not None
    mark = Mark.parse(live["metadata"]["annotations"][ANNOTATION_MARK])
    return live["spec"]["replicas"], mark.program, live["spec"]["template"]["spec"]["containers"][0]["image"]


async def in_trouble(world: World, namespace: str, replicas: int) -> None:
    """Scale while nothing else can be carried out."""
    world.dapr.installed = False
    world.api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": replicas}})
    await world.look(namespace, "a")
    assert world.api.condition(namespace, "a", conditions.DAPR_CONFIGURED)["reason"] == conditions.DAPR_NOT_INSTALLED
    assert deployment(world.api, namespace)[0] == replicas


async def test_pods_that_stand_still_do_after_they_were_scaled_in_trouble(
    world: World, namespace: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upgraded(world, namespace, monkeypatch)
    assert deployment(api, namespace)[:2] == (1, "former")

    for replicas in (2, 3):
        await in_trouble(world, namespace, replicas)
        world.dapr.installed = True
        await world.look(namespace, "a")
        assert deployment(api, namespace)[:2] == (replicas, "former")


async def test_what_somebody_changed_in_pods_that_stand_is_put_right_though_they_were_scaled_in_trouble(
    world: World, namespace: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upgraded(world, namespace, monkeypatch)
    patch = {"spec": {"template": {"spec": {"containers": [{"name": names.CONTAINER, "image": "somebody-elses:1"}]}}}}
    path = kinds.DEPLOYMENT.path(namespace, "a")
    api.request("PATCH", path, patch, content="application/strategic-merge-patch+json")
    world.hear(kinds.DEPLOYMENT, namespace, "a")

    await in_trouble(world, namespace, 2)
    world.dapr.installed = True
    await world.look(namespace, "a")

    assert deployment(api, namespace)[2] == "holdfast-agent:test"
