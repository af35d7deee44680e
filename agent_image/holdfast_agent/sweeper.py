"""Retention: runs that ended long enough ago go, and sessions that nobody uses.

What goes first is Dapr's workflow, because one that is worked on again would find no results and would do everything anew. Then the run's
documents, its head last, then its entry in the list: whatever is killed in between, the entry leads to the rest. A claim in the head keeps
the sweepers of several replicas from erasing one run side by side. The claim is made on the head as it is at that moment, and only if that
run has expired: the one that was seen before may be gone by then, and its id a new run's.

Runs are erased one at a time, with a pause after each, half as long as it took: sweeping is never more to the store than one more run.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, Final, Protocol

from holdfast_agent import documents
from holdfast_agent.documents import Head
from holdfast_agent.engine import EngineError
from holdfast_agent.erasure import erase
from holdfast_agent.heads import ERASING
from holdfast_agent.listing import ROOT, Listing, day_key, day_of, days_of, page_key, pages_of, runs_of
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.orphans import take_in
from holdfast_agent.sessionsweep import SessionSweep
from holdfast_agent.store import Entry, Store, StoreError
from holdfast_agent.strays import Lister, Pause, look_for_strays
from holdfast_api.config import RetentionConfig

_LOG = logging.getLogger(__name__)
_CLAIM_SECONDS: Final = 600.0
_ERASE_SECONDS: Final = 300.0
_AGAIN_SECONDS: Final = 600.0
_NEW_PAGE_SECONDS: Final = 3600.0
_SETTLE_SECONDS: Final = 900.0
"""How long something may still be written of a run that has ended: a second execution of a call, a result that is held for the store."""

Document = dict[str, Any]


class Purger(Lister, Protocol):
    """What is needed of the engine."""

    async def purge(self, instance: str) -> bool:
        """Forget an ended instance; False: it has not ended. Raises EngineError."""

    async def terminate(self, instance: str) -> None:
        """End an instance. Raises EngineError."""


def expiry(head: Head, retention: RetentionConfig) -> float | None:
    """When the documents of a run may go, in seconds since the epoch; None: it has not ended. Pure."""
    if not head.terminal or head.ended is None:
        return None
    kept = retention.completed_seconds if head.status == "COMPLETED" else retention.failed_seconds
    return head.ended + max(kept, head.longest_call + _SETTLE_SECONDS)


class Sweeper:
    """Erases what nobody keeps any more. Several may do so at once."""

    def __init__(
        self, *, store: Store, engine: Purger, listing: Listing, index: OpenRuns, retention: RetentionConfig, longest_run: float
    ) -> None:
        """Keep the parts.

        Args:
            store: where documents are.
            engine: where workflows are.
            listing: which runs there are.
            index: of runs that may not have ended.
            retention: how long what is kept.
            longest_run: seconds that a run may take, so that deleted sessions are known as such for so long at least.
        """
        self._store, self._engine, self._listing, self._retention, self._index = store, engine, listing, retention, index
        self._sessions = SessionSweep(
            store, unused_seconds=retention.sessions_seconds, tombstone_seconds=longest_run + _SETTLE_SECONDS, in_use=index.sessions
        )
        self._least = min(retention.completed_seconds, retention.failed_seconds)
        self._name = uuid.uuid4().hex[:8]
        self._next: dict[tuple[str, str], float] = {}

    async def run(self, *, every: float) -> None:
        """Sweep every so many seconds, until canceled. Errors are logged; what is left is for the next time."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(look_for_strays(self._engine, self._listing, every=every, orphans=self._take_in))
            tasks.create_task(self._sweep_on(every))

    async def _take_in(self, runs: set[str], pause: Pause) -> None:
        await take_in(self._store, self._index, runs, pause)

    async def _sweep_on(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            try:
                await self.sweep()
            except StoreError as error:
                _LOG.warning("sweeping: %s", error)
            except Exception:  # noqa: BLE001 - one broken document must not end all sweeping
                _LOG.exception("sweeping broke")

    async def sweep(self) -> int:
        """Go through what may be due. Returns how many runs and sessions went.

        Raises:
            StoreError: the store does not answer.
        """
        gone, now = 0, time.time()
        root = await self._store.get(ROOT)
        for day in reversed(days_of(root.value if root else None)):
            if day > day_of(max(now - self._least, 0.0)):
                break
            gone += await self._day(day, now - self._least)
        return gone + await self._sessions.sweep()

    async def _day(self, day: str, accepted_before: float) -> int:
        directory = await self._store.get(day_key(day))
        pages = pages_of(directory.value if directory else None)
        gone = 0
        for name, span in pages.items():
            if span.get("low", 0.0) <= accepted_before and self._next.get((day, name), 0.0) <= time.time():
                gone += await self._page(day, name, span)
        if not pages and day < day_of(time.time()):
            await self._drop_day(day)
        return gone

    async def _page(self, day: str, name: str, span: dict[str, float]) -> int:
        entry = await self._store.get(page_key(day, name))
        runs = runs_of(entry.value if entry else None)
        due: dict[str, float] = {}
        gone: dict[str, float] = {}
        heads = await self._store.get_many(map(documents.head_key, runs))
        for run, accepted in runs.items():
            wait = await self._wait(run, heads.get(documents.head_key(run)))
            if wait is None:
                gone[run] = accepted
            else:
                due[run] = wait
        again = time.time() + min(self._least, _AGAIN_SECONDS)
        # Into a page without a span there may yet come a run that is due before all that are in it now.
        self._next[(day, name)] = min(due.values(), default=again) if "high" in span else min([again, *due.values()])
        if gone:
            await self._store.update(page_key(day, name), lambda document: _without(document, gone))
        if len(gone) == len(runs):
            await self._drop_page(day, name, span)
        return len(gone)

    async def _wait(self, run: str, head: Entry | None) -> float | None:
        """When to look at a run again, in seconds since the epoch; None: it is gone."""
        if head is None:
            return None
        try:
            at = expiry(Head.load(head.value), self._retention)
            if at is not None and at <= time.time() and await self._gone(run):
                return None
        except Exception:  # noqa: BLE001 - one broken document must not keep the others
            _LOG.exception("sweeping a run broke", extra={"run": run})
            at = None
        return at if at is not None and at > time.time() else time.time() + _AGAIN_SECONDS

    async def _gone(self, run: str) -> bool:
        """Erase one run; False if that has to wait."""
        began = time.monotonic()
        try:
            head = await self._claimed(run)
            if head is None:
                return False
            if not await self._engine.purge(run):
                await self._engine.terminate(run)  # its head has ended long ago, so nothing that it does now counts
                return False
            async with asyncio.timeout(_ERASE_SECONDS):  # less than a claim holds, so nobody erases after another has begun
                await erase(self._store, run)
                # As it was read: a request whose answer was lost is made again, and must not take the head of a new run of that id.
                if not await self._store.delete(documents.head_key(run), etag=head.etag):
                    return False
        except (EngineError, StoreError, TimeoutError) as error:
            _LOG.warning("a run cannot be erased now: %s", error or "it takes too long", extra={"run": run})
            return False
        _LOG.info("run erased", extra={"run": run})
        await asyncio.sleep((time.monotonic() - began) / 2)
        return True

    async def _claimed(self, run: str) -> Entry | None:
        """The head of the run, which has expired, if this sweeper is the one that erases it."""
        ours = False

        def claim(document: Document | None) -> Document | None:
            nonlocal ours
            there, now = (document or {}).get(ERASING), time.time()
            at = expiry(Head.load(document), self._retention) if document else None
            ours = at is not None and at <= now and not (there and there["by"] != self._name and there["at"] + _CLAIM_SECONDS > now)
            return {**document, ERASING: {"by": self._name, "at": now}} if document and ours else None

        await self._store.update(documents.head_key(run), claim)
        head = await self._store.get(documents.head_key(run)) if ours else None
        return head if head and (head.value.get(ERASING) or {}).get("by") == self._name else None

    async def _drop_page(self, day: str, name: str, span: dict[str, float]) -> None:
        """Take an empty page away. One that a process has only just entered may be about to be written, and is left."""
        entry = await self._store.get(page_key(day, name))
        if entry and (runs_of(entry.value) or not await self._store.delete(page_key(day, name), etag=entry.etag)):
            return
        if entry is None and "low" not in span and span["at"] + _NEW_PAGE_SECONDS > time.time():
            return
        await self._store.update(day_key(day), lambda document: _without_page(document, name))
        self._next.pop((day, name), None)

    async def _drop_day(self, day: str) -> None:
        """Take an empty directory away, and then the day; it is entered again if somebody was in between."""
        entry = await self._store.get(day_key(day))
        if entry and (pages_of(entry.value) or not await self._store.delete(day_key(day), etag=entry.etag)):
            return
        await self._store.update(ROOT, _days(lambda days: [one for one in days if one != day]))
        if await self._store.get(day_key(day)):
            await self._store.update(ROOT, _days(lambda days: sorted({*days, day})))


def _without(document: Document | None, gone: dict[str, float]) -> Document | None:
    return {"runs": {run: at for run, at in runs_of(document).items() if gone.get(run) != at}} if document else None


def _without_page(document: Document | None, name: str) -> Document | None:
    return {"pages": {page: span for page, span in pages_of(document).items() if page != name}} if document else None


def _days(change: Callable[[list[str]], list[str]]) -> Callable[[Document | None], Document]:
    return lambda document: {"days": change(sorted(days_of(document)))}
