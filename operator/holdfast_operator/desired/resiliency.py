"""Resiliency `a`: bounds on calls of the models, and what spec.resiliency says of stores and other Agents."""

from collections.abc import Iterable

from holdfast_api import dapr
from holdfast_api.config import AgentConfig
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import Manifest, child
from holdfast_operator.kinds import RESILIENCY


def resiliency(agent: Agent, config: AgentConfig, earlier: Iterable[tuple[str, int]]) -> Manifest:
    """The Resiliency of what is called, and of earlier models that runs are pinned to.

    It is scoped: an unscoped one would restart every sidecar of the namespace.
    """
    spec = dapr.resiliency_spec(config, earlier, wanted=agent.spec.resiliency)
    return child(RESILIENCY, agent, agent.metadata.name) | {"scopes": [agent.metadata.name], "spec": spec}
