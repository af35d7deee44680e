"""Resiliency `a`: bounds on calls of the model."""

from holdfast_api import dapr
from holdfast_api.config import ModelConfig
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import Manifest, child
from holdfast_operator.kinds import RESILIENCY


def resiliency(agent: Agent, model: ModelConfig) -> Manifest:
    """The Resiliency of the model's Component, scoped: an unscoped one would restart every sidecar of the namespace."""
    return child(RESILIENCY, agent, agent.metadata.name) | {"scopes": [agent.metadata.name], "spec": dapr.resiliency_spec(model)}
