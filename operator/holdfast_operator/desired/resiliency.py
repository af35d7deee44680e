"""Resiliency `a`: a call of the model ends in bounded time, and a model that is down is not hammered.

No retries here: the workflow retries on durable timers, and retries of retries multiply.
"""

from holdfast_api.config import ModelConfig
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import Manifest, child
from holdfast_operator.kinds import RESILIENCY

_FAILURES = 5
_OPEN_FOR = "30s"


def resiliency(agent: Agent, model: ModelConfig) -> Manifest:
    """The Resiliency of the model's Component, scoped: an unscoped one would restart every sidecar of the namespace."""
    return child(RESILIENCY, agent, agent.metadata.name) | {
        "scopes": [agent.metadata.name],
        "spec": {
            "policies": {
                "timeouts": {"model": f"{model.timeout_seconds:g}s"},
                "circuitBreakers": {"model": {"maxRequests": 1, "timeout": _OPEN_FOR, "trip": f"consecutiveFailures >= {_FAILURES}"}},
            },
            "targets": {"components": {model.component: {"outbound": {"timeout": "model", "circuitBreaker": "model"}}}},
        },
    }
