"""What a script may say, and clear words when it says something else."""

import re
from dataclasses import dataclass
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
Pattern = Annotated[str, AfterValidator(_pattern)]


@dataclass(frozen=True)
class Asked:
    """What rules look at.

    Attributes:
        model: name that is asked for.
        task: text of the last user message.
        system: text of the system prompt.
        messages: texts of all messages, one per line.
        tools: whether tools are offered.
    """

    model: str
    task: str
    system: str
    messages: str
    tools: bool


class ScriptModel(BaseModel):
    """Base of the parts: camelCase, immutable, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Fault(ScriptModel):
    """How the next attempts of a request fail; exactly one of status, hang, garbage, size and endless.

    Attributes:
        message: what the error of `status` says, if not the usual.
        size: bytes of an answer that is otherwise in order, status 200.
        endless: an answer that goes on for as long as somebody reads it.
        binary: `size` and `endless` are of bytes that are no text.
    """

    times: Annotated[int, Field(ge=1)] = 1
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after: str | int | None = None
    message: str | None = None
    hang: Duration | None = None
    garbage: bool = False
    size: Annotated[int, Field(ge=0, le=1 << 30)] | None = None
    endless: bool = False
    binary: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = (self.status is not None, self.hang is not None, self.garbage, self.size is not None, self.endless)
        if sum(kinds) != 1:
            raise ValueError("give exactly one of status, hang, garbage, size and endless")
        if self.status is None and (self.retry_after is not None or self.message is not None):
            raise ValueError("retryAfter and message belong to status")
        if self.binary and self.size is None and not self.endless:
            raise ValueError("binary belongs to size and endless")
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
    """One call that the model asks for; arguments that are a text are handed out as they are, be they JSON or not."""

    name: Annotated[str, Field(min_length=1)]
    arguments: dict[str, Any] | str = Field(default_factory=dict)


class TurnUsage(ScriptModel):
    """Tokens that an answer is said to have cost."""

    input: Annotated[int, Field(ge=0)]
    output: Annotated[int, Field(ge=0)]


class Turn(Step):
    """One answer of the model: tool calls, or the final text. An answer that is no text is given as its JSON.

    Attributes:
        finish_reason: if it is not the usual one, such as `length`.
    """

    tool_calls: tuple[ToolCall, ...] = ()
    answer: Any = None
    usage: TurnUsage | None = None
    finish_reason: str | None = None
    repeat: Annotated[int, Field(ge=1, le=100_000)] = 1

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if bool(self.tool_calls) == (self.answer is not None):
            raise ValueError("give exactly one of toolCalls and answer")
        return self


class Rule(ScriptModel):
    """The turns for requests that match: all conditions that are given must hold.

    Attributes:
        task: searched in the last message of the user.
        system: searched in the system prompt.
        messages: searched in all messages, one per line.
        tools: whether tools are offered.
        model: name of the model that is asked for.
    """

    task: Pattern | None = None
    system: Pattern | None = None
    messages: Pattern | None = None
    tools: bool | None = None
    model: str | None = None
    turns: Annotated[tuple[Turn, ...], Field(min_length=1)]

    def matches(self, request: Asked) -> bool:
        """Whether this rule answers that request."""
        texts = ((self.task, request.task), (self.system, request.system), (self.messages, request.messages))
        found = all(pattern is None or re.search(pattern, text) for pattern, text in texts)
        return found and self.tools in {None, request.tools} and self.model in {None, request.model}

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

    def rule(self, request: Asked) -> Rule | None:
        """The first rule that matches."""
        return next((rule for rule in self.rules if rule.matches(request)), None)


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
