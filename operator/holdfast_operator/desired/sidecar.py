"""What Dapr's injector is told by annotations of the pod template."""

from collections.abc import Sequence
from typing import Any

from holdfast_api import names
from holdfast_api.v1alpha1 import Observability
from holdfast_operator.desired.pins import SecretKey

_RESOURCES = {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}
_MAX_BODY = "16Mi"
_SHUTDOWN_SECONDS = "10"


def sidecar_annotations(
    agent: str, secrets: Sequence[SecretKey], resources: dict[str, Any] | None, observed: Observability
) -> dict[str, str]:
    """The `dapr.io/*` annotations.

    The sidecar is a native one: it starts before the agent and ends after it, so the agent can finish its work while it drains.
    API keys come from `env-from-secret`: a missing Secret is then the kubelet's own error in the pod's status.
    """
    found = {
        "enabled": "true",
        "app-id": agent,
        "app-port": str(names.APP_PORT),
        "app-protocol": "http",
        "config": agent,
        "api-token-secret": names.dapr_token_secret(agent),
        "app-token-secret": names.app_token_secret(agent),
        "disable-builtin-k8s-secret-store": "true",
        "disable-init-endpoints": "config,subscribe",
        "enable-native-sidecar": "true",
        "graceful-shutdown-seconds": _SHUTDOWN_SECONDS,
        "log-as-json": "true",
        "max-body-size": _MAX_BODY,
        "sidecar-seccomp-profile-type": "RuntimeDefault",
    }
    if observed.log_level != "info":
        found["log-level"] = observed.log_level.removesuffix("ing")
    if not observed.metrics:
        found["enable-metrics"] = "false"
    if secrets:
        found["env-from-secret"] = ",".join(f"{names.secret_env(secret, key)}={secret}:{key}" for secret, key in secrets)
    chosen = resources or _RESOURCES
    for bound, word in (("requests", "request"), ("limits", "limit")):
        for resource in ("cpu", "memory"):
            if amount := (chosen.get(bound) or {}).get(resource):
                found[f"sidecar-{resource}-{word}"] = str(amount)
    return {f"dapr.io/{name}": value for name, value in sorted(found.items())}
