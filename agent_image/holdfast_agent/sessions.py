"""Sessions: what earlier runs were asked and answered, for later ones to begin with.

    session/<id>       {summary, entries: [{run, task, answer, at}], deleted, folded, used}. Mutable, by ETag
    sessions/<shard>   {sessions: {id: {at, seen?, deleted?}}}, the index. Mutable, by ETag
    run/<id>/context   the session as it was when the run began: its snapshot. Write-once

A run reads its snapshot once, and appends itself once, at its good end and before its head says so. Runs of one session that go on side by
side do not see each other; what counts is the order in which they end. A deleted session leaves a tombstone, so that runs which were
accepted before the deletion do not bring it back.

The id of a run that was erased may be another run's later. Which of the two an exchange is of is told by its time.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from holdfast_agent.cursors import CursorError
from holdfast_agent.store import Store

SHARDS: Final = 64
SESSION_BYTES: Final = 1024 * 1024
TEXT_BYTES: Final = 64 * 1024
REMEMBERED: Final = 256
_SHARDS_AT_ONCE: Final = 16
_PLACE_PARTS: Final = 2
_SKEW_SECONDS: Final = 600.0
"""By how much clocks may differ. The id of a run is free again 900 s after its end at the earliest (`sweeper.expiry`), so an exchange that
is older than this when a run is accepted is a former run's."""
_FOLDED: Final = "~"
"""Between a run and its end, in whole seconds; ids of runs have none."""

Document = dict[str, Any]


def session_key(session: str) -> str:
    """Where a session is."""
    return f"session/{session}"


def index_key(shard: int) -> str:
    """Where a part of the index of sessions is."""
    return f"sessions/{shard}"


def context_key(run: str) -> str:
    """Where the snapshot is that a run began with."""
    return f"run/{run}/context"


def shard_of(session: str) -> int:
    """Which part of the index a session is in."""
    return int.from_bytes(hashlib.sha256(session.encode()).digest()[:4]) % SHARDS


@dataclass(frozen=True)
class Exchange:
    """What one run was asked and answered; two messages. `at` is its end, in seconds since the epoch."""

    run: str
    task: str
    answer: str
    at: float

    @property
    def folded(self) -> str:
        """What is remembered of it when it is no entry any more."""
        return f"{self.run}{_FOLDED}{int(self.at)}"

    def is_of(self, run: str, accepted: float) -> bool:
        """Whether it is of that run, and not of a former one of the same id."""
        return self.run == run and self.at >= accepted - _SKEW_SECONDS

    def bounded(self) -> Self:
        """The same, with texts that a session can hold."""
        return replace(self, task=_cut(self.task), answer=_cut(self.answer))


@dataclass(frozen=True)
class Session:
    """A session at one moment; also the shape of a run's snapshot.

    Attributes:
        summary: what stands for everything before the entries.
        entries: in the order in which their runs ended.
        deleted: when it was last deleted. Runs accepted up to then do not append.
        folded: runs that were entries once, the newest last, so that none of them comes twice: `Exchange.folded`, or, of a version that did
            not say when they ended, their ids.
        used: when a run was last appended.
    """

    summary: str | None = None
    entries: tuple[Exchange, ...] = ()
    deleted: float | None = None
    folded: tuple[str, ...] = field(default=(), repr=False)
    used: float | None = None

    @property
    def alive(self) -> bool:
        """Whether there is anything in it; a tombstone has nothing."""
        return bool(self.entries or self.summary is not None)

    @property
    def messages(self) -> int:
        """How many messages its entries are."""
        return 2 * len(self.entries)

    def past(self, max_messages: int) -> bool:
        """Whether it is time to compact it: too many messages, or more than half of the bytes that a session may have."""
        return self.messages > max_messages or (len(self.entries) > 1 and self.size > SESSION_BYTES // 2)

    @property
    def size(self) -> int:
        """Bytes of its texts."""
        return _bytes(self.summary or "") + sum(_bytes(entry.task) + _bytes(entry.answer) for entry in self.entries)

    def oldest(self, max_messages: int) -> tuple[Exchange, ...]:
        """The entries that a summary shall stand for: all but the newest, as many as half of `max_messages`; none if it is not `past`."""
        if not self.past(max_messages):
            return ()
        keep = min(max_messages // 4, len(self.entries) // 2)
        return self.entries[: len(self.entries) - keep]

    def summarised(self, oldest: tuple[Exchange, ...], summary: str) -> Self:
        """`summary` in place of the former one and of `oldest`.

        Unchanged if these are not its oldest entries any more: somebody else has compacted or deleted it.
        """
        if not oldest or self.entries[: len(oldest)] != oldest:
            return self
        return replace(self, summary=_cut(summary), entries=self.entries[len(oldest) :], folded=_remember(self.folded, oldest))

    def truncated(self, max_messages: int) -> Self:
        """Without its oldest entries, so that at most `max_messages` are left."""
        return self._without_first(max(0, len(self.entries) - max_messages // 2))

    def appended(self, entry: Exchange, *, accepted: float) -> Self:
        """With that run at its end; unchanged if it is or was there, or if the session was deleted after the run was accepted.

        Args:
            entry: the run's.
            accepted: when the run was accepted, in seconds since the epoch.
        """
        folded = any(_is_of(one, entry.run, accepted) for one in self.folded)
        known = folded or any(one.is_of(entry.run, accepted) for one in self.entries)
        if known or (self.deleted is not None and accepted <= self.deleted):
            return self
        longer = replace(self, entries=(*self.entries, entry.bounded()), used=max(entry.at, self.used or 0.0))
        while longer.size > SESSION_BYTES:  # whoever compacts came too late, or never came
            longer = longer._without_first(1)  # noqa: SLF001 - its own
        return longer

    def withdrawn(self, run: str, *, accepted: float) -> Self:
        """Without that run, which was canceled after it had been appended. It does not come again."""
        taken = [entry for entry in self.entries if entry.is_of(run, accepted)]
        left = tuple(entry for entry in self.entries if entry not in taken)
        return replace(self, entries=left, folded=_remember(self.folded, taken)) if taken else self

    def tombstone(self, at: float) -> Self:
        """Deleted at that time."""
        return type(self)(deleted=max(at, self.deleted or 0.0))

    def dump(self) -> Document:
        """As JSON-ready data."""
        entries = [dict(vars(entry)) for entry in self.entries]
        return vars(self) | {"entries": entries, "folded": list(self.folded)}

    @classmethod
    def load(cls, document: Document | None) -> Self:
        """From JSON-ready data; fields of a newer version are left out. None is a session that was never stored."""
        known = document or {}
        entries = tuple(Exchange(**{name: entry[name] for name in Exchange.__dataclass_fields__}) for entry in known.get("entries", ()))
        return cls(known.get("summary"), entries, known.get("deleted"), tuple(known.get("folded", ())), known.get("used"))

    def _without_first(self, count: int) -> Self:
        return replace(self, entries=self.entries[count:], folded=_remember(self.folded, self.entries[:count]))


class Sessions:
    """The sessions of this agent. Holds nothing itself, so any process may do anything."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, session: str) -> Session | None:
        """A session as it is now, or None if there is none (any more).

        Raises:
            StoreError: the store does not answer.
        """
        found = await self._find(session)
        return found if found.alive else None

    async def snapshot(self, session: str) -> Session:
        """A session as a run begins with it: an empty one if there is none.

        Raises:
            StoreError: the store does not answer.
        """
        found = await self._find(session)
        return found if found.alive else Session()

    async def append(self, session: str, entry: Exchange, *, accepted: float) -> Session:
        """Append a run; doing so again changes nothing. Returns what stands.

        Args:
            session: its id.
            entry: the run's.
            accepted: when the run was accepted, in seconds since the epoch.

        Raises:
            StoreError: it is not sure that it is stored.
        """
        there = await self._find(session)
        first = not there.alive and there.appended(entry, accepted=accepted).alive
        if first:
            # The index first: a session that is in it and not stored is found out, one that is stored and not in it would be lost.
            await self._mark(session)
        stands = await self._change(session, lambda now: now.appended(entry, accepted=accepted))
        if not first and stands.entries == (entry.bounded(),):  # the sweeper took the session away between the two
            await self._mark(session)
        return stands

    async def withdraw(self, session: str, run: str, *, accepted: float) -> Session:
        """Take a run out again that was canceled after it had been appended. Returns what stands.

        One that a summary speaks for already cannot be taken out of it.

        Args:
            session: its id.
            run: the run's.
            accepted: when the run was accepted, in seconds since the epoch.

        Raises:
            StoreError: it is not sure that it is stored.
        """
        return await self._change(session, lambda now: now.withdrawn(run, accepted=accepted))

    async def compacted(self, session: str, oldest: tuple[Exchange, ...], summary: str) -> Session:
        """Put a summary in place of entries, unless somebody was faster. Returns what stands.

        Raises:
            StoreError: it is not sure that it is stored.
        """
        return await self._change(session, lambda now: now.summarised(oldest, summary))

    async def truncated(self, session: str, max_messages: int) -> Session:
        """Drop the oldest entries past that number of messages. Returns what stands.

        Raises:
            StoreError: it is not sure that it is stored.
        """
        return await self._change(session, lambda now: now.truncated(max_messages))

    async def delete(self, session: str) -> bool:
        """Forget everything; runs that were accepted up to now do not append. Returns whether there was anything to forget.

        Raises:
            StoreError: it is not sure that it is deleted.
        """
        before, at = await self._find(session), time.time()
        if not before.alive:  # it may not be in the index, and a tombstone that is not would stay for ever
            await self._mark(session, deleted=at)
        # Also what was never stored gets a tombstone: a run that is under way would bring the session to life after its deletion.
        await self._change(session, lambda now: now.tombstone(at))
        await self._mark(session, deleted=at)
        if (await self._find(session)).alive:  # a run that was accepted meanwhile has ended already
            await self._mark(session)
        return before.alive

    async def list(self, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        """Ids of sessions, in an order that stays as it is, and where to go on (None: that was all).

        Raises:
            CursorError: `cursor` is none of ours.
            StoreError: the store does not answer.
        """
        shard, after = _place(cursor)
        found: list[tuple[int, str]] = []
        while shard < SHARDS and len(found) <= limit:
            shards = range(shard, min(shard + _SHARDS_AT_ONCE, SHARDS))
            parts = await self._store.get_many(map(index_key, shards))
            for number in shards:
                entry = parts.get(index_key(number))
                names = _living(entry.value if entry else None)
                found += [(number, name) for name in names if not (after and number == shard and name <= after)]
            shard, after = shards.stop, ""
        page = found[:limit]
        return [name for _, name in page], f"{page[-1][0]}.{page[-1][1]}" if len(found) > limit else None

    async def _find(self, session: str) -> Session:
        entry = await self._store.get(session_key(session))
        return Session.load(entry.value if entry else None)

    async def _change(self, session: str, change: Callable[[Session], Session]) -> Session:
        def changed(document: Document | None) -> Document | None:
            now = Session.load(document)
            wanted = change(now)
            return None if wanted == now else wanted.dump()

        return Session.load(await self._store.update(session_key(session), changed))

    async def _mark(self, session: str, **more: float) -> None:
        def marked(document: Document | None) -> Document:
            return {"sessions": listed(document) | {session: {"at": time.time(), **more}}}

        await self._store.update(index_key(shard_of(session)), marked)


def listed(document: Document | None) -> dict[str, dict[str, float]]:
    """What a part of the index says: session -> `{at, seen?, deleted?}`, when it was first stored, last looked at and deleted."""
    return dict((document or {}).get("sessions", {}))


def _living(document: Document | None) -> list[str]:
    return sorted(name for name, what in listed(document).items() if "deleted" not in what)


def _place(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return 0, ""
    parts = cursor.split(".", 1)
    if len(parts) != _PLACE_PARTS or not parts[0].isascii() or not parts[0].isdigit() or int(parts[0][:4]) >= SHARDS or not parts[1]:
        raise CursorError(cursor)
    return int(parts[0]), parts[1]


def _remember(folded: tuple[str, ...], entries: Iterable[Exchange]) -> tuple[str, ...]:
    return (*folded, *(entry.folded for entry in entries))[-REMEMBERED:]


def _is_of(folded: str, run: str, accepted: float) -> bool:
    """As `Exchange.is_of`, of what is remembered."""
    name, mark, at = folded.partition(_FOLDED)
    return name == run and (not mark or int(at) >= accepted - _SKEW_SECONDS)


def _cut(text: str) -> str:
    data = text.encode(errors="replace")
    if len(data) <= TEXT_BYTES:
        return data.decode()
    return f"{data[:TEXT_BYTES].decode(errors='ignore')}\n[cut off here: {len(data)} bytes, a session keeps {TEXT_BYTES}]"


def _bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode(errors="replace"))
