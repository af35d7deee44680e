"""The kinds of objects the operator deals with: where the API server serves them, and what is done with them."""

from dataclasses import dataclass
from typing import Final

from holdfast_api import names

Key = tuple[str, str]
"""Namespace and name of an Agent."""


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        group: API group, empty for core.
        version: its version.
        plural: as in the URL.
        kind: as in manifests.
        versioned: content is in the name; a superseded object is kept for the runs pinned to it.
        metadata_only: watched and compared by metadata alone, because the content is immutable.
    """

    group: str
    version: str
    plural: str
    kind: str
    versioned: bool = False
    metadata_only: bool = False

    @property
    def api_version(self) -> str:
        """`group/version`, or `v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Path of the group's version on the API server."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Path of one object, of a namespace's collection, or of the cluster's."""
        inside = f"/namespaces/{namespace}" if namespace else ""
        return f"{self.root}{inside}/{self.plural}" + (f"/{name}" if name else "")


DAPR_GROUP: Final = "dapr.io"

AGENT: Final = Kind(names.GROUP, names.VERSION, names.PLURAL, names.KIND)
POD: Final = Kind("", "v1", "pods", "Pod")
EVENT: Final = Kind("", "v1", "events", "Event")
SECRET: Final = Kind("", "v1", "secrets", "Secret", metadata_only=True)
SERVICE_ACCOUNT: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount")
CONFIG_MAP: Final = Kind("", "v1", "configmaps", "ConfigMap", versioned=True, metadata_only=True)
SERVICE: Final = Kind("", "v1", "services", "Service")
DEPLOYMENT: Final = Kind("apps", "v1", "deployments", "Deployment")
DISRUPTION_BUDGET: Final = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NETWORK_POLICY: Final = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
COMPONENT: Final = Kind(DAPR_GROUP, "v1alpha1", "components", "Component", versioned=True)
CONFIGURATION: Final = Kind(DAPR_GROUP, "v1alpha1", "configurations", "Configuration")
RESILIENCY: Final = Kind(DAPR_GROUP, "v1alpha1", "resiliencies", "Resiliency")
SUBSCRIPTION: Final = Kind(DAPR_GROUP, "v2alpha1", "subscriptions", "Subscription")

CHILDREN: Final = (
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    SERVICE,
    COMPONENT,
    CONFIGURATION,
    RESILIENCY,
    SUBSCRIPTION,
    NETWORK_POLICY,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
)
"""Kinds of children that are watched. Secrets are not among them: by default the operator may create them and nothing else."""
