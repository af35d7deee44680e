"""Tools that are Python functions from a ConfigMap, each call in a process that has no token and can be ended."""

import ctypes
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast_agent.outcome import Failure
from holdfast_agent.tools.pool import WorkerPool
from holdfast_agent.tools.spec import ToolResult, ToolSpec
from holdfast_api import names
from holdfast_api.config import ToolConfig

_PR_SET_DUMPABLE = 4
_OURS = ("DAPR_", "HOLDFAST_")


class PythonTool:
    """One function; see `open_python_tools`."""

    def __init__(self, spec: ToolSpec, pool: WorkerPool, timeout: float) -> None:
        """Keep what is needed for a call; `timeout` in seconds."""
        self.spec, self._pool, self._timeout = spec, pool, timeout

    @property
    def longest(self) -> float:
        """Twice its limit, for a free process and for the call; see `Tool.longest`."""
        return 2 * self._timeout

    async def check(self, arguments: Mapping[str, Any]) -> Failure | None:
        """Check the arguments where the annotations are; see `Tool.check`."""
        return await self._pool.check(self.spec.name, arguments, within=self._timeout)

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> ToolResult | Failure:
        """Call the function; see `Tool.call`."""
        return await self._pool.call(self.spec.name, arguments, key=key, within=self._timeout)


async def open_python_tools(tools: Sequence[ToolConfig], environ: Mapping[str, str]) -> tuple[WorkerPool, dict[str, PythonTool]]:
    """Import the modules in a first process and learn what the functions look like.

    Args:
        tools: those with a `python` part.
        environ: the agent's own environment; tokens are taken out of it here.

    Raises:
        ToolboxError: a module or function cannot be used; the message says where and how to mend it.
    """
    hide_from_children()
    wanted = {tool.name: tool.python.model_dump() for tool in tools if tool.python}
    pool = WorkerPool(wanted, scrubbed(environ))
    try:
        described = await pool.open()
    except BaseException:
        await pool.close()
        raise
    made = {}
    for tool in tools:
        about = described[tool.name]
        spec = ToolSpec(tool.name, tool.description or about["description"], about["inputSchema"])
        made[tool.name] = PythonTool(spec, pool, tool.timeout_seconds)
    return pool, made


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a user's function: all that the user set, nothing that opens the sidecar, the agent or a Secret of its tools."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_OURS) and name != names.ENV_APP_TOKEN}
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def hide_from_children() -> None:
    """Forbid processes of the same user to read this one's environment and memory through /proc (Linux).

    Without it, a scrubbed environment is worth nothing: `/proc/<parent>/environ` has the tokens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
