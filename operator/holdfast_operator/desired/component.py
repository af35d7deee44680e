"""Dapr Components that the Agent needs: its model under a name made from the content, its store as `a-state`."""

from typing import Any

from holdfast_api import dapr
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import ANNOTATION_KEEP, Manifest, child
from holdfast_operator.kinds import COMPONENT


def component(agent: Agent, name: str, spec: dict[str, Any], *, keep_seconds: int) -> Manifest:
    """One Component, visible to this Agent's sidecars alone."""
    plain = dapr.component(name, spec, app_id=agent.metadata.name)
    return plain | child(COMPONENT, agent, name, annotations={ANNOTATION_KEEP: str(keep_seconds)})
