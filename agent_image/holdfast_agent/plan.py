"""What a run may use and which features it has: read from its revision once, when it is accepted. Pure.

The plan goes with the run, in its head and in the workflow's input, so whoever carries the run on decides as the one who accepted it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from holdfast_api.config import AgentConfig, ModelConfig, OutputConfig
from holdfast_api.names import MCP_SEPARATOR

_CONTEXT_SHARE: Final = 0.75
"""The part of a model's context that a run may fill. The rest is for what its tools say in the next turn, which nobody knows yet."""


def models_of(config: AgentConfig) -> tuple[ModelConfig, ...]:
    """All that a run may ask, each at its place: the first one, its fallbacks, those of `model.routes`, that of `memory.model`.

    The critic has none: no other model stands in for it.
    """
    others = [route.model for route in config.routes] + ([config.memory.model] if config.memory.model else [])
    return (config.model, *config.model.fallbacks, *others)


def _means(name: str, tool: str) -> bool:
    """Whether a name in a route is that tool, or stands for all tools of its server."""
    return tool == name or (name.endswith(MCP_SEPARATOR) and tool.startswith(name))


def _routes(config: AgentConfig) -> list[list[str]]:
    servers = {tool.name for tool in config.tools if tool.mcp}
    return [[f"{name}{MCP_SEPARATOR}" if name in servers else name for name in route.tools] for route in config.routes]


@dataclass(frozen=True)
class Plan:
    """Bounds and features of one run; None: no bound, or no such feature.

    Attributes:
        max_tokens: input and output together, of every model that works for the run.
        max_repeats: how often a call may be made again with the same arguments and come to the same result.
        on_exceeded: what follows when a bound is met: the run fails, or the model is asked for its best answer once.
        models: how many models may be asked: the first one and its fallbacks.
        routes: for each model of `model.routes`, the tools whose results it reads; `NAME__` stands for all tools of an MCP server.
        summarizer: place of the model that sums up; None: whichever is asked anyway.
        compact_tokens: tokens of one model call after which the turns before are summed up.
        max_repairs: how often the model is told why its answer does not fit `output.schema`, or that it was cut off.
        evaluation_rounds: answers that a critic may send back; None: there is no critic.
        session: whether the run belongs to a session.
    """

    max_iterations: int
    max_tokens: int | None = None
    max_tool_calls: int | None = None
    max_repeats: int | None = None
    on_exceeded: Literal["fail", "answer"] = "fail"
    models: int = 1
    compact_tokens: int | None = None
    max_repairs: int = 0
    evaluation_rounds: int | None = None
    session: bool = False
    routes: Sequence[Sequence[str]] | None = None
    summarizer: int | None = None

    @classmethod
    def of(cls, config: AgentConfig, *, session: bool = False) -> Self:
        """The plan of a run that begins with this configuration."""
        limits = config.limits
        models, own = models_of(config), 1 + len(config.model.fallbacks)
        return cls(
            max_iterations=limits.max_iterations,
            max_tokens=limits.max_tokens,
            max_tool_calls=limits.max_tool_calls,
            max_repeats=limits.max_repeated_calls,
            on_exceeded=limits.on_exceeded,
            models=own,
            compact_tokens=int(_CONTEXT_SHARE * min(model.context_tokens for model in models)),
            max_repairs=(config.output or OutputConfig(schema={})).max_repairs,
            evaluation_rounds=config.evaluation.max_rounds if config.evaluation else None,
            session=session,
            routes=_routes(config) or None,
            summarizer=len(models) - 1 if config.memory.model else None,
        )

    def reader(self, tools: Iterable[str]) -> int | None:
        """Place of the model that is to read the results of these tools; None: whichever is asked anyway."""
        called = set(tools)
        for number, wanted in enumerate(self.routes or ()):
            if any(_means(name, tool) for name in wanted for tool in called):
                return self.models + number
        return None

    def dump(self) -> dict[str, Any]:
        """As JSON-ready data, without what is not there."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Self:
        """From JSON-ready data; fields of a newer version are left out."""
        return cls(**{name: value for name, value in document.items() if name in cls.__dataclass_fields__})
