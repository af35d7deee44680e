"""The pod fields of an Agent, in the shapes of core/v1.

They are passed through to the Deployment, so their schema is not written here: the generator takes it from the models of the pinned
`kubernetes` client (see `holdfast_api.core_v1`), and the API server checks it. In Python they are plain data.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from holdfast_api.names import CONFIG_VOLUME, TEAM_VOLUME, TMP_VOLUME
from holdfast_api.v1alpha1.types import ApiModel, ObjectName, Rule, keyword, obeys

LabelKey = Annotated[str, StringConstraints(max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]
AnnotationValue = Annotated[str, StringConstraints(max_length=4096)]

_OWN_PREFIXES = ("dapr.io/", "holdfast.dev/", "app.kubernetes.io/")
_OWN_VOLUMES = (CONFIG_VOLUME, TMP_VOLUME, TEAM_VOLUME)
_NOT_OURS = " && ".join(f"{{0}}.name != '{name}'" for name in _OWN_VOLUMES)
_OURS = f"the volumes {', '.join(_OWN_VOLUMES[:-1])} and {_OWN_VOLUMES[-1]} are Holdfast's"

_KEYS = Rule(
    "self.all(key, !key.startsWith('dapr.io/') && !key.startsWith('holdfast.dev/') && !key.startsWith('app.kubernetes.io/'))",
    "keys under dapr.io/, holdfast.dev/ and app.kubernetes.io/ are Holdfast's: they come from the other fields",
    lambda keys: not any(key.startswith(_OWN_PREFIXES) for key in keys),
)
_KEY_PATTERN = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_QUALIFIED = Rule(
    f"self.all(key, key.matches('{_KEY_PATTERN}'))",
    "keys must be names of Kubernetes: letters, digits, dashes, dots and underscores, after a domain and a slash if need be",
    lambda keys: all(re.fullmatch(_KEY_PATTERN, key) for key in keys),
)
_VALUE_PATTERN = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
_LABELS = Rule(
    f"self.all(key, self[key].matches('{_VALUE_PATTERN}'))",
    "values of labels must hold only letters, digits, dashes, dots and underscores, and begin and end with a letter or digit",
    lambda labels: all(re.fullmatch(_VALUE_PATTERN, value) for value in labels.values()),
)
_ENV = Rule(
    "self.all(e, !e.name.startsWith('DAPR_') && !e.name.startsWith('HOLDFAST_') && e.name != 'APP_API_TOKEN')",
    "names that start with DAPR_ or HOLDFAST_, and APP_API_TOKEN, are set by Holdfast: choose another name",
    lambda env: not any(str(e.get("name")).startswith(("DAPR_", "HOLDFAST_")) or e.get("name") == "APP_API_TOKEN" for e in env),
)
_MOUNTS = Rule(
    f"self.all(m, !m.mountPath.startsWith('/etc/holdfast') && {_NOT_OURS.format('m')})",
    f"/etc/holdfast and {_OURS}: mount elsewhere, under another name",
    lambda mounts: not any(str(m.get("mountPath")).startswith("/etc/holdfast") or m.get("name") in _OWN_VOLUMES for m in mounts),
)
_CLEAN_PATH = "^(/([^/.:][^/:]*|[.][^/.:][^/:]*|[.][.][^/:]+))+$"
_PLACES = Rule(
    f"self.all(m, m.mountPath.matches('{_CLEAN_PATH}') && m.mountPath != '/etc')",
    "mountPath must be a path from the root without //, /./ and /../ and without a slash at its end, and neither / nor /etc",
    lambda mounts: all(re.fullmatch(_CLEAN_PATH, str(m.get("mountPath"))) and m.get("mountPath") != "/etc" for m in mounts),
)
_PREFIX = Rule(
    "self.all(e, !has(e.prefix) || !(e.prefix.startsWith('DAPR_') || e.prefix.startsWith('HOLDFAST_')))",
    "names that start with DAPR_ or HOLDFAST_ are set by Holdfast: choose another prefix",
    lambda sources: not any(str(e.get("prefix", "")).startswith(("DAPR_", "HOLDFAST_")) for e in sources),
)
_VOLUMES = Rule(
    f"self.all(v, {_NOT_OURS.format('v')})",
    f"{_OURS}: choose another name",
    lambda volumes: not any(v.get("name") in _OWN_VOLUMES for v in volumes),
)


def core(kind: str, *, keys: tuple[str, ...] = (), rules: tuple[Rule, ...] = ()) -> dict[str, Any]:
    """Ask the generator for core/v1 `kind` here; `keys` make a list a map, `rules` are checked on the whole."""
    extra: dict[str, Any] = {"x-core-v1": kind}
    if keys:
        extra["x-list-map-keys"] = list(keys)
    return extra | (keyword(*rules) if rules else {})


Objects = list[dict[str, Any]]


class DaprSidecar(ApiModel):
    """What can be said about the sidecar."""

    sidecar_resources: dict[str, Any] | None = Field(
        default=None, description="Requests and limits of daprd.", json_schema_extra=core("ResourceRequirements")
    )


class PodFields(ApiModel):
    """Fields that go into the Agent's pods."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._:/@]*$")] | None = Field(
        default=None, description="Image of the agent. Left out: the one that the operator is configured with."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(default=None, description="As in core/v1.")
    image_pull_secrets: Annotated[list[dict[str, Any]], Field(max_length=16)] | None = Field(
        default=None, description="Secrets to pull the image with.", json_schema_extra=core("LocalObjectReference", keys=("name",))
    )
    env: Annotated[Objects, Field(max_length=128), AfterValidator(_ENV.check)] | None = Field(
        default=None, description="Environment of the agent's container.", json_schema_extra=core("EnvVar", keys=("name",), rules=(_ENV,))
    )
    env_from: Annotated[Objects, Field(max_length=32), AfterValidator(_PREFIX.check)] | None = Field(
        default=None, description="Environment from ConfigMaps and Secrets.", json_schema_extra=core("EnvFromSource", rules=(_PREFIX,))
    )
    resources: dict[str, Any] | None = Field(
        default=None, description="Requests and limits of the agent's container.", json_schema_extra=core("ResourceRequirements")
    )
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] | None = Field(default=None, description="As in core/v1.")
    tolerations: Annotated[Objects, Field(max_length=32)] | None = Field(
        default=None, description="As in core/v1.", json_schema_extra=core("Toleration")
    )
    affinity: dict[str, Any] | None = Field(default=None, description="As in core/v1.", json_schema_extra=core("Affinity"))
    topology_spread_constraints: Annotated[Objects, Field(max_length=8)] | None = Field(
        default=None, description="As in core/v1.", json_schema_extra=core("TopologySpreadConstraint")
    )
    priority_class_name: ObjectName | None = Field(default=None, description="As in core/v1.")
    service_account_name: ObjectName | None = Field(
        default=None, description="An existing ServiceAccount. Left out: one without any right is made."
    )
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=86400)] | None = Field(
        default=None, description="How long a pod may finish what is running. Left out: the model's and the tools' timeouts decide."
    )
    pod_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32), obeys(_KEYS, _QUALIFIED, _LABELS)] | None = Field(
        default=None, description="Further labels of the pods.", json_schema_extra=keyword(_KEYS, _QUALIFIED, _LABELS)
    )
    pod_annotations: Annotated[dict[LabelKey, AnnotationValue], Field(max_length=32), obeys(_KEYS, _QUALIFIED)] | None = Field(
        default=None, description="Further annotations of the pods.", json_schema_extra=keyword(_KEYS, _QUALIFIED)
    )
    volumes: Annotated[Objects, Field(max_length=32), AfterValidator(_VOLUMES.check)] | None = Field(
        default=None,
        description="Volumes: configMap, secret, emptyDir and persistentVolumeClaim.",
        json_schema_extra=core("Volume", keys=("name",), rules=(_VOLUMES,)),
    )
    volume_mounts: Annotated[Objects, Field(max_length=32), obeys(_MOUNTS, _PLACES)] | None = Field(
        default=None,
        description="Where the volumes are mounted in the agent's container.",
        json_schema_extra=core("VolumeMount", keys=("mountPath",), rules=(_MOUNTS, _PLACES)),
    )
    dapr: DaprSidecar | None = Field(default=None, description="The sidecar.")
