"""What the operator may do, as one table. The chart's roles are written from it, and a test compares the two.

Secrets: `create` alone. `patch` would be reading in disguise, since a dry-run apply returns the data.
"""

from typing import Final

Rules = dict[tuple[str, str], tuple[str, ...]]

WATCHED: Final[Rules] = {
    ("", "configmaps"): ("create", "delete", "get", "list", "patch", "watch"),
    ("", "events"): ("create", "patch"),
    ("", "pods"): ("delete", "list", "watch"),
    ("", "secrets"): ("create",),
    ("", "serviceaccounts"): ("create", "delete", "get", "list", "patch", "watch"),
    ("", "services"): ("create", "get", "list", "patch", "watch"),
    ("apps", "deployments"): ("create", "get", "list", "patch", "watch"),
    ("dapr.io", "components"): ("create", "delete", "get", "list", "patch", "watch"),
    ("dapr.io", "configurations"): ("create", "get", "list", "patch", "watch"),
    ("dapr.io", "resiliencies"): ("create", "get", "list", "patch", "watch"),
    ("dapr.io", "subscriptions"): ("create", "delete", "get", "list", "patch", "watch"),
    ("holdfast.dev", "agents"): ("get", "list", "watch"),
    ("holdfast.dev", "agents/finalizers"): ("update",),
    ("holdfast.dev", "agents/status"): ("patch",),
    ("networking.k8s.io", "networkpolicies"): ("create", "delete", "get", "list", "patch", "watch"),
    ("policy", "poddisruptionbudgets"): ("create", "delete", "get", "list", "patch", "watch"),
}
"""(group, resource) -> verbs: a ClusterRole, or a Role in each namespace of HOLDFAST_NAMESPACES."""

SECRETS: Final[Rules] = {("", "secrets"): ("create", "get", "list", "watch")}
"""With HOLDFAST_WATCH_SECRETS, in place of `create` alone. It is the right to read every Secret of the scope."""

OWN_NAMESPACE: Final[Rules] = {("coordination.k8s.io", "leases"): ("create", "get", "update")}
"""A Role in the operator's own namespace, for leader election."""
