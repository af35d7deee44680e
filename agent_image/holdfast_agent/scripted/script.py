"""What a script may say, and clear words when it says something else."""

import re
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from holdfast_api.v1alpha1.types import seconds


class ScriptError(Exception):
    """A script cannot be used; the message says where and why."""


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


def _duration(text: str) -> str:
    seconds(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]


class ScriptModel(BaseModel):
    """Base of the parts: camelCase, immutable, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Fault(ScriptModel):
    """How the next attempts of a request fail; exactly one of status, hang and garbage."""

    times: Annotated[int, Field(ge=1)] = 1
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after: str | int | None = None
    hang: Duration | None = None
    garbage: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.status is not None) + (self.hang is not None) + self.garbage != 1:
            raise ValueError("give exactly one of status, hang and garbage")
        if self.retry_after is not None and self.status is None:
            raise ValueError("retryAfter belongs to status")
        return self


class Step(ScriptModel):
    """What a turn of the model and a tool have in common."""

    latency: Duration | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def latency_seconds(self) -> float:
        """How long to wait before the answer."""
        return seconds(self.latency) if self.latency else 0.0

    def fault(self, attempt: int) -> Fault | None:
        """How the attempt of that number, counted from 1, fails; None when it does not."""
        for fault in self.faults:
            if attempt <= fault.times:
                return fault
            attempt -= fault.times
        return None


class ToolCall(ScriptModel):
    """One call that the model asks for."""

    name: Annotated[str, Field(min_length=1)]
    arguments: dict[str, Any] = Field(default_factory=dict)


class Turn(Step):
    """One answer of the model: tool calls, or the final text."""

    tool_calls: tuple[ToolCall, ...] = ()
    answer: str | None = None
    repeat: Annotated[int, Field(ge=1, le=100_000)] = 1

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if bool(self.tool_calls) == (self.answer is not None):
            raise ValueError("give exactly one of toolCalls and answer")
        return self


class Rule(ScriptModel):
    """The turns for tasks that match."""

    task: Annotated[str, AfterValidator(_pattern)] | None = None
    turns: Annotated[tuple[Turn, ...], Field(min_length=1)]

    def matches(self, task: str) -> bool:
        """Whether this rule answers that task."""
        return self.task is None or re.search(self.task, task) is not None

    def turn(self, number: int) -> Turn | None:
        """The turn of that number, counted from 0, repeats included; None past the end."""
        for turn in self.turns:
            if number < turn.repeat:
                return turn
            number -= turn.repeat
        return None


class ScriptedTool(Step):
    """A tool at /tools/<name>."""

    result: Any = "done"


class Script(ScriptModel):
    """A whole script."""

    rules: tuple[Rule, ...] = ()
    tools: dict[str, ScriptedTool] = Field(default_factory=dict)

    def rule(self, task: str) -> Rule | None:
        """The first rule that matches."""
        return next((rule for rule in self.rules if rule.matches(task)), None)


def load(path: Path) -> Script:
    """Read a script.

    Raises:
        ScriptError: the file cannot be read, is no YAML, or says what a script cannot say.
    """
    try:
        return parse(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: cannot be read: {error}") from None
    except ScriptError as error:
        raise ScriptError(f"{path}: {error}") from None


def parse(text: str) -> Script:
    """Read a script from its text.

    Raises:
        ScriptError: as `load`.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScriptError(f"is no YAML: {' '.join(str(error).split())}") from None
    try:
        return Script.model_validate(data)
    except ValidationError as error:
        raise ScriptError(
            "; ".join(f"{_where(one['loc'])}{one['msg'].removeprefix('Value error, ')}" for one in error.errors()[:5])
        ) from None


def _where(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{path}: " if path else ""
