"""Deployment `a`: the agent's pods, restricted in every way that an agent does not need."""

import math
from dataclasses import dataclass, field
from typing import Any

from holdfast_api import names
from holdfast_api.defaults import AgentDefaults
from holdfast_api.resolve import Resolved
from holdfast_api.v1alpha1 import Agent, Observability
from holdfast_api.v1alpha1.agent import AgentSpec
from holdfast_operator.desired.meta import Manifest, child, labels, selector
from holdfast_operator.desired.pins import ANNOTATION_KEPT, Kept
from holdfast_operator.desired.rotation import ANNOTATION_ROLLED
from holdfast_operator.desired.sidecar import sidecar_annotations
from holdfast_operator.desired.standing import Writing
from holdfast_operator.desired.team import team_volumes
from holdfast_operator.kinds import DEPLOYMENT

ANNOTATION_DAPR = "holdfast.dev/dapr-objects"
"""Digest of the Dapr objects: sidecars read them at their start only, so a change has to roll the pods."""

_RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}}
_GRACE_MARGIN = 30
_MAX_GRACE = 3600
_PROGRESS_DEADLINE = 600
_OPTIONAL_POD_FIELDS = {
    "nodeSelector": "node_selector",
    "tolerations": "tolerations",
    "affinity": "affinity",
    "topologySpreadConstraints": "topology_spread_constraints",
    "priorityClassName": "priority_class_name",
}


@dataclass(frozen=True)
class PodInputs:
    """What the pods are made of.

    Attributes:
        image: image of the agent's container.
        resolved: what the Agent comes to.
        defaults: the administrator's.
        dapr_digest: digest of the Dapr objects that the sidecar reads.
        kept: what runs of earlier revisions need besides.
        writing: who writes it down, and for which Secrets the pods were rolled.
    """

    image: str
    resolved: Resolved
    defaults: AgentDefaults
    dapr_digest: str
    kept: Kept
    writing: Writing = field(default_factory=Writing)


def deployment(agent: Agent, inputs: PodInputs) -> Manifest:
    """The Deployment. A new pod is ready before an old one goes, so a bad change never takes the last good pod."""
    annotations = {ANNOTATION_KEPT: inputs.kept.text(), **inputs.writing.annotations()}
    told = {name: text for name, text in annotations.items() if text}
    return child(DEPLOYMENT, agent, agent.metadata.name, annotations=told) | {
        "spec": {
            "replicas": 0 if agent.spec.suspend else agent.spec.replicas,
            "selector": {"matchLabels": selector(agent.metadata.name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "progressDeadlineSeconds": _PROGRESS_DEADLINE,
            "revisionHistoryLimit": 3,
            "template": template(agent, inputs),
        }
    }


def template(agent: Agent, inputs: PodInputs) -> Manifest:
    """Template of the pods."""
    spec, name, config = agent.spec, agent.metadata.name, inputs.resolved.config
    sidecar_resources = (spec.dapr.sidecar_resources if spec.dapr else None) or inputs.defaults.sidecar_resources
    secrets = [*((ref.name, ref.key) for ref in inputs.resolved.sidecar_secrets), *sorted(inputs.kept.sidecar)]
    annotations = {
        **(spec.pod_annotations or {}),
        **sidecar_annotations(name, secrets, sidecar_resources, inputs.resolved.observability),
        names.ANNOTATION_REVISION: config.revision,
        ANNOTATION_DAPR: inputs.dapr_digest,
    }
    if inputs.writing.rotation.rolled:
        annotations[ANNOTATION_ROLLED] = inputs.writing.rotation.rolled
    pod: Manifest = {
        "serviceAccountName": spec.service_account_name or name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(agent, inputs.resolved),
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(agent, inputs)],
        "volumes": [
            {"name": names.CONFIG_VOLUME, "configMap": {"name": names.config_map(name, config.revision)}},
            {"name": names.TMP_VOLUME, "emptyDir": {}},
            *team_volumes(config.team),
            *(spec.volumes or []),
        ],
    }
    pull_secrets = spec.image_pull_secrets or inputs.defaults.image_pull_secrets
    if pull_secrets:
        pod["imagePullSecrets"] = pull_secrets
    pod |= _present(spec, _OPTIONAL_POD_FIELDS)
    return {"metadata": {"labels": {**(spec.pod_labels or {}), **labels(name)}, "annotations": annotations}, "spec": pod}


def _container(agent: Agent, inputs: PodInputs) -> Manifest:
    spec = agent.spec
    container: Manifest = {
        "name": names.CONTAINER,
        "image": inputs.image,
        "args": ["serve"],
        "ports": [{"name": "http", "containerPort": names.APP_PORT, "protocol": "TCP"}],
        "env": _environment(agent, inputs),
        "resources": spec.resources or inputs.defaults.resources or _RESOURCES,
        "readinessProbe": _probe("/readyz", period=2, failures=3),
        "livenessProbe": _probe("/healthz", period=20, failures=6),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # A pod that ends tells its last words in its status, where `observe` reads them.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": names.CONFIG_VOLUME, "mountPath": names.CONFIG_DIR, "readOnly": True},
            {"name": names.TMP_VOLUME, "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
            *([{"name": names.TEAM_VOLUME, "mountPath": names.TEAM_DIR, "readOnly": True}] if spec.team else []),
            *(spec.volume_mounts or []),
        ],
    }
    if policy := spec.image_pull_policy or inputs.defaults.image_pull_policy:
        container["imagePullPolicy"] = policy
    if spec.env_from:
        container["envFrom"] = spec.env_from
    return container


def _environment(agent: Agent, inputs: PodInputs) -> list[Manifest]:
    name, resolved = agent.metadata.name, inputs.resolved
    secrets = [
        (names.ENV_DAPR_TOKEN, names.dapr_token_secret(name), names.TOKEN_KEY),
        (names.ENV_APP_TOKEN, names.app_token_secret(name), names.TOKEN_KEY),
        (names.ENV_AUDIT_KEY, names.audit_secret(name), names.TOKEN_KEY),
        *((names.secret_env(ref.name, ref.key), ref.name, ref.key) for ref in resolved.container_secrets),
    ]
    return [
        {"name": names.ENV_CONFIG, "value": names.CONFIG_PATH},
        {"name": names.ENV_POD, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        {"name": names.ENV_SPIFFE_ID, "value": names.spiffe_id(name, agent.metadata.namespace)},
        *({"name": env, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}} for env, secret, key in secrets),
        _optional_secret(names.ENV_FORMER_TOKEN, names.app_token_secret(name), names.FORMER_TOKEN_KEY),
        *(_optional_secret(names.secret_env(secret, key), secret, key) for secret, key in sorted(inputs.kept.container)),
        *(_observed(resolved.observability, {entry["name"] for entry in agent.spec.env or []})),
        *(agent.spec.env or []),
    ]


def _observed(observed: Observability, own: set[str]) -> list[Manifest]:
    """How much the agent logs, and where its spans go. A variable that the Agent gives itself is its own."""
    found: dict[str, str] = {names.ENV_LOG_LEVEL: observed.log_level} if observed.log_level != "info" else {}
    if observed.tracing and observed.tracing.otlp:
        found |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": observed.tracing.otlp,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": observed.tracing.sampling_rate,
        }
    return [{"name": name, "value": value} for name, value in found.items() if name not in own]


def _optional_secret(env: str, secret: str, key: str) -> Manifest:
    """A key that a pod starts without: the former token while callers go over to a new one, and what only earlier runs need."""
    ref = {"name": secret, "key": key, "optional": True}
    return {"name": env, "valueFrom": {"secretKeyRef": ref}}


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 5}


def _present(spec: AgentSpec, fields: dict[str, str]) -> dict[str, Any]:
    values = {key: getattr(spec, attribute) for key, attribute in fields.items()}
    return {key: value for key, value in values.items() if value}


def grace_seconds(agent: Agent, resolved: Resolved) -> int:
    """How long a pod may finish: the longest single call it may be in, and time to write down the result."""
    if agent.spec.termination_grace_period_seconds:
        return agent.spec.termination_grace_period_seconds
    return min(math.ceil(resolved.config.longest_call_seconds) + _GRACE_MARGIN, _MAX_GRACE)
