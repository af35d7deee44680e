"""JSON Schema as models understand it: without references, unions with null, and titles.

Dapr's Conversation API and several providers drop or refuse `$ref` and `anyOf`, often in silence. So what pydantic writes is
inlined, an optional value becomes a value that may be left out, and a recursive type stops at its first repetition.
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_DROPPED = frozenset({"$defs", "title", "discriminator"})
_REF = "#/$defs/"


def flatten(schema: Mapping[str, Any]) -> Schema:
    """The same schema, flat as far as it can be."""
    return _flat(schema, schema.get("$defs", {}), ())


def _flat(schema: Mapping[str, Any], defs: Mapping[str, Any], within: tuple[str, ...]) -> Schema:
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(_REF):
        name = reference.removeprefix(_REF)
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        target: Schema = {"type": "object"} if name in within else _flat(defs.get(name, {}), defs, (*within, name))
        return target | _flat(rest, defs, within)
    merged: Schema = {}
    for keyword in ("anyOf", "oneOf", "allOf"):
        merged |= _union(schema.get(keyword), keyword, defs, within)
    for key, value in schema.items():
        if key in _DROPPED or key in {"anyOf", "oneOf", "allOf"} or (key == "default" and value is None):
            continue
        if key == "const":
            merged["enum"] = [value]
        else:
            merged[key] = _value(key, value, defs, within)
    return merged


def _union(branches: Any, keyword: str, defs: Mapping[str, Any], within: tuple[str, ...]) -> Schema:  # noqa: ANN401 - any JSON value
    if not branches:
        return {}
    kept = [_flat(branch, defs, within) for branch in branches if branch.get("type") != "null"]
    if len(kept) == 1:
        return kept[0]
    return {"allOf" if keyword == "allOf" else "anyOf": kept}


def _value(key: str, value: Any, defs: Mapping[str, Any], within: tuple[str, ...]) -> Any:  # noqa: ANN401 - any JSON value
    if key in {"properties", "patternProperties"}:
        return {name: _flat(part, defs, within) for name, part in value.items()}
    if key in {"items", "additionalProperties"} and isinstance(value, Mapping):
        return _flat(value, defs, within)
    if key == "prefixItems":
        return [_flat(part, defs, within) for part in value]
    return value
