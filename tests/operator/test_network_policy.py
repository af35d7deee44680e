"""`spec.networkPolicy`: the object that an Agent comes to. Whether it holds is the cluster's network's affair."""

from typing import Any

import pytest

from holdfast_api import conditions
from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import resolve
from holdfast_operator import kinds
from holdfast_operator.desired import desired
from holdfast_operator.desired.hosts import PRIVATE, PRIVATE_6, rules
from tests.operator.live import DEFAULTS, Api, World

OUTSIDE = [
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE)}},
    {"ipBlock": {"cidr": "::/0", "except": list(PRIVATE_6)}},
]


def namespaced(name: str) -> dict[str, Any]:
    return {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]}


def on(port: int) -> dict[str, Any]:
    return {"ports": [{"port": port, "protocol": "TCP"}]}


def policy(spec: dict[str, Any]) -> dict[str, Any] | None:
    agent = parse_agent({"metadata": {"name": "a", "namespace": "ns", "uid": "u"}, "spec": spec})
    defaults = AgentDefaults.model_validate(DEFAULTS)
    steps = desired(agent, resolve(agent, defaults, {}), defaults, dapr_namespace="dapr")
    found = [child.manifest["spec"] for step in steps for child in step if child.kind == kinds.NETWORK_POLICY]
    return found[0] if found else None


def egress(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """What is let through beside DNS, Dapr and other Agents' sidecars."""
    found = policy({"networkPolicy": {}, **spec})
    assert found is not None
    return found["egress"][3:]


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert policy({}) is None
    assert policy({"networkPolicy": {}}) is not None


def test_it_closes_the_pods_of_this_agent_but_for_dns_dapr_its_replicas_and_its_namespace() -> None:
    found = policy({"networkPolicy": {}})
    assert found is not None
    agents = {"key": "holdfast.dev/agent", "operator": "In", "values": ["a"]}

    assert found["podSelector"] == {"matchLabels": {"holdfast.dev/agent": "a"}}
    assert found["policyTypes"] == ["Ingress", "Egress"]
    sidecars, others = found["ingress"]
    assert sidecars == {"from": [{"podSelector": {"matchExpressions": [agents]}}], **on(50002)}
    assert (others["from"], [port["port"] for port in others["ports"]]) == ([{"podSelector": {}}], [8001, 9090])
    dns, dapr, other_agents = found["egress"][:3]
    assert {port["port"] for port in dns["ports"]} == {53, 5353}
    assert {"ipBlock": {"cidr": "0.0.0.0/0"}} not in dns["to"]
    assert dapr == namespaced("dapr")
    assert other_agents["ports"] == on(50002)["ports"]


def test_callers_may_be_apps_that_are_no_agents_so_their_namespace_reaches_the_sidecar() -> None:
    found = policy({"networkPolicy": {"ingressFrom": []}, "access": {"callers": ["front-desk"]}})
    assert found is not None

    assert found["ingress"] == [{"from": [{"podSelector": {}}], **on(50002)}]


def test_those_who_are_named_take_the_namespaces_place_and_an_empty_list_is_nobody() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "web"}}}
    named, nobody = policy({"networkPolicy": {"ingressFrom": [peer]}}), policy({"networkPolicy": {"ingressFrom": []}})
    assert named is not None
    assert nobody is not None

    assert named["ingress"][1]["from"] == [peer]
    assert len(nobody["ingress"]) == 1


def test_egress_follows_the_model_the_stores_and_the_tools() -> None:
    redis = namespaced("ns")  # of the defaults: `redis:6379`
    model = {"model": {"provider": "openai", "name": "m"}}

    assert egress({}) == [redis]
    assert egress(model) == [{"to": OUTSIDE, **on(443)}, redis]
    assert egress({"model": model["model"] | {"endpoint": "http://vllm.models.svc:8000/v1"}}) == [redis, namespaced("models")]
    tools = [
        {"name": "in", "http": {"url": "https://10.1.2.3:8443/x/{city}"}},
        {"name": "out", "mcp": {"url": "https://maps.example.com/mcp"}},
        {"name": "six", "http": {"url": "http://[fd00::1]/"}},
        {"name": "self", "http": {"url": "http://localhost:9/"}},
    ]
    assert egress({"tools": tools}) == [
        {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], **on(8443)},
        {"to": [{"ipBlock": {"cidr": "fd00::1/128"}}], **on(80)},
        {"to": OUTSIDE, **on(443)},
        redis,
    ]
    own = [{"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}]
    assert egress({"networkPolicy": {"egress": own}}) == [redis, *own]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("host=db.data.svc.cluster.local port=5432 user=x", namespaced("data")),
        ("postgres://user:p@10.0.0.9:6000/db", {"to": [{"ipBlock": {"cidr": "10.0.0.9/32"}}], **on(6000)}),
        ("a.brokers.example.com:9092,b.brokers.example.com:9092", {"to": OUTSIDE, **on(9092)}),
    ],
)
def test_hosts_are_found_in_the_metadata_of_components(value: str, wanted: dict[str, Any]) -> None:
    state = {"type": "state.postgresql", "metadata": [{"name": "connectionString", "value": value}]}

    assert egress({"state": state}) == [wanted]


def test_a_name_with_one_dot_may_be_a_service_or_a_site() -> None:
    assert rules([("redis.databases", 6379)], "ns") == [{"to": OUTSIDE, **on(6379)}, namespaced("databases")]


@pytest.mark.apiserver
async def test_the_api_server_takes_it_and_it_goes_when_it_is_no_longer_asked_for(api: Api, namespace: str, world: World) -> None:
    tools = [{"name": "out", "http": {"url": "https://maps.example.com/"}}, {"name": "in", "http": {"url": "http://x.y.svc"}}]
    extra = {
        "to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
        "ports": [{"port": "http"}, {"port": 80, "endPort": 90}],
    }
    peers = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    api.agent(namespace, "a", {"networkPolicy": {"egress": [extra], "ingressFrom": peers}, "tools": tools, "replicas": 0})
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")

    live = api.get(kinds.NETWORK_POLICY, namespace, "a")
    assert live is not None
    assert live["spec"]["egress"][-1]["ports"][1]["endPort"] == 90
    # Applied once, although the API server writes it in more words than we do.
    world.hear(kinds.NETWORK_POLICY, namespace, "a")
    _, asked = await world.look(namespace, "a")
    assert ("PATCH", "networkpolicies") not in asked

    before = api.get(kinds.DEPLOYMENT, namespace, "a")
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"networkPolicy": None}})
    world.hear(kinds.AGENT, namespace, "a")
    await world.look(namespace, "a")
    after = api.get(kinds.DEPLOYMENT, namespace, "a")
    assert before is not None
    assert after is not None
    assert before["spec"]["template"] == after["spec"]["template"]
    # At once, although no rollout is complete: it may be the reason why none is.
    assert api.condition(namespace, "a", conditions.AVAILABLE)["status"] == "False"
    assert api.get(kinds.NETWORK_POLICY, namespace, "a") is None
