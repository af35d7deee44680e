"""What a tool is to the rest of the agent: a name, a schema, and a call that ends in a result or a failure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast_agent.outcome import Failure

MAX_RESULT_BYTES = 1024 * 1024
"""Longest result of one call. A model cannot use more, and every turn carries the results of all turns before it."""


@dataclass(frozen=True)
class ToolSpec:
    """What the model sees of a tool.

    Attributes:
        name: what the model calls it.
        description: what it is for, in words.
        input_schema: JSON Schema of the arguments, an object.
    """

    name: str
    description: str
    input_schema: dict[str, Any]


@dataclass(frozen=True)
class ToolResult:
    """What a call returned: text, or JSON text, for the model."""

    content: str


@dataclass(frozen=True)
class Pending:
    """The call has been taken and is not done: asked again with the same key, the tool tells how it stands.

    Attributes:
        message: what is waited for, for people.
        trouble: why nothing could be learned of it just now; empty: it is going on.
    """

    message: str
    trouble: str = ""


class ToolboxError(Exception):
    """A tool cannot be offered at all: the message names the tool, the problem and the fix."""


class Tool(Protocol):
    """One tool, ready to be called."""

    @property
    def spec(self) -> ToolSpec:
        """What the model sees."""
        ...

    @property
    def longest(self) -> float:
        """Seconds that a call takes at most as a rule, with what it may have to wait for inside the agent."""
        ...

    async def check(self, arguments: Mapping[str, Any]) -> Failure | None:
        """What is wrong with the arguments; None when they fit. Nothing outside the agent hears of it, and `call` checks them again."""
        ...

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> ToolResult | Failure | Pending:
        """Call it once. Bounded in time and size; never raises but on cancellation."""
        ...
