"""`spec.networkPolicy`: who may reach the pods, and what the pods may reach. Rules have the shapes of networking.k8s.io/v1."""

from typing import Annotated, Any

from pydantic import Field

from holdfast_api.v1alpha1.pod import core
from holdfast_api.v1alpha1.types import ApiModel

Rules = Annotated[list[dict[str, Any]], Field(max_length=32)]


class NetworkPolicy(ApiModel):
    """A NetworkPolicy for the Agent's pods, made of what the Agent names. `{}` is enough; both lists are for what it cannot know."""

    ingress_from: Rules | None = Field(
        default=None,
        description="Who may reach the HTTP API, as `from` of a NetworkPolicy. Left out: every pod of the Agent's namespace.",
        json_schema_extra=core("NetworkPolicyPeer"),
    )
    egress: Rules | None = Field(
        default=None,
        description="What the pods may reach besides DNS, Dapr, other Agents' sidecars and the hosts that the Agent names, as `egress` of "
        "a NetworkPolicy: hosts in private address ranges, and those of Components that exist already.",
        json_schema_extra=core("NetworkPolicyEgressRule"),
    )
