"""The record of what was asked, on the disk before it is answered.

A line when a request arrives, a line when its answer is about to leave. Reading the file gives everything back, so a server that was
killed counts on; a line that was cut off by the kill is dropped, since nothing had been answered on its account.
"""

import json
import os
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

Kind = Literal["model", "tool"]
Outcome = Literal["tool_calls", "answer", "result", "replay", "fault"]


@dataclass
class Call:
    """One request and what became of it.

    Attributes:
        number: from 1, in the order of arrival.
        kind: whom it asked.
        name: the tool, or the model.
        key: what makes it the same request again: hash of the messages, or the tool's Idempotency-Key.
        attempt: how many requests with this key there have been, this one included.
        detail: more about it, for people and tests.
        started: when it arrived.
        finished: when its answer was ready; None while it is worked on, and for good when the server died.
        outcome: what the answer was.
        delivered: whether the client was still there to hear it.
    """

    number: int
    kind: Kind
    name: str
    key: str
    attempt: int
    detail: dict[str, Any]
    started: str
    finished: str | None = None
    outcome: Outcome | None = None
    delivered: bool | None = None


@dataclass
class Ledger:
    """All calls, in order. Without a path they are kept in memory only."""

    path: Path | None = None
    calls: list[Call] = field(default_factory=list)
    _attempts: dict[tuple[Kind, str, str], int] = field(default_factory=lambda: defaultdict(int))
    _answered: set[tuple[Kind, str, str]] = field(default_factory=set)
    _file: BinaryIO | None = None

    def open(self) -> None:
        """Read what is there and go on behind it.

        Raises:
            OSError: the file cannot be read or written.
            ValueError: it is not a ledger.
        """
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        self._file.seek(0)
        whole, newline, _ = self._file.read().rpartition(b"\n")
        self._file.truncate(len(whole) + len(newline))
        for line in whole.splitlines():
            try:
                self._apply(json.loads(line))
            except (ValueError, TypeError, KeyError, IndexError):
                raise ValueError(f"{self.path} holds a line that is no ledger entry: {line[:80]!r}") from None

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None

    def start(self, kind: Kind, name: str, key: str, detail: dict[str, Any]) -> Call:
        """Record that a request arrived."""
        call = Call(len(self.calls) + 1, kind, name, key, self._attempts[kind, name, key] + 1, detail, _now())
        self._write({"event": "started"} | {name: value for name, value in asdict(call).items() if value is not None})
        return call

    def finish(self, call: Call, outcome: Outcome, *, delivered: bool) -> None:
        """Record that its answer is about to leave, or that nobody is there to hear it."""
        self._write({"event": "finished", "number": call.number, "finished": _now(), "outcome": outcome, "delivered": delivered})

    def answered(self, kind: Kind, name: str, key: str) -> bool:
        """Whether a request with this key was answered with what was asked for, not with a fault."""
        return (kind, name, key) in self._answered

    def summary(self) -> dict[str, dict[str, int]]:
        """For each kind, what was asked, how it went, and what was asked again although it had been answered and heard."""
        return {kind: self._sum([call for call in self.calls if call.kind == kind]) for kind in ("model", "tool")}

    @staticmethod
    def _sum(calls: list[Call]) -> dict[str, int]:
        heard: dict[tuple[str, str], str] = {}
        repeated = 0
        for call in calls:
            at = heard.get((call.name, call.key))
            if at is not None and call.started >= at:
                repeated += 1
            elif call.delivered and call.outcome != "fault":
                assert call.finished
                heard[call.name, call.key] = call.finished
        return {
            "requests": len(calls),
            "distinct": len({(call.name, call.key) for call in calls}),
            "faults": sum(call.outcome == "fault" for call in calls),
            "unheard": sum(call.delivered is not True for call in calls),
            "repeated": repeated,
        }

    def _write(self, record: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._apply(record)

    def _apply(self, record: dict[str, Any]) -> None:
        values = dict(record)
        if values.pop("event") == "started":
            call = Call(**values)
            self.calls.append(call)
            self._attempts[call.kind, call.name, call.key] += 1
        else:
            call = self.calls[values.pop("number") - 1]
            call.finished, call.outcome, call.delivered = values["finished"], values["outcome"], values["delivered"]
            if call.outcome != "fault":
                self._answered.add((call.kind, call.name, call.key))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
