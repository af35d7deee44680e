"""What a run has used. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True)
class Usage:
    """What was used: model calls (turns), tool calls, and tokens as the provider counts them."""

    turns: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def beside(self) -> "Usage":
        """The tokens alone: of a model call that is no turn of the run, such as a critic's."""
        return replace(self, turns=0, tool_calls=0)

    def plus(self, other: "Usage") -> "Usage":
        """Both together."""
        mine, more = vars(self), vars(other)
        return Usage(**{name: mine[name] + more[name] for name in mine})

    def dump(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return dict(vars(self))

    @classmethod
    def load(cls, document: Mapping[str, Any] | None) -> Self:
        """From a document's `usage`; what is missing counts as zero."""
        known = document or {}
        return cls(**{name: int(known.get(name, 0)) for name in cls.__dataclass_fields__})
