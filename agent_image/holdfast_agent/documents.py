"""The documents of a run: their keys and shapes. Pure.

    run/<id>                  head: what was asked, when, by which revision, and how it ended. Mutable, by ETag
    run/<id>/<turn>/model     what the model said in that turn. Write-once
    run/<id>/<turn>/<call>    what the call number <call> of that turn came to, as the model reads it. Write-once
    run/<id>/<turn>/<call>/intent  that a call was begun which must not be made twice or may have to be undone. Mutable, by ETag
    run/<id>/<turn>/<call>/late  the answer of a call that was given up as unknown before. Write-once
    run/<id>/<turn>/<call>/undo  what undoing the call came to; an effect like a call. Write-once
    run/<id>/<turn>/evaluation  what the critic said of the answer of that turn. Write-once
    run/<id>/<turn>/compact     the summary of the turns before that one. Write-once
    run/<id>/context          the session as it was when the run began. Write-once
    run/<id>/segment/<n>      the messages of several turns in one piece, made at continue-as-new. Write-once
    open/<shard>              ids of runs that may not have ended. Mutable, by ETag
    revision/<hash>           one AgentConfig. Write-once

The part after `run/` is the effect's key. Whoever carries it out twice finds the first result under it.
"""

import re
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, Self

from holdfast_agent.heads import CANCEL, SUSPEND, Approval, Cancel, Control, Document, Head, Status, Trouble, known
from holdfast_agent.plan import Plan
from holdfast_agent.usage import Usage
from holdfast_api import names

__all__ = ["CANCEL", "SUSPEND", "Approval", "Cancel", "Control", "Document", "Head", "Plan", "Status", "Trouble", "Usage"]

TurnOpen = Literal["invalid", "candidate"]
CallOutcome = Literal["completed", "failed", "unknown", "rejected", "skipped"]
ID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
TURNS_PER_GENERATION: Final = 20
UNPACKED: Final = TURNS_PER_GENERATION + 1
"""Turns after the packed ones that a run can have: when the last of them meets a limit, the closing turn comes before any packing."""
SEGMENT_BYTES: Final = 512 * 1024


def head_key(run: str) -> str:
    """Where the head of a run is."""
    return f"run/{run}"


def model_key(run: str, turn: int) -> str:
    """Key of the model call of a turn; turns count from 1."""
    return f"{run}/{turn}/model"


def call_key(run: str, turn: int, call: int) -> str:
    """Key of a tool call; calls of a turn count from 0 in the order in which the model made them."""
    return f"{run}/{turn}/{call}"


def outgoing_key(key: str, epoch: int | None) -> str:
    """What a tool gets as idempotency key of the effect with that key: no other run's, whoever had the run's id before.

    Args:
        key: of a call (`call_key`), or of its undoing.
        epoch: see `Head`; None: the key alone, as runs have it that began before there was one.
    """
    if epoch is None:
        return key
    run, turn, call, *undoing = key.split("/")
    return "/".join((run, turn, f"{call}~{epoch}", *undoing))


def evaluation_key(run: str, turn: int) -> str:
    """Key of the critic's judgement of the answer of a turn."""
    return f"{run}/{turn}/evaluation"


def compact_key(run: str, turn: int) -> str:
    """Key of the summary that is made before the model call of a turn."""
    return f"{run}/{turn}/compact"


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


def task_digest(task: str, session: str | None = None) -> str:
    """Digest of what was asked."""
    return names.digest({"task": task} if session is None else {"task": task, "session": session}, 32)


@dataclass(frozen=True)
class ToolCall:
    """One call that the model asks for; `arguments` is the text that the model wrote, which may not be JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ModelTurn:
    """What the model said in one turn.

    Attributes:
        feedback: what it is told about it, as a user's message after this turn; empty: nothing.
        open: why an answer is not the run's answer yet: `invalid`, it does not fit and the model is told; `candidate`, a critic reads it.
        answer: the run's answer if it is not `content` as it stands.
        failure: `{"cause", "message"}` if the run ends with this turn, badly.
        estimated: the provider did not count tokens, so they were estimated.
        audit: `{"count", "hash"}`, the chain before this turn.
    """

    key: str
    content: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    model: str
    started: float
    ended: float
    finish_reason: str = ""
    attempt: int = 1
    feedback: str = ""
    open: TurnOpen | None = None
    answer: str | None = None
    failure: dict[str, str] | None = None
    estimated: bool = False
    audit: Document | None = None

    @property
    def number(self) -> int:
        """Which turn of its run it is, from 1."""
        return int(self.key.split("/")[1])

    def call_keys(self) -> list[str]:
        """Keys of its calls."""
        run = self.key.split("/")[0]
        return [call_key(run, self.number, call) for call in range(len(self.calls))]

    def dump(self) -> Document:
        """As JSON-ready data, without what is not there."""
        written = vars(self) | {"calls": [dict(vars(call)) for call in self.calls], "usage": self.usage.dump()}
        return {name: value for name, value in written.items() if value is not None and (value or name not in ("feedback", "estimated"))}

    @classmethod
    def load(cls, document: Document) -> Self:
        """From JSON-ready data; fields of a newer version are left out."""
        read = known(cls, document)
        calls = tuple(ToolCall(**known(ToolCall, call)) for call in read.pop("calls", ()))
        return cls(**read | {"calls": calls, "usage": Usage.load(read.get("usage"))})


@dataclass(frozen=True)
class ToolOutcome:
    """What a tool call came to, as the model reads it.

    Attributes:
        outcome: `failed`: the tool said so, or nothing of it is to be had; `unknown`: it may have happened; `rejected`: a person said no;
            `skipped`: a limit came before it.
        approval: what was asked and answered before the call.
        child: id of the run that the call began at another agent.
    """

    key: str
    tool: str
    call_id: str
    content: str
    is_error: bool
    started: float
    ended: float
    attempt: int = 1
    outcome: CallOutcome = "completed"
    approval: Approval | None = None
    child: str | None = None

    def cut(self, characters: int) -> Self:
        """The same with so much of its content, and one character more if there is more."""
        return self if len(self.content) <= characters else replace(self, content=self.content[: characters + 1])

    def dump(self) -> Document:
        """As JSON-ready data, without what is not there."""
        written = {name: value for name, value in vars(self).items() if value is not None}
        return written | ({"approval": asdict(self.approval)} if self.approval else {})

    @classmethod
    def load(cls, document: Document) -> Self:
        """From JSON-ready data; fields of a newer version are left out."""
        read = known(cls, document)
        read.setdefault("outcome", "failed" if read["is_error"] else "completed")
        if read.get("approval"):
            read["approval"] = Approval(**known(Approval, read["approval"]))
        return cls(**read)
