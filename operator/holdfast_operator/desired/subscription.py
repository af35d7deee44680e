"""Subscriptions `a-topic`, `a-broadcast` and `a-trigger-<hash>`: the events that Dapr delivers to the Agent, and to nobody else."""

from holdfast_api.config import AgentConfig
from holdfast_api.subscriptions import subscription, subscriptions
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import Manifest, child
from holdfast_operator.kinds import SUBSCRIPTION


def agent_subscriptions(agent: Agent, config: AgentConfig) -> list[Manifest]:
    """All that the Agent listens to. Scoped: unscoped ones would deliver to every app of the namespace."""
    found = subscriptions(config).items()
    return [subscription(name, spec, app_id=agent.metadata.name) | child(SUBSCRIPTION, agent, name) for name, spec in found]
