"""Configuration `a`: what the sidecar may do, for whom, and how much at once.

Hot reload is off: a change of a Dapr object reaches an agent by a rollout, one pod at a time, never by a restart under its feet.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from holdfast_api import dapr, names
from holdfast_api.resolve import Resolved
from holdfast_api.v1alpha1 import Agent, Tracing
from holdfast_operator.desired.meta import Manifest, child
from holdfast_operator.kinds import CONFIGURATION

_ROUTES = (("/run", ["POST"]), ("/runs/**", ["GET", "POST"]), ("/v1.0/workflows/dapr/**", ["GET"]))
_CALLERS_ROUTES = (
    *_ROUTES,
    ("/sessions/**", ["GET", "DELETE"]),
    ("/triggers/**", ["GET"]),
    ("/openapi.json", ["GET"]),
    ("/.well-known/**", ["GET"]),
)
"""A path with `/**` is that path too. One without would match all below it as well, and hide what is said of those."""

_MAX_ACTIVITIES = 200
_MAX_WORKFLOWS = 100
_RETENTION_BACKSTOP = "1440h"
"""The agent sweeps its runs itself, documents after the instance. This only catches what no agent is left to sweep."""


def configuration(agent: Agent, resolved: Resolved, earlier: frozenset[str] = frozenset()) -> Manifest:
    """The Configuration that `dapr.io/config` names; a sidecar whose Configuration is missing does not start.

    Args:
        agent: the Agent.
        resolved: what it comes to.
        earlier: APIs of the sidecar that earlier revisions need to which runs are pinned.
    """
    observed = resolved.observability
    spec: Manifest = {
        "features": [{"name": "HotReload", "enabled": False}],
        "api": dapr.api_spec(resolved.config, earlier),
        "accessControl": _access(agent, resolved.config.callers),
        "workflow": {
            "maxConcurrentActivityInvocations": _MAX_ACTIVITIES,
            "maxConcurrentWorkflowInvocations": _MAX_WORKFLOWS,
            "stateRetentionPolicy": {"anyTerminal": _RETENTION_BACKSTOP},
        },
        "logging": {"apiLogging": {"enabled": observed.api_logging, "obfuscateURLs": True, "omitHealthChecks": True}},
        "metric": {"enabled": observed.metrics},
        "tracing": _tracing(observed.tracing),
    }
    return child(CONFIGURATION, agent, agent.metadata.name) | {"spec": spec}


def _access(agent: Agent, callers: Iterable[str]) -> Manifest:
    """Service invocation is closed, but to the agent's own app id and to callers that it names, on the routes that they need."""
    name, namespace = agent.metadata.name, agent.metadata.namespace
    others = [_policy(caller, namespace, _CALLERS_ROUTES) for caller in sorted(callers) if caller != name]
    return {"defaultAction": "deny", "trustDomain": names.TRUST_DOMAIN, "policies": [_policy(name, namespace, _ROUTES), *others]}


def _policy(app: str, namespace: str, routes: Iterable[tuple[str, list[str]]]) -> Manifest:
    return {
        "appId": app,
        "namespace": namespace,
        "trustDomain": names.TRUST_DOMAIN,
        "defaultAction": "deny",
        "operations": [{"name": path, "httpVerb": list(verbs), "action": "allow"} for path, verbs in routes],
    }


def _tracing(tracing: Tracing | None) -> Manifest:
    """What the sidecar makes spans of, and where it sends them."""
    if tracing is None or not (tracing.otlp or tracing.zipkin):
        return {"samplingRate": "0"}
    found: Manifest = {"samplingRate": tracing.sampling_rate}
    if tracing.otlp:
        url = urlsplit(tracing.otlp)
        address = url.netloc if url.port else f"{url.netloc}:{443 if url.scheme == 'https' else 80}"
        found["otel"] = {"endpointAddress": address, "isSecure": url.scheme == "https", "protocol": "http"}
    if tracing.zipkin:
        found["zipkin"] = {"endpointAddress": tracing.zipkin}
    return found
