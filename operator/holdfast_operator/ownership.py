"""Which part of a live object is ours, and is it as we want it?

Server-side apply records in `managedFields` every path that a manager owns. The values at our paths are exactly what we last applied
unless somebody changed them, and whoever changes a field takes its ownership. So the digest of the owned part equals the digest of the
manifest as long as nothing drifted; what other managers add does not matter, and nothing has to be remembered across a restart.
Where the server rewrites a value (`cpu: "0.5"` becomes `500m`) the two digests differ for ever; the caller remembers such pairs.
"""

import json
from functools import lru_cache
from typing import Any

from holdfast_api import names

Manifest = dict[str, Any]
_IDENTITY = ("apiVersion", "kind", "status")


def wanted_digest(manifest: Manifest, *, metadata_only: bool = False) -> str:
    """Digest of what `owned_digest` finds when the live object is as the manifest says."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in {"name", "namespace"}}
    content = {} if metadata_only else {key: value for key, value in manifest.items() if key not in {*_IDENTITY, "metadata"}}
    return names.digest({"metadata": metadata, **content}, 16)


def owned_digest(live: Manifest, *, metadata_only: bool = False) -> str:
    """Digest of the part of a live object that our apply owns; empty when we own nothing."""
    fields = _our_fields(live)
    if fields is None:
        return ""
    if metadata_only:
        fields = {"f:metadata": fields.get("f:metadata", {})}
    return names.digest(_project(live, fields), 16)


def owned(live: Manifest) -> Manifest:
    """The part of a live object that our apply owns."""
    fields = _our_fields(live)
    found: Manifest = _project(live, fields) if fields else {}
    return found


def controlled_by(live: Manifest, uid: str) -> bool:
    """Whether the object's controller is the one with this uid."""
    return any(ref.get("controller") and ref.get("uid") == uid for ref in live["metadata"].get("ownerReferences", ()))


def other_managers(live: Manifest) -> set[str]:
    """Managers besides us that own a part of the object's content, not counting status."""
    entries = live["metadata"].get("managedFields", ())
    return {entry.get("manager", "") for entry in entries if not entry.get("subresource")} - {names.FIELD_MANAGER}


def _our_fields(live: Manifest) -> Manifest | None:
    for entry in live["metadata"].get("managedFields", ()):
        if entry.get("manager") == names.FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            fields: Manifest = entry.get("fieldsV1", {})
            return fields
    return None


def _project(value: Any, fields: Manifest) -> Any:  # noqa: ANN401 - any JSON value
    """The part of a value that a `fieldsV1` set names. A leaf owns the whole value; `.` alone owns an empty map."""
    if not fields:
        return value
    parts = [(path, inner) for path, inner in fields.items() if path != "."]
    if isinstance(value, dict):
        return {path[2:]: _project(value[path[2:]], inner) for path, inner in parts if path[2:] in value}
    if isinstance(value, list):
        return _project_list(value, parts)
    return value


def _project_list(items: list[Any], parts: list[tuple[str, Manifest]]) -> list[Any]:
    keyed = [(_identity(path[2:]), inner) for path, inner in parts if path.startswith("k:")]
    if not keyed:
        members = {path[2:] for path, _ in parts if path.startswith("v:")}
        return [item for item in items if names.canonical(item) in members]
    return [
        _project(item, inner) for item in items for identity, inner in keyed if all(item.get(field) == value for field, value in identity)
    ]


@lru_cache(maxsize=4096)
def _identity(text: str) -> tuple[tuple[str, Any], ...]:
    """Key fields of an associative list's item, from their JSON; the same few texts come with every event."""
    return tuple(json.loads(text).items())
