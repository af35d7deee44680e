"""Sessions that nobody uses any more go, and so do the tombstones of deleted ones.

None goes while a run of it is under way, however long that may take by whichever configuration: it would bring a deleted session back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from holdfast_agent.sessions import SHARDS, Session, index_key, listed, session_key, shard_of
from holdfast_agent.store import Store

_PAUSE_SECONDS: Final = 0.01
_SHARDS_AT_ONCE: Final = 16

Document = dict[str, Any]


class SessionSweep:
    """Takes sessions out. Several may do so at once: what one has taken, the others find gone."""

    def __init__(
        self, store: Store, *, unused_seconds: float | None, tombstone_seconds: float, in_use: Callable[[], Awaitable[set[str]]]
    ) -> None:
        """Keep the bounds.

        Args:
            store: where sessions are.
            unused_seconds: how long a session is kept after its last run was appended; None: until it is deleted.
            tombstone_seconds: how long a session is known to be deleted at least.
            in_use: tells the sessions of runs that may be under way. Raises StoreError.
        """
        self._store = store
        self._unused_seconds, self._tombstone_seconds, self._in_use = unused_seconds, tombstone_seconds, in_use

    async def sweep(self) -> int:
        """Look at the sessions that are due, once in their time each. Returns how many went.

        Raises:
            StoreError: the store does not answer.
        """
        gone, in_use = 0, None
        for start in range(0, SHARDS, _SHARDS_AT_ONCE):
            shards = await self._store.get_many(map(index_key, range(start, min(start + _SHARDS_AT_ONCE, SHARDS))))
            for session in (one for shard in shards.values() for one in self.due(listed(shard.value), time.time())):
                in_use = await self._in_use() if in_use is None else in_use
                gone += await self._look(session, time.time(), in_use=session in in_use)
                await asyncio.sleep(_PAUSE_SECONDS)
        return gone

    def due(self, sessions: dict[str, dict[str, float]], now: float) -> list[str]:
        """Those that it is time to look at: deleted or unused for long enough, or entered and never looked at, so perhaps never stored."""

        def is_due(what: dict[str, float]) -> bool:
            if "deleted" in what:
                return what["deleted"] + self._tombstone_seconds <= now
            if "seen" not in what and what["at"] + self._tombstone_seconds <= now:
                return True
            return self._unused_seconds is not None and what.get("seen", what["at"]) + self._unused_seconds <= now

        return [session for session, what in sessions.items() if is_due(what)]

    async def _look(self, session: str, now: float, *, in_use: bool) -> bool:
        entry = await self._store.get(session_key(session))
        there = Session.load(entry.value if entry else None)
        if there.alive:
            last = there.used or 0.0
            if self._unused_seconds is None or last + self._unused_seconds > now:
                await self._seen(session, last)
                return False
        elif (there.deleted or 0.0) + self._tombstone_seconds > now:
            return False
        if in_use or (entry and not await self._store.delete(session_key(session), etag=entry.etag)):
            return False
        await self._unlist(session, now)
        return entry is not None

    async def _seen(self, session: str, last_used: float) -> None:
        def seen(document: Document | None) -> Document | None:
            there = listed(document)
            return {"sessions": there | {session: {"at": there[session]["at"], "seen": last_used}}} if session in there else None

        await self._store.update(index_key(shard_of(session)), seen)

    async def _unlist(self, session: str, now: float) -> None:
        """Out of the index, unless somebody who is about to append has just put it there."""

        def without(document: Document | None) -> Document | None:
            there = listed(document)
            if session not in there or self.due({session: there[session]}, now) == []:
                return None
            return {"sessions": {name: what for name, what in there.items() if name != session}}

        await self._store.update(index_key(shard_of(session)), without)
