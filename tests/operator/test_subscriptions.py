"""Subscriptions follow an Agent's topics, on a real API server."""

import pytest

from holdfast_operator import kinds
from tests.operator.live import Api, World
from tests.operator.test_pins import rolled_out

pytestmark = pytest.mark.apiserver

ORDERS = {"name": "orders", "task": "Look at it", "topic": {"component": "other", "name": "orders.new", "deadLetter": "orders.dead"}}
TOPICS = {"pubsub": {"type": "pubsub.redis", "topic": "a.topic", "broadcast": "all"}, "triggers": [ORDERS]}


async def test_each_topic_has_a_subscription_of_this_app_alone_and_one_that_is_gone_has_none(
    world: World, namespace: str, api: Api
) -> None:
    api.create(
        kinds.COMPONENT, namespace, {"metadata": {"name": "other"}, "spec": {"type": "pubsub.in-memory", "version": "v1", "metadata": []}}
    )
    world.hear(kinds.COMPONENT, namespace, "other", "ADDED")
    api.agent(namespace, "a", TOPICS)
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")

    found = {live["metadata"]["name"]: live for live in api.list(kinds.SUBSCRIPTION, namespace)}
    told = {live["spec"]["topic"]: (live["spec"]["pubsubname"], live["spec"]["routes"]["default"]) for live in found.values()}
    assert told == {
        "a.topic": ("a-pubsub", "/events/topic"),
        "all": ("a-pubsub", "/events/broadcast"),
        "orders.new": ("other", "/events/triggers/orders"),
    }
    assert all(live["scopes"] == ["a"] and live["spec"]["metadata"] == {"rawPayload": "true"} for live in found.values())
    assert {"a-topic", "a-broadcast"} < found.keys()

    _, asked = await world.look(namespace, "a")
    assert asked == {("GET", "agents"): 1}

    api.patch(kinds.AGENT, namespace, "a", {"spec": {"pubsub": {"broadcast": None}, "triggers": []}})
    world.hear(kinds.AGENT, namespace, "a")
    await world.look(namespace, "a")
    await rolled_out(world, namespace)
    assert [live["metadata"]["name"] for live in api.list(kinds.SUBSCRIPTION, namespace)] == ["a-topic"]
