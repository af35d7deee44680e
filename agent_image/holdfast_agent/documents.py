"""The documents of a run: their keys and shapes. Pure.

    run/<id>                  head: what was asked, when, by which revision, and how it ended. Mutable, by ETag
    run/<id>/<turn>/model     what the model said in that turn. Write-once
    run/<id>/<turn>/<call>    what the call number <call> of that turn came to, as the model reads it. Write-once
    run/<id>/segment/<n>      the messages of several turns in one piece, made at continue-as-new. Write-once
    open/<shard>              ids of runs that may not have ended. Mutable, by ETag
    revision/<hash>           one AgentConfig. Write-once

The part after `run/` is the effect's key. Whoever carries it out twice finds the first result under it.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Self

from holdfast_api import names

Status = Literal["RUNNING", "COMPLETED", "FAILED"]
ID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
TURNS_PER_GENERATION: Final = 20
SEGMENT_BYTES: Final = 512 * 1024

Document = dict[str, Any]


def head_key(run: str) -> str:
    """Where the head of a run is."""
    return f"run/{run}"


def model_key(run: str, turn: int) -> str:
    """Key of the model call of a turn; turns count from 1."""
    return f"{run}/{turn}/model"


def call_key(run: str, turn: int, call: int) -> str:
    """Key of a tool call; calls of a turn count from 0 in the order in which the model made them."""
    return f"{run}/{turn}/{call}"


def effect_document(key: str) -> str:
    """Where the result of the effect with that key is."""
    return f"run/{key}"


def segment_key(run: str, number: int) -> str:
    """Where a segment is; segments count from 0."""
    return f"run/{run}/segment/{number}"


def revision_key(revision: str) -> str:
    """Where a revision is."""
    return f"revision/{revision}"


def shard_key(shard: int) -> str:
    """Where a part of the index of open runs is."""
    return f"open/{shard}"


@dataclass(frozen=True)
class Usage:
    """What was used: model calls (turns), tool calls, and tokens as the provider counts them."""

    turns: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """Both together."""
        mine, more = vars(self), vars(other)
        return Usage(**{name: mine[name] + more[name] for name in mine})

    def dump(self) -> Document:
        """As JSON-ready data."""
        return dict(vars(self))

    @classmethod
    def load(cls, document: Document | None) -> Self:
        """From a document's `usage`; what is missing counts as zero."""
        known = document or {}
        return cls(**{name: int(known.get(name, 0)) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Trouble:
    """Why a run is waiting: the last attempt of a step failed and another follows.

    Attributes:
        key: the effect that failed.
        attempt: how many attempts failed so far.
        message: what the last one said.
        until: when the next attempt is due, in seconds since the epoch.
    """

    key: str
    attempt: int
    message: str
    until: float

    @property
    def pause(self) -> tuple[str, int]:
        """What steps that wait together have in common."""
        return self.key.rpartition("/")[0], self.attempt


@dataclass(frozen=True)
class Head:
    """What is known of a run at any time. Times are seconds since the epoch.

    Attributes:
        digest: over what was asked; the same id with another digest is another request.
        max_iterations: turns at most.
        longest_call: seconds that one call may take, so that a run may outlast its deadline by them.
        usage: everything once the run has ended; up to the last continue-as-new before that.
        packed: turns that are in segments.
        segments: number of segments.
        error: `{"type", "message"}` of a run that failed.
    """

    id: str
    task: str
    digest: str
    revision: str
    created: float
    deadline: float
    max_iterations: int
    longest_call: float
    status: Status = "RUNNING"
    result: str | None = None
    error: dict[str, str] | None = None
    ended: float | None = None
    usage: Usage = field(default_factory=Usage)
    packed: int = 0
    segments: int = 0
    trouble: Trouble | None = None

    @property
    def terminal(self) -> bool:
        """Whether the run has ended."""
        return self.status != "RUNNING"

    def dump(self) -> Document:
        """As JSON-ready data."""
        fields = {name: value for name, value in vars(self).items() if value is not None}
        fields["usage"] = self.usage.dump()
        return fields | ({"trouble": dict(vars(self.trouble))} if self.trouble else {})

    @classmethod
    def load(cls, document: Document) -> Self:
        """From JSON-ready data; fields of a newer version are left out."""
        known = _known(cls, document)
        known["usage"] = Usage.load(known.get("usage"))
        if known.get("trouble"):
            known["trouble"] = Trouble(**_known(Trouble, known["trouble"]))
        return cls(**known)

    def troubled(self, trouble: Trouble) -> Self:
        """The same run, waiting for its next attempt; unchanged if it has ended, or if a step that failed beside this one waits longer."""
        sooner = self.trouble is not None and self.trouble.pause == trouble.pause and self.trouble.until >= trouble.until
        return self if self.terminal or sooner else replace(self, trouble=trouble)

    def resumed(self, key: str, attempt: int) -> Self:
        """The same run when the attempt that it waited for has begun."""
        scope, failed = self.trouble.pause if self.trouble else ("", 0)
        return replace(self, trouble=None) if scope == key.rpartition("/")[0] and failed < attempt else self

    def completed(self, result: str, usage: Usage, at: float) -> Self:
        """The same run, ended well; unchanged if it had ended already."""
        if self.terminal:
            return self
        return replace(self, status="COMPLETED", result=result, usage=usage, ended=at, trouble=None)

    def failed(self, error: dict[str, str], usage: Usage, at: float) -> Self:
        """The same run, ended badly; unchanged if it had ended already."""
        if self.terminal:
            return self
        return replace(self, status="FAILED", error=error, usage=usage, ended=at, trouble=None)


def task_digest(task: str) -> str:
    """Digest of what was asked."""
    return names.digest({"task": task}, 32)


@dataclass(frozen=True)
class ToolCall:
    """One call that the model asks for; `arguments` is the text that the model wrote, which may not be JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ModelTurn:
    """What the model said in one turn."""

    key: str
    content: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    model: str
    started: float
    ended: float
    finish_reason: str = ""
    attempt: int = 1

    @property
    def number(self) -> int:
        """Which turn of its run it is, from 1."""
        return int(self.key.split("/")[1])

    def call_keys(self) -> list[str]:
        """Keys of its calls."""
        run = self.key.split("/")[0]
        return [call_key(run, self.number, call) for call in range(len(self.calls))]

    def dump(self) -> Document:
        """As JSON-ready data."""
        return vars(self) | {"calls": [dict(vars(call)) for call in self.calls], "usage": self.usage.dump()}

    @classmethod
    def load(cls, document: Document) -> Self:
        """From JSON-ready data; fields of a newer version are left out."""
        known = _known(cls, document)
        calls = tuple(ToolCall(**_known(ToolCall, call)) for call in known.pop("calls", ()))
        return cls(**known | {"calls": calls, "usage": Usage.load(known.get("usage"))})


@dataclass(frozen=True)
class ToolOutcome:
    """What a tool call came to, as the model reads it."""

    key: str
    tool: str
    call_id: str
    content: str
    is_error: bool
    started: float
    ended: float
    attempt: int = 1

    def cut(self, characters: int) -> Self:
        """The same with so much of its content, and one character more if there is more."""
        return self if len(self.content) <= characters else replace(self, content=self.content[: characters + 1])

    def dump(self) -> Document:
        """As JSON-ready data."""
        return dict(vars(self))

    @classmethod
    def load(cls, document: Document) -> Self:
        """From JSON-ready data; fields of a newer version are left out."""
        return cls(**_known(cls, document))


def _known(kind: Any, document: Document) -> Document:  # noqa: ANN401 - a dataclass
    return {name: value for name, value in document.items() if name in kind.__dataclass_fields__}
