"""The head of a run and every change that it can go through. Pure: each change gives another head.

All that people and the loop tell each other is in this one document, changed by ETag, so whatever happens at once has an order: a cancel
that was stored is seen by the step that wants to complete the run, and an approval by the step that is about to wait for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Self

from holdfast_agent.plan import Plan
from holdfast_agent.usage import Usage

Status = Literal["RUNNING", "COMPLETED", "FAILED", "CANCELED"]
Control = Literal["cancel", "suspend"]
WaitKind = Literal["retry", "approval", "suspend", "unknown", "agent"]
Decision = Literal["approved", "rejected", "timedOut"]
CANCEL: Final[Control] = "cancel"
CANCELED: Final = "Canceled"
"""Type of the error of a run that was canceled."""
SUSPEND: Final[Control] = "suspend"
PUBLISHED: Final = "published"
"""What is said of the outbox, after the end has been sealed."""
ERASING: Final = "erasing"
"""Beside what a head holds of its run: which sweeper is about to erase it. Not the run's own, so no `Head` has it."""
Document = dict[str, Any]


def known(kind: Any, document: Mapping[str, Any]) -> Document:  # noqa: ANN401 - a dataclass
    """The fields of a document that this version has; those of a newer one are left out."""
    return {name: value for name, value in document.items() if name in kind.__dataclass_fields__}


@dataclass(frozen=True)
class Trouble:
    """Why a step is waiting, and with it the run.

    Attributes:
        key: the effect that waits.
        attempt: the round of steps after which it waits. In a run without a plan it names the wait (`loop.poke_event`).
        message: for people: what the last attempt said, or what is waited for.
        until: when it is looked at again at the latest, in seconds since the epoch.
        kind: `retry`: an attempt failed and another follows; `approval`: a person decides; `suspend`: until it is resumed; `unknown`:
            another process may be carrying the call out; `agent`: another agent is at it.
        failed: attempts that failed before; None: written by a version that did not say.
    """

    key: str
    attempt: int
    message: str
    until: float
    kind: WaitKind = "retry"
    failed: int | None = None

    @property
    def scope(self) -> str:
        """The turn; steps of one turn wait together."""
        return self.key.rpartition("/")[0]


@dataclass(frozen=True)
class Cancel:
    """That a run is to end, by whom (as the caller says), and whether it was ended by force: then nothing more was undone."""

    at: float
    reason: str = ""
    forced: bool = False
    by: str = ""


@dataclass(frozen=True)
class Approval:
    """A question to a person about one call; `digest` is over its canonical arguments, so a yes is a yes to these alone.

    Attributes:
        asked: when, in seconds since the epoch.
        until: when `on_timeout` takes the place of an answer.
        decision: None while nobody has answered.
        decided: when somebody did, or the time ran out.
        by: who did, as the caller says.
    """

    tool: str
    digest: str
    asked: float
    until: float
    on_timeout: Literal["reject", "approve", "fail"] = "reject"
    decision: Decision | None = None
    reason: str = ""
    decided: float | None = None
    by: str = ""


@dataclass(frozen=True)
class Head:
    """What is known of a run at any time. Times are seconds since the epoch.

    Attributes:
        digest: over what was asked; the same id with another digest is another request.
        max_iterations: turns at most; of runs without a plan.
        longest_call: seconds that one call may take, so that a run may outlast its deadline by them.
        usage: everything once the run has ended; up to the last continue-as-new before that.
        packed: turns that are in segments.
        segments: number of segments.
        error: `{"type", "message"}` of a run that failed or was canceled.
        trouble: of the steps that wait, the one that is due first.
        beside: the others of that turn, in the order in which they are due.
        plan: None: begun by a version that had none.
        model: label of the model that is asked first, and `critic`, of the one that reads its answers.
        suspended: since when.
        approvals: by `<turn>/<call>`, until the call is done.
        ending: `{"status", "error"}` while what was done is undone.
        exceeded: the limit that made the model answer early.
        evaluation: `{"accepted", "rounds"}`, what the critic said in the end.
        trace: the caller's traceparent.
        epoch: when it began, in milliseconds: part of what tools get as idempotency key, since an id can be used again; None: begun by a
            version that did not say it there.
        callers: app ids of the agents that led to it, the first one first; empty: nobody's run asked for it.
        trigger: what began it by itself: `{"kind": "schedule", "name", "tick"}` or `{"kind": "topic", "name", "component", "topic",
            "event_id"?, "event_source"?}`; None: a request did, or a version that did not say.
        audit: `{"count", "hash", "mac"}`, the anchor of the chain.
        publish: `{"component", "topic"}`, where its end is told; None: nowhere. `published`: when that was done.
        unknown: what a newer version wrote beside all that. It stays in the document whoever writes it, and is sealed with it.
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
    beside: tuple[Trouble, ...] = ()
    plan: Plan | None = None
    model: str | None = None
    critic: str | None = None
    session: str | None = None
    cancel: Cancel | None = None
    suspended: float | None = None
    approvals: dict[str, Approval] = field(default_factory=dict)
    ending: Document | None = None
    exceeded: str | None = None
    evaluation: Document | None = None
    rerun_of: str | None = None
    trace: str | None = None
    epoch: int | None = None
    callers: tuple[str, ...] = ()
    trigger: Document | None = None
    audit: Document | None = None
    publish: dict[str, str] | None = None
    published: float | None = None
    unknown: Document = field(default_factory=dict)

    @property
    def untold(self) -> bool:
        """Whether it has ended, and that is still to be published."""
        return self.terminal and self.publish is not None and self.published is None

    @property
    def terminal(self) -> bool:
        """Whether the run has ended."""
        return self.status != "RUNNING"

    @property
    def at_rest(self) -> bool:
        """Whether it has ended or waits, so that nobody is at work on it."""
        return self.terminal or self.trouble is not None

    @property
    def left_session(self) -> bool:
        """Whether it has a session in which it must not be: only runs that completed are told of there."""
        return self.session is not None and self.terminal and self.status != "COMPLETED"

    @property
    def control(self) -> Control | None:
        """What people want of the run instead of its next step."""
        return CANCEL if self.cancel else SUSPEND if self.suspended is not None and self.ending is None else None

    @property
    def waits(self) -> tuple[Trouble, ...]:
        """All steps that wait, the one that is due first in front."""
        return (self.trouble, *self.beside) if self.trouble else ()

    @property
    def forced(self) -> bool:
        """Whether it is to be ended by force."""
        return self.cancel is not None and self.cancel.forced

    @property
    def unheeded(self) -> bool:
        """Whether it waits though what people want of it is here, so that it should have been woken."""
        if self.terminal or not self.waits:
            return False
        # A question that is not there any more was settled by a second execution of the call, of whose answer Dapr takes no notice.
        asking = {f"{self.id}/{call}" for call, asked in self.approvals.items() if asked.decision is None}
        resumed = self.suspended is None and any(wait.kind == SUSPEND for wait in self.waits)
        # A call that another process may be at is waited for all the same.
        canceled = self.cancel is not None and self.ending is None and any(wait.kind != "unknown" for wait in self.waits)
        return canceled or resumed or any(wait.kind == "approval" and wait.key not in asking for wait in self.waits)

    def dump(self) -> Document:
        """As JSON-ready data, without what is not there."""
        written = {name: value for name, value in vars(self).items() if value is not None and value not in ((), {})}
        written |= written.pop("unknown", {})
        written["usage"] = self.usage.dump()
        for name in written.keys() & {"trouble", "cancel"}:
            written[name] = asdict(written[name])
        if self.callers:
            written["callers"] = list(self.callers)  # as it is read back, to tell a lost reply from a lost write
        if self.beside:
            written["beside"] = [asdict(trouble) for trouble in self.beside]
        if self.plan:
            written["plan"] = self.plan.dump()
        if self.approvals:
            written["approvals"] = {call: asdict(approval) for call, approval in self.approvals.items()}
        return written

    @classmethod
    def load(cls, document: Document) -> Self:
        """From JSON-ready data, also of a newer version."""
        read = known(cls, document)
        read["unknown"] = {name: value for name, value in document.items() if name not in read and name != ERASING}
        read["usage"] = Usage.load(read.get("usage"))
        for name, kind in (("trouble", Trouble), ("cancel", Cancel)):
            if read.get(name):
                read[name] = kind(**known(kind, read[name]))
        read["callers"] = tuple(read.get("callers", ()))
        read["beside"] = tuple(Trouble(**known(Trouble, trouble)) for trouble in read.get("beside", ()))
        if read.get("plan"):
            read["plan"] = Plan.load(read["plan"])
        approvals = read.get("approvals", {})
        read["approvals"] = {call: Approval(**known(Approval, approval)) for call, approval in approvals.items()}
        return cls(**read)

    def troubled(self, trouble: Trouble) -> Self:
        """The same run with one more step that waits; unchanged if it has ended."""
        return self if self.terminal else self._waiting([*self._others(trouble.key), trouble])

    def resumed(self, key: str, attempt: int) -> Self:
        """The same run when a step that waited has been begun again."""
        if not any(wait.key == key and wait.attempt < attempt for wait in self.waits):
            return self
        return self._waiting(self._others(key))

    def calm(self) -> Self:
        """The same run with nothing that waits."""
        return self._waiting([])

    def canceled(self, at: float, reason: str, *, forced: bool = False, by: str = "") -> Self:
        """The same run, to be ended; the first to ask for it is kept, and force can be asked for later."""
        if self.terminal or (self.cancel and (self.forced or not forced)):
            return self
        return replace(self, cancel=replace(self.cancel, forced=True) if self.cancel else Cancel(at, reason, forced, by))

    def suspend(self, at: float) -> Self:
        """The same run, to wait before its next step."""
        return self if self.terminal or self.suspended is not None else replace(self, suspended=at)

    def resume(self) -> Self:
        """The same run, to go on."""
        return self if self.terminal else replace(self, suspended=None)

    def asks(self, call: str, approval: Approval) -> Self:
        """The same run with a question about one call (`<turn>/<call>`); the first one asked stands, with its time."""
        return self if self.terminal or call in self.approvals else self._approving(call, approval)

    def decides(self, call: str, decision: Decision, reason: str, at: float, *, by: str = "") -> Self:
        """The same run with an answer; unchanged if nothing is asked about that call or it has its answer. None counts after its time."""
        asked = self.approvals.get(call)
        if self.terminal or asked is None or asked.decision is not None:
            return self
        if at >= asked.until:
            decision, reason, by = "timedOut", "", ""
        return self._approving(call, replace(asked, decision=decision, reason=reason, decided=at, by=by))

    def settles(self, call: str) -> Self:
        """The same run once a call is done, its question and answer with its outcome; unchanged if it has ended: it is sealed then."""
        if self.terminal:
            return self
        return replace(self, approvals={name: asked for name, asked in self.approvals.items() if name != call})

    def completed(self, result: str, usage: Usage, at: float, **more: Any) -> Self:  # noqa: ANN401 - fields of the head
        """The same run, ended well; unchanged if it had ended already or is to be canceled.

        Args:
            result: the answer.
            usage: everything that was used.
            at: when.
            more: what else is said of the end: `exceeded`, `evaluation`, `audit`.
        """
        if self.terminal or self.cancel:
            return self
        return replace(self.calm(), status="COMPLETED", result=result, usage=usage, ended=at, **more)

    def failed(self, error: dict[str, str], usage: Usage, at: float, **more: Any) -> Self:  # noqa: ANN401 - fields of the head
        """The same run, ended badly, or as canceled if somebody asked for that in time; unchanged if it had ended already."""
        if self.terminal:
            return self
        status: Status = "CANCELED" if self.cancel else "FAILED"
        if self.cancel and error["type"] != CANCELED:
            error = {"type": CANCELED, "message": f"the run was canceled; it failed, too: {error['type']}: {error['message']}"}
        return replace(self.calm(), status=status, error=error, usage=usage, ended=at, ending=None, **more)

    def _approving(self, call: str, approval: Approval) -> Self:
        return replace(self, approvals=self.approvals | {call: approval})

    def _others(self, key: str) -> list[Trouble]:
        """What waits beside that step; waits of another turn are over."""
        scope = key.rpartition("/")[0]
        return [wait for wait in self.waits if wait.scope == scope and wait.key != key]

    def _waiting(self, waits: list[Trouble]) -> Self:
        ordered = sorted(waits, key=lambda wait: (wait.until, wait.key))
        return replace(self, trouble=ordered[0] if ordered else None, beside=tuple(ordered[1:]))


def change(how: Callable[[Head], Head]) -> Callable[[Document | None], Document | None]:
    """A change of a head as the store wants it: what shall stand, or None to leave all as it is.

    Left alone is a head that is not there, one that nothing changes, and one of a run that has ended: its records are sealed with it.
    """

    def changed(document: Document | None) -> Document | None:
        before = Head.load(document) if document else None
        after = how(before) if before and not before.terminal else before
        return after.dump() if after and after != before else None

    return changed
