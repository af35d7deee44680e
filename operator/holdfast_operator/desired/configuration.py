"""Configuration `a`: what the sidecar may do, for whom, and how much at once.

Hot reload is off: a change of a Dapr object reaches an agent by a rollout, one pod at a time, never by a restart under its feet.
"""

from holdfast_api import dapr, names
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import Manifest, child
from holdfast_operator.kinds import CONFIGURATION

_ROUTES = (("/run", ["POST"]), ("/runs/**", ["GET", "POST"]), ("/v1.0/workflows/dapr/**", ["GET"]))
_MAX_ACTIVITIES = 200
_MAX_WORKFLOWS = 100
_RETENTION_BACKSTOP = "1440h"
"""The agent sweeps its runs itself, documents after the instance. This only catches what no agent is left to sweep."""


def configuration(agent: Agent) -> Manifest:
    """The Configuration that `dapr.io/config` names; a sidecar whose Configuration is missing does not start."""
    spec: Manifest = {
        "features": [{"name": "HotReload", "enabled": False}],
        "api": dapr.api_spec(),
        "accessControl": _access(agent),
        "workflow": {
            "maxConcurrentActivityInvocations": _MAX_ACTIVITIES,
            "maxConcurrentWorkflowInvocations": _MAX_WORKFLOWS,
            "stateRetentionPolicy": {"anyTerminal": _RETENTION_BACKSTOP},
        },
        "logging": {"apiLogging": {"enabled": False, "obfuscateURLs": True, "omitHealthChecks": True}},
        "metric": {"enabled": True},
        "tracing": {"samplingRate": "0"},
    }
    return child(CONFIGURATION, agent, agent.metadata.name) | {"spec": spec}


def _access(agent: Agent) -> Manifest:
    """Service invocation is closed to others, and open on these routes to the agent's own app id."""
    return {
        "defaultAction": "deny",
        "trustDomain": names.TRUST_DOMAIN,
        "policies": [
            {
                "appId": agent.metadata.name,
                "namespace": agent.metadata.namespace,
                "trustDomain": names.TRUST_DOMAIN,
                "defaultAction": "deny",
                "operations": [{"name": path, "httpVerb": verbs, "action": "allow"} for path, verbs in _ROUTES],
            }
        ],
    }
