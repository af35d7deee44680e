"""What is being worked on: one step of one run, for whoever is called from it. Logs, spans and requests to others read it from here.

A context variable rather than an argument, because what is called from a step (a model, a tool, the sidecar) has nothing else to do with
runs. Nothing heavy is imported here: whether spans and metrics come out of it is decided by whoever opened the scope.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from holdfast_agent.outcome import Failure

TRACEPARENT: Final = "traceparent"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
Kind = Literal["chat", "execute_tool"]
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 0x01


@dataclass(frozen=True)
class Trace:
    """A place in a trace, as W3C's `traceparent` says it: 32 and 16 hex digits."""

    trace_id: str
    span_id: str
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else 0:02x}"

    @classmethod
    def parse(cls, text: str | None) -> "Trace | None":
        """What a header says; None if it says nothing that can be used."""
        match = _TRACEPARENT.fullmatch((text or "").strip())
        if match is None or match[1] == "ff" or not int(match[2], 16) or not int(match[3], 16) or (match[1] == "00" and match[5]):
            return None
        return cls(match[2], match[3], bool(int(match[4], 16) & _SAMPLED))

    def child(self, name: str) -> "Trace":
        """The span of that name in this trace: the same one whoever asks, on whichever process, after any crash."""
        made = hashlib.sha256(f"{self.trace_id}/{name}".encode()).digest()[:8]
        return Trace(self.trace_id, made.hex(), self.sampled)


@dataclass
class Operation:
    """One call of a model or a tool, while it happens and after it.

    Attributes:
        name: label of the model, or name of the tool.
        trace: where it is, if there is a trace, and `parent`, the id of the span that it is under.
        began: seconds since the epoch, and `ended`.
        error: class of what went wrong.
        facts: what is known of it: attributes of spans, and counts.
        content: what was said; leaves the process only where somebody asked for that.
    """

    kind: Kind
    name: str
    step: str
    trace: Trace | None
    parent: str | None
    began: float
    ended: float = 0.0
    error: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    content: dict[str, Callable[[], str]] = field(default_factory=dict)

    def came_to(self, result: object) -> None:
        """Its result; a `Failure` is its error."""
        if isinstance(result, Failure):
            self.error = result.kind


class Watcher(Protocol):
    """Whoever wants to know of operations."""

    def operation(self, run: str, operation: Operation) -> None:
        """One that has ended."""


@dataclass
class Scope:
    """One step that is being carried out.

    Attributes:
        attempt: which one, from 1.
        root: the run's place in its trace; None without a trace.
        own: whether spans of this run are made here; else others' headers are only passed on.
        operations: begun so far.
        facts: what is known of all that is called in it: attributes of spans.
    """

    run: str
    step: str
    attempt: int
    root: Trace | None
    own: bool
    watcher: Watcher | None
    operations: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


_SCOPE: ContextVar[Scope | None] = ContextVar("scope", default=None)
_CURRENT: ContextVar[Trace | None] = ContextVar("current", default=None)


@contextmanager
def entered(scope: Scope) -> Iterator[None]:
    """While a step is carried out."""
    token, current = _SCOPE.set(scope), _CURRENT.set(scope.root)
    try:
        yield
    finally:
        _SCOPE.reset(token)
        _CURRENT.reset(current)


def note(**facts: Any) -> None:  # noqa: ANN401 - attributes of spans
    """What is known of all that is called from here on in this step. Outside of a step nobody is told."""
    scope = _SCOPE.get()
    if scope:
        scope.facts |= facts


@contextmanager
def operation(kind: Kind, name: str, **facts: Any) -> Iterator[Operation]:  # noqa: ANN401 - attributes of spans
    """While a model or a tool is called. Outside of a step nobody is told."""
    scope = _SCOPE.get()
    root = scope.root if scope else None
    step, known = (scope.step, scope.facts) if scope else ("", {})
    if scope:
        scope.operations += 1
    trace = root.child(f"{step}/{scope.attempt}/{scope.operations}") if scope and root and scope.own else root
    done = Operation(kind, name, step, trace, root.span_id if root else None, time.time(), facts=known | facts)
    token = _CURRENT.set(trace)
    try:
        yield done
    except BaseException as error:
        done.error = type(error).__name__
        raise
    finally:
        _CURRENT.reset(token)
        done.ended = time.time()
        if scope and scope.watcher:
            scope.watcher.operation(scope.run, done)


@contextmanager
def traced(trace: Trace | None) -> Iterator[None]:
    """While something is done for a run outside of its steps; None: it has no trace."""
    token = _CURRENT.set(trace)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def headers() -> dict[str, str]:
    """What a request to somebody else carries, so that its spans join ours."""
    trace = _CURRENT.get()
    return {TRACEPARENT: str(trace)} if trace else {}


def described() -> dict[str, str]:
    """What every line of the log says of where it comes from."""
    scope, trace = _SCOPE.get(), _CURRENT.get()
    told = {"run": scope.run, "step": scope.step} if scope else {}
    return told | ({"trace_id": trace.trace_id, "span_id": trace.span_id} if trace else {})
