"""The field reference, docs/reference.md, written from the same schema as the CRD: a page that cannot fall behind."""

from collections.abc import Iterator

from holdfast_api.durations import DURATION_PATTERN
from holdfast_api.schema import CoreV1, Schema, spec_schema, status_schema

_HEAD = """# Every field of an Agent

Generated from the models by `make generate`; `kubectl explain agent.spec` says the same. Fields in the shapes of core/v1 are listed by name
only: they are described in the Kubernetes documentation of Pods.

"""
_CORE_LISTS = {"env[]", "envFrom[]", "imagePullSecrets[]", "tolerations[]", "topologySpreadConstraints[]", "volumeMounts[]", "volumes[]"}
_CORE_FIELDS = {"affinity", "dapr.sidecarResources", "networkPolicy.egress[]", "networkPolicy.ingressFrom[]", "resources", *_CORE_LISTS}


def reference(core_v1: CoreV1) -> str:
    """The page as Markdown."""
    return _HEAD + _table("spec", spec_schema(core_v1)) + "\n" + _table("status", status_schema(core_v1))


def _table(title: str, schema: Schema) -> str:
    rows = [f"## {title}\n", "| field | type | meaning |", "|---|---|---|"]
    rows += [f"| `{path}` | {_type(node)} | {_meaning(node)} |" for path, node in _fields(schema, "")]
    rules = [rule["message"] for rule in schema.get("x-kubernetes-validations", [])]
    rows += ["", *(f"- {message}" for message in rules)] if rules else []
    return "\n".join(rows) + "\n"


def _fields(schema: Schema, prefix: str) -> Iterator[tuple[str, Schema]]:
    for name, node in sorted(schema.get("properties", {}).items()):
        path = f"{prefix}{name}"
        yield path, node
        inner, suffix = (node["items"], "[]") if node.get("type") == "array" else (node, "")
        if path + suffix not in _CORE_FIELDS and not inner.get("x-kubernetes-preserve-unknown-fields"):
            yield from _fields(inner, f"{path}{suffix}.")


def _type(node: Schema) -> str:
    if "enum" in node:
        return " \\| ".join(f"`{value}`" for value in node["enum"])
    if node["type"] == "array":
        return f"list of {node['items'].get('type', 'object')}, at most {node['maxItems']}"
    if node.get("pattern") == DURATION_PATTERN:
        return "duration"
    bounds = [f"{word} {node[key]}" for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most")) if key in node]
    return f"{node['type']} {' '.join(bounds)}{' characters' if 'maxLength' in node else ''}".strip()


def _meaning(node: Schema) -> str:
    own = "properties" in node or node.get("type") == "array"
    rules = [rule["message"] for rule in node.get("x-kubernetes-validations", [])] if own else []
    items = node.get("items", {})
    rules += [rule["message"] for rule in items.get("x-kubernetes-validations", [])]
    text = " ".join([node.get("description", ""), *(f"Rule: {message}." for message in rules)])
    return text.replace("|", "\\|").replace("\n", " ").strip()
