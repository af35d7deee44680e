"""How others read an Agent: Argo CD by the chart's Lua, and everybody who goes by kstatus (Helm 4, Flux) by its rules."""

from pathlib import Path
from typing import Any, NamedTuple

from lupa.lua51 import LuaRuntime  # the Lua of Argo CD is a 5.1 as well

HEALTH = Path(__file__).resolve().parents[2] / "charts/holdfast/files/argocd/health.lua"
Manifest = dict[str, Any]
_NOT_IN_ARGO = ("string", "io", "os", "debug", "package", "require", "math", "coroutine", "dofile", "loadfile", "python")


class Health(NamedTuple):
    """What Argo CD shows."""

    status: str
    message: str


def argo_health(agent: Manifest) -> Health:
    """Run the chart's health check on an Agent, with no more of Lua than Argo CD gives it."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.execute("getmetatable('').__index = nil")
    for name in _NOT_IN_ARGO:
        lua.globals()[name] = None
    lua.globals().obj = lua.table_from(agent, recursive=True)
    found = dict(lua.execute(HEALTH.read_text()))
    assert set(found) == {"status", "message"}
    return Health(**found)


def kstatus(thing: Manifest) -> str:
    """The generic rules of kstatus: Terminating, InProgress, Failed or Current. The first condition that decides wins."""
    metadata, status = thing["metadata"], thing.get("status", {})
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if "generation" in metadata and status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    conditions = status.get("conditions", [])
    for condition in conditions:
        if (condition["type"], condition["status"]) == ("Reconciling", "True"):
            return "InProgress"
        if (condition["type"], condition["status"]) == ("Stalled", "True"):
            return "Failed"
    # Without any condition an object counts as current, which is why the CRD starts observedGeneration at -1.
    ready = next((condition["status"] for condition in conditions if condition["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"
