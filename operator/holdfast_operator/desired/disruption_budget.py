"""PodDisruptionBudget `a`: draining nodes takes one pod at a time. With a single pod it would only block the drain."""

from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import Manifest, child, selector
from holdfast_operator.kinds import DISRUPTION_BUDGET


def disruption_budget(agent: Agent) -> Manifest | None:
    """The budget, or None when there is at most one pod."""
    if agent.spec.suspend or agent.spec.replicas <= 1:
        return None
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(agent.metadata.name)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return child(DISRUPTION_BUDGET, agent, agent.metadata.name) | {"spec": spec}
