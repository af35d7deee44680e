"""Tools that are not known beforehand: whoever has them says what there is, and it may be something else tomorrow."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast_agent.outcome import Failure
from holdfast_agent.tools.spec import Tool, ToolSpec
from holdfast_api.names import MCP_SEPARATOR


@dataclass(frozen=True)
class Health:
    """How a source stands.

    Attributes:
        tool: its name in the configuration.
        up: whether it listed its tools when it was last asked; None: it was not asked yet.
        since: seconds since the epoch.
        reason: why it is down, for people; may hold words of the other side.
        functions: what the model may call.
        left_out: what it may not, though it is listed or allowed, and why.
    """

    tool: str
    up: bool | None
    since: float
    reason: str = ""
    functions: tuple[str, ...] = ()
    left_out: str = ""


class Source(ABC):
    """One item of the configuration with tools of its own.

    Attributes:
        name: of the item; the model calls its tools `<item>__<name there>`.
        specs: what the model sees now; another tuple when it changes.
        health: how it stands.
    """

    name: str
    specs: tuple[ToolSpec, ...]
    health: Health

    @abstractmethod
    async def settled(self) -> None:
        """Return once it was asked for its tools, or has had its time for that."""

    @abstractmethod
    def function(self, name: str) -> Tool:
        """The tool that the model calls by this name, whether there is one or not: calling it shows."""

    @abstractmethod
    async def spec(self, name: str) -> ToolSpec | Failure:
        """What a tool of that name looks like, or why that is not known."""

    @abstractmethod
    def stored(self, key: str) -> None:
        """What the call of that key came to is stored, so nothing need be kept of it elsewhere. Does not wait."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What spans and metrics say of a call: `holdfast.tool` is the item."""


def find(tools: Mapping[str, Tool | Source], name: str) -> Tool | Source | None:
    """Whoever answers to a name: a tool, or the source that has it. An item that is a source is no tool itself."""
    found = tools.get(name)
    if found is not None and not isinstance(found, Source):
        return found
    return next((tool for tool in tools.values() if isinstance(tool, Source) and name.startswith(tool.name + MCP_SEPARATOR)), None)
