"""Dapr Subscriptions of an agent, as plain manifests: what daprd delivers, and to which path. Pure.

`rawPayload`: the agent reads the event itself, so other things than CloudEvents are taken too. No `deadLetterTopic`: Dapr puts every event
there that could not be taken within the broker's own time limit, so a store that is away for a minute would lose events that nothing is
wrong with. The agent publishes there itself what can never be taken.
"""

from typing import Any, Final

from holdfast_api import names
from holdfast_api.config import AgentConfig

Manifest = dict[str, Any]
_POLICY: Final = "events"
_DIGITS: Final = 8


def subscriptions(config: AgentConfig) -> dict[str, Manifest]:
    """`spec` of each Subscription, by its name. A name is made of the agent's and of what the agent does not share with another one's."""
    found, pubsub = {}, config.pubsub
    if pubsub and pubsub.topic:
        found[f"{config.name}-topic"] = _spec(pubsub.component, pubsub.topic, "/events/topic")
    if pubsub and pubsub.broadcast:
        found[f"{config.name}-broadcast"] = _spec(pubsub.component, pubsub.broadcast, "/events/broadcast")
    for trigger in config.triggers:
        if topic := trigger.topic:
            name = f"{config.name}-trigger-{names.digest(trigger.name, _DIGITS)}"
            found[name] = _spec(topic.component, topic.name, f"/events/triggers/{trigger.name}")
    return found


def subscription(name: str, spec: Manifest, *, app_id: str) -> Manifest:
    """A Subscription of one app id."""
    return {"apiVersion": "dapr.io/v2alpha1", "kind": "Subscription", "metadata": {"name": name}, "spec": spec, "scopes": [app_id]}


def deliveries(config: AgentConfig) -> tuple[Manifest, Manifest]:
    """Retries, and targets by Component, of the Resiliency: what cannot be taken now is delivered again soon, and for as long as it takes.

    Without them it would be left to the broker when it delivers again: Redis after a minute, Kafka perhaps never.
    """
    components = sorted({spec["pubsubname"] for spec in subscriptions(config).values()})
    if not components:
        return {}, {}
    retries = {_POLICY: {"policy": "exponential", "duration": "1s", "maxInterval": "15s", "maxRetries": -1}}
    return retries, {component: {"inbound": {"retry": _POLICY}} for component in components}


def publishes(config: AgentConfig) -> bool:
    """Whether the agent publishes by itself: ends of runs, or events that it refuses."""
    results = config.pubsub is not None and config.pubsub.publish_results is not None
    return results or any(trigger.topic is not None and trigger.topic.dead_letter is not None for trigger in config.triggers)


def _spec(component: str, topic: str, path: str) -> Manifest:
    return {"pubsubname": component, "topic": topic, "routes": {"default": path}, "metadata": {"rawPayload": "true"}}
