"""Structural schemas of the core/v1 kinds that an Agent passes through, from the models of the pinned `kubernetes` client.

The client's models are generated from Kubernetes' OpenAPI document, so nothing about core/v1 is written here but what a CRD needs and
that document does not say: which strings are quantities, what the bounds are, and which kinds of volume an Agent may use.
"""

from functools import cache
from typing import Any

from kubernetes.client import models

from holdfast_api.schema import Schema, structural

_MAX_STRING, _MAX_ITEMS, _MAX_PROPERTIES = 4096, 32, 64
_LONG_STRINGS = {("EnvVar", "value"): 32768}
_QUANTITY = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
    # Kubernetes' own OpenAPI says less, and what it lets through would only fail at the pods.
    "pattern": r"^([0-9]+([.][0-9]*)?|[.][0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$",
}
_QUANTITIES = {"sizeLimit", "divisor"}
_QUANTITY_MAPS = {"limits", "requests"}
_VOLUMES = {"name", "configMap", "secret", "emptyDir", "persistentVolumeClaim"}


@cache
def core_v1(kind: str) -> Schema:
    """Schema of core/v1 `kind`, bounded."""
    model: Any = getattr(models, f"V1{kind}")
    plain = model.model_json_schema(by_alias=True)
    if port := plain.get("$defs", {}).get("V1NetworkPolicyPort"):
        port["properties"]["port"] = {"x-kubernetes-int-or-string": True}  # a number, or the name of a container's port
    schema = structural(plain, core_v1)
    if kind == "Volume":
        schema["properties"] = {name: child for name, child in schema["properties"].items() if name in _VOLUMES}
    if kind == "ResourceRequirements":
        del schema["properties"]["claims"]  # they name entries of a pod field that an Agent does not have
    if kind == "LocalObjectReference":
        schema["required"] = ["name"]  # the key of the list that it stands in
    if kind == "VolumeMount":
        schema["properties"]["mountPropagation"]["enum"] = ["None", "HostToContainer"]  # the other one is for privileged containers
    for (owner, name), bound in _LONG_STRINGS.items():
        if owner == kind:
            schema["properties"][name]["maxLength"] = bound
    return _bounded(schema)


def _bounded(node: Schema, name: str = "") -> Schema:
    """Descriptions dropped (they would be nine tenths of the CRD), quantities told, and a bound on everything that has none."""
    if name in _QUANTITIES:
        return dict(_QUANTITY)
    out = {key: value for key, value in node.items() if key != "description"}
    if out.get("type") == "string" and "enum" not in out:
        out.setdefault("maxLength", _MAX_STRING)
    if "properties" in out:
        out["properties"] = {child: _bounded(schema, child) for child, schema in out["properties"].items()}
    if "items" in out:
        out["items"] = _bounded(out["items"])
        out.setdefault("maxItems", _MAX_ITEMS)
    if isinstance(out.get("additionalProperties"), dict):
        out["additionalProperties"] = dict(_QUANTITY) if name in _QUANTITY_MAPS else _bounded(out["additionalProperties"])
        out.setdefault("maxProperties", _MAX_PROPERTIES)
    return out
