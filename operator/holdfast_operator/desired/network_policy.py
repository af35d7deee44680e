"""NetworkPolicy `a`, when asked for: only callers come in, and the pods reach what the Agent names. Enforced by the cluster's network."""

from collections.abc import Collection

from holdfast_api import names
from holdfast_api.resolve import Resolved
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.hosts import hosts_of, rules
from holdfast_operator.desired.meta import Manifest, child, selector
from holdfast_operator.kinds import NETWORK_POLICY

_SIDECAR_PORT = 50002
"""daprd to daprd: service invocation, and actors of an Agent's other replicas."""

_SIDECAR_METRICS = 9090
_DNS_PORTS = (53, 5353)
_NODE_LOCAL_DNS = "169.254.20.10/32"


def network_policy(agent: Agent, resolved: Resolved, *, dapr_namespace: str) -> Manifest | None:
    """The policy, or None when the Agent does not ask for one.

    Args:
        agent: the Agent.
        resolved: what it comes to; its hosts are the egress.
        dapr_namespace: where Dapr's control plane is.
    """
    if (wanted := agent.spec.network_policy) is None:
        return None
    name = agent.metadata.name
    spec = {
        "podSelector": {"matchLabels": selector(name)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": _ingress(name, resolved.config.callers, wanted.ingress_from),
        "egress": [
            _dns(),
            {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": dapr_namespace}}}]},
            {"to": [_agents()], "ports": _tcp(_SIDECAR_PORT)},
            *rules(hosts_of(resolved), agent.metadata.namespace),
            *(wanted.egress or []),
        ],
    }
    return child(NETWORK_POLICY, agent, name) | {"spec": spec}


def _ingress(name: str, callers: Collection[str], others: list[Manifest] | None) -> list[Manifest]:
    """Sidecars come to the sidecar, everybody else to the HTTP API. An empty list of others means nobody.

    A caller may be any app with a sidecar, and nothing tells its pods: so with callers the namespace may knock, and the sidecar, which
    knows app ids by their certificates, opens to callers alone. Without any, only the Agent's own replicas come.
    """
    by_dapr = {"from": [{"podSelector": {}} if callers else _agents([name])], "ports": _tcp(_SIDECAR_PORT)}
    peers = [{"podSelector": {}}] if others is None else others
    # A rule without a `from` would let everybody in.
    return [by_dapr, *([{"from": peers, "ports": _tcp(names.APP_PORT, _SIDECAR_METRICS)}] if peers else [])]


def _agents(only: list[str] | None = None) -> Manifest:
    """Pods of Agents in this namespace."""
    chosen: Manifest = {"operator": "In", "values": only} if only else {"operator": "Exists"}
    return {"podSelector": {"matchExpressions": [{"key": names.LABEL_AGENT, **chosen}]}}


def _dns() -> Manifest:
    """Names are asked of pods in the cluster or of the node's own cache, never of a server outside."""
    ports = [{"port": port, "protocol": protocol} for port in _DNS_PORTS for protocol in ("UDP", "TCP")]
    return {"to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": _NODE_LOCAL_DNS}}], "ports": ports}


def _tcp(*ports: int) -> list[Manifest]:
    return [{"port": port, "protocol": "TCP"} for port in ports]
