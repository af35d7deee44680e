"""Service `a`: the agent's HTTP API inside the cluster."""

from holdfast_api import names
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import Manifest, child, selector
from holdfast_operator.kinds import SERVICE


def service(agent: Agent) -> Manifest:
    """The Service; Dapr makes another one, `a-dapr`, for the sidecar."""
    port = {"name": "http", "port": names.APP_PORT, "protocol": "TCP", "targetPort": "http"}
    return child(SERVICE, agent, agent.metadata.name) | {"spec": {"selector": selector(agent.metadata.name), "ports": [port]}}
