"""What the members of a team are told of each other. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from holdfast_api import names

_PHRASE: Final = 200
_DESCRIPTION: Final = 1000


def member(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the others are told of an Agent.

    Args:
        manifest: the Agent as the API server has it.
    """
    spec, metadata = manifest["spec"], manifest["metadata"]
    words = spec.get("description") or ". ".join(str(spec[field]) for field in ("role", "goal") if spec.get(field))
    return {
        "name": metadata["name"],
        "description": _cut(str(words), _DESCRIPTION),
        "capabilities": [_cut(str(phrase), _PHRASE) for phrase in spec.get("capabilities") or map(_told, spec.get("tools") or ())],
        "callers": sorted(map(str, (spec.get("access") or {}).get("callers") or ())),
        "endpoint": names.endpoint(metadata["name"], metadata["namespace"]),
    }


def _told(tool: Mapping[str, Any]) -> str:
    """A tool as a phrase."""
    name, first = str(tool.get("name", "")), str(tool.get("description") or "").strip().split("\n")[0]
    return f"{name}: {first}" if first else name


def _cut(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
