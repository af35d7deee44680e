"""An autoscaler's way to an Agent: what the examples aim at is served, and reaches the pods."""

from typing import Any

import pytest
import yaml

from holdfast_operator import kinds
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
