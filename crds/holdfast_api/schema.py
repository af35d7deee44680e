"""pydantic models -> the structural OpenAPI schema that a CRD takes, and the JSON Schema that editors take.

pydantic writes JSON Schema with `$ref`, `anyOf: [.., null]` and `title`; a CRD wants none of it. Three private keywords that the models
carry in `json_schema_extra` are carried out here:

    x-core-v1: Kind           the schema of core/v1 Kind goes here (handed in by the generator, which has the client's models)
    x-list-map-keys: [key]    the list is a map with these keys, so that server-side apply merges it item by item
    x-list-set: true          the list is a set: none twice, each added and removed by itself
    x-free-object: true       any JSON object; unknown fields are kept

Defaults are written into the CRD only where Kubernetes itself needs them (`spec.replicas`, for /scale): a default rewrites users' objects,
which GitOps tools then see as drift. The others are told in the description and filled in by the models.
"""

from collections.abc import Callable, Mapping
from typing import Any

from holdfast_api import names
from holdfast_api.defaults import AgentDefaults
from holdfast_api.durations import DURATION_PATTERN
from holdfast_api.v1alpha1 import AgentSpec, AgentStatus
from holdfast_api.v1alpha1.agent import AGENT_RULES
from holdfast_api.v1alpha1.types import keyword

Schema = dict[str, Any]
CoreV1 = Callable[[str], Schema]
"""Kind of core/v1 -> its structural schema."""

_DROPPED = {
    "title",
    "additionalProperties",
    "propertyNames",
    "patternProperties",
    "default",
    "x-core-v1",
    "x-list-map-keys",
    "x-list-set",
    "x-free-object",
    "const",
}


def structural(model_schema: Schema, core_v1: CoreV1) -> Schema:
    """A pydantic JSON Schema without `$ref`, null, titles and defaults, with the private keywords carried out."""
    return _node(model_schema, model_schema.get("$defs", {}), core_v1)


def _node(node: Schema, defs: Mapping[str, Schema], core_v1: CoreV1) -> Schema:
    node = _merged(node, defs)
    out: Schema = {key: value for key, value in node.items() if key not in _DROPPED and not key.startswith("$")}
    if "const" in node:
        out["enum"] = [node["const"]]
    if node.get("pattern") == DURATION_PATTERN:
        out["description"] = f"{out.get('description', '')} A duration, such as 90s or 24h.".strip()
    if node.get("default") not in (None, "", [], {}):
        out["description"] = f"{out.get('description', '')} Default: {_literal(node['default'])}.".strip()
    if "x-core-v1" in node:
        return _core(node, out, core_v1)
    if "properties" in node:
        out["properties"] = {name: _node(child, defs, core_v1) for name, child in node["properties"].items()}
    values = node.get("additionalProperties") or next(iter(node.get("patternProperties", {}).values()), None)
    if isinstance(values, dict):
        out["additionalProperties"] = _node(values, defs, core_v1)
    if "items" in node:
        out["items"] = _node(node["items"], defs, core_v1)
    if node.get("x-free-object"):
        out.pop("additionalProperties", None)
        out["x-kubernetes-preserve-unknown-fields"] = True
    return _list_map(node, out)


def _merged(node: Schema, defs: Mapping[str, Schema]) -> Schema:
    """Follow `$ref` and drop the null branch of `anyOf`; what stands beside them wins."""
    if "anyOf" in node:
        (branch,) = [part for part in node["anyOf"] if part.get("type") != "null"]
        node = _merged(branch, defs) | {key: value for key, value in node.items() if key != "anyOf"}
    if "$ref" in node:
        target = _merged(defs[node["$ref"].rsplit("/", 1)[1]], defs)
        node = target | {key: value for key, value in node.items() if key != "$ref"}
    return node


def _core(node: Schema, out: Schema, core_v1: CoreV1) -> Schema:
    kind = core_v1(node["x-core-v1"])
    if node.get("type") != "array":
        return {key: value for key, value in kind.items() if key != "description"} | {"description": out["description"]}
    out["items"] = {key: value for key, value in kind.items() if key != "description"}
    return _list_map(node, out)


def _list_map(node: Schema, out: Schema) -> Schema:
    if keys := node.get("x-list-map-keys"):
        out |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}
    elif node.get("x-list-set"):
        out["x-kubernetes-list-type"] = "set"
    elif out.get("type") == "array":
        out["x-kubernetes-list-type"] = "atomic"
    return out


def _literal(value: Any) -> str:  # noqa: ANN401 - any default
    return str(value).lower() if isinstance(value, bool) else str(value)


def spec_schema(core_v1: CoreV1) -> Schema:
    """Structural schema of `spec`."""
    schema = structural(AgentSpec.model_json_schema(by_alias=True), core_v1)
    schema["properties"]["replicas"]["default"] = 1
    return schema


def status_schema(core_v1: CoreV1) -> Schema:
    """Structural schema of `status`. The default -1 keeps kstatus, Helm and `kubectl wait` from trusting an Agent never visited."""
    schema = structural(AgentStatus.model_json_schema(by_alias=True), core_v1)
    return schema | {"default": {"observedGeneration": -1}}


def crd(core_v1: CoreV1) -> Schema:
    """The CustomResourceDefinition."""
    schema = {
        "type": "object",
        "description": "One durable LLM agent: Holdfast runs it as a Deployment with a Dapr sidecar.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(core_v1),
            "status": status_schema(core_v1),
        },
        **keyword(*AGENT_RULES),
    }
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": _COLUMNS,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": "agent",
                "shortNames": ["hfa"],
                "categories": ["holdfast"],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False) -> Schema:
    # Priority 0 is left out as the server leaves it out: what differs from the stored text is a conflict between kubectl and Helm.
    return {"name": name, "type": kind, "jsonPath": path} | ({"priority": 1} if wide else {})


_COLUMNS = [
    _column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
    _column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
    _column("Replicas", ".status.readyReplicas", "integer"),
    _column("Model", ".status.model"),
    _column("Age", ".metadata.creationTimestamp", "date"),
    _column("Message", '.status.conditions[?(@.type=="Ready")].message', wide=True),
    _column("App-ID", ".metadata.name", wide=True),
    _column("Revision", ".status.revision", wide=True),
    _column("Endpoint", ".status.endpoint", wide=True),
]


def editor_schema(core_v1: CoreV1) -> Schema:
    """JSON Schema of an Agent manifest for editors: unknown fields are errors, as with `kubectl apply`."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"Agent ({names.GROUP_VERSION})",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": names.GROUP_VERSION},
            "kind": {"const": names.KIND},
            "metadata": {"type": "object"},
            "spec": _closed(spec_schema(core_v1)),
            "status": {"type": "object"},
        },
    }


def defaults_schema(core_v1: CoreV1) -> Schema:
    """JSON Schema of the chart's value `agents`: what the operator reads from HOLDFAST_DEFAULTS_FILE."""
    schema = _closed(structural(AgentDefaults.model_json_schema(by_alias=True), core_v1))
    schema["properties"]["image"].pop("minLength", None)  # empty: the chart's own
    return schema


def _closed(node: Schema) -> Schema:
    """The same schema, with unknown fields refused and without Kubernetes' own keywords."""
    out = {key: value for key, value in node.items() if not key.startswith("x-kubernetes-")}
    if "properties" in node:
        out["properties"] = {name: _closed(child) for name, child in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            out[key] = _closed(node[key])
    return out
