"""The index of all runs, newest first. Never Dapr's own list, which scans the whole store for every page.

    listing                  {days: [day, ...]}, days in UTC on which runs were accepted. Mutable, by ETag
    listing/<day>            {pages: {<process>.<n>: {at, low, high}}}, the directory of a day. Mutable, by ETag
    listing/<day>/<page>     {runs: {run: created}}, at most 100 entries. One process adds to it, the sweeper takes out. Mutable, by ETag

Entries are written behind, once a second for all runs together, so a run costs a small part of a write under load, and never a wait. Every
process adds the runs that it works on: a run that lasts longer than a second is listed whatever dies. What is shorter is listed unless its
process is killed within that second; `strays` finds it again. A page is entered in its directory, and a day in `listing`,
before there is anything in it, so nothing is ever stored where nobody looks. A run may be listed twice, and is shown once.

`low` and `high` (seconds since the epoch) are the span of a page that is full, or whose process has ended in order. Pages without a span
are still written to, or were when their process was killed.
"""

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from holdfast_agent import documents
from holdfast_agent.cursors import CursorError
from holdfast_agent.store import Store, StoreError

_LOG = logging.getLogger(__name__)
PAGE_RUNS: Final = 100
ROOT: Final = "listing"
_BEHIND_SECONDS: Final = 1.0
_REMEMBERED: Final = 10_000
_PAGES_AT_ONCE: Final = 4
_MARK: Final = "~"

Document = dict[str, Any]
Listed = tuple[float, str]
"""When a run was accepted, and its id: the order of the list, from the highest."""


def day_of(created: float) -> str:
    """The day in UTC, as `2026-11-21`."""
    return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%d")


def day_key(day: str) -> str:
    """Where the directory of a day is."""
    return f"{ROOT}/{day}"


def page_key(day: str, page: str) -> str:
    """Where a page is."""
    return f"{ROOT}/{day}/{page}"


def days_of(document: Document | None) -> list[str]:
    """The days that there are, newest first."""
    return sorted((document or {}).get("days", ()), reverse=True)


def pages_of(document: Document | None) -> dict[str, dict[str, float]]:
    """The pages of a day: name -> `{at, low?, high?}`."""
    return dict((document or {}).get("pages", {}))


def runs_of(document: Document | None) -> dict[str, float]:
    """The entries of a page: run -> created."""
    return dict((document or {}).get("runs", {}))


@dataclass
class _Page:
    """The page that this process is writing for one day."""

    name: str
    runs: dict[str, float] = field(default_factory=dict)
    stored: bool = False


class Listing:
    """The index as one process writes it, and as all read it. Lives on the program's event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._process = uuid.uuid4().hex[:8]
        self._opened = 0
        self._waiting: dict[str, float | None] = {}
        self._listed: OrderedDict[str, float] = OrderedDict()
        self._pages: dict[str, _Page] = {}
        self._writing = asyncio.Lock()
        self._behind: asyncio.Task[None] | None = None

    def add(self, run: str, created: float | None = None) -> None:
        """The run was accepted here, or is worked on here; it gets an entry within about a second.

        Args:
            run: its id.
            created: when it was accepted, in seconds since the epoch; None asks its head.
        """
        if run in self._listed and created in (None, self._listed[run]):
            return
        self._waiting[run] = created if created is not None else self._waiting.get(run)
        if self._behind is None or self._behind.done():
            self._behind = asyncio.ensure_future(self._write_behind())

    async def flush(self) -> None:
        """Write what waits.

        Raises:
            StoreError: the store does not answer.
        """
        async with self._writing:
            waiting, self._waiting = self._waiting, {}
            try:
                for day, runs in _by_day(await self._with_times(waiting)).items():
                    await self._write(day, runs)
            except StoreError:
                # What is listed with another time is a former run of that id.
                left = {run: at for run, at in waiting.items() if run not in self._listed or at not in (None, self._listed[run])}
                self._waiting = left | self._waiting
                raise

    async def close(self) -> None:
        """Write what waits and write no more, and say so in the directories, so that readers need not look at every page.

        What the store does not take now is left to whoever works on the run next.
        """
        if self._behind:
            self._behind.cancel()
            await asyncio.gather(self._behind, return_exceptions=True)
        try:
            await self.flush()
            for day, page in self._pages.items():
                await self._store.update(day_key(day), lambda document, page=page: _entered(document, full=page))  # type: ignore[misc]
        except StoreError as error:
            _LOG.warning("the index of runs is short of %d entries: %s", len(self._waiting), error)

    async def page(self, cursor: str | None, limit: int) -> tuple[list[Listed], str | None]:
        """Runs from the newest on, and where to go on (None: that was all). Runs that come in meanwhile change nothing on later pages.

        Args:
            cursor: where the page before ended; None begins.
            limit: how many.

        Returns:
            `(created, run)` each. A run whose documents the sweeper has just taken away may be among them.

        Raises:
            CursorError: `cursor` is none of ours.
            StoreError: the store does not answer.
        """
        before = _place(cursor)
        await self.flush()
        root = await self._store.get(ROOT)
        found: list[Listed] = []
        for day in days_of(root.value if root else None):
            if before is None or day <= day_of(before[0]):
                found += await self._newest(day, before, limit + 1 - len(found))
            if len(found) > limit:
                break
        page = found[:limit]
        return page, f"{page[-1][0]!r}{_MARK}{page[-1][1]}" if len(found) > limit else None

    async def ids(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> set[str]:
        """All runs in the list, read a day at a time with as long a pause after each as it took.

        Raises:
            StoreError: the store does not answer.
        """
        await self.flush()
        root, found = await self._store.get(ROOT), set[str]()
        for day in days_of(root.value if root else None):
            began = time.monotonic()
            directory = await self._store.get(day_key(day))
            pages = await self._store.get_many(page_key(day, name) for name in pages_of(directory.value if directory else None))
            found.update(run for page in pages.values() for run in runs_of(page.value))
            await pause(time.monotonic() - began)
        return found

    async def _newest(self, day: str, before: Listed | None, count: int) -> list[Listed]:
        """The newest runs of a day that come after `before` in the list."""
        directory = await self._store.get(day_key(day))
        unread = _reading_order(pages_of(directory.value if directory else None), before)
        found: set[Listed] = set()
        while unread:
            enough = sorted(found, reverse=True)[:count]
            if len(enough) == count and enough[-1][0] > unread[0][0]:
                break
            # Pages without a span are all read at once: each may hold the newest run.
            due = sum(high == float("inf") for high, _ in unread) or _PAGES_AT_ONCE
            group, unread = unread[:due], unread[due:]
            entries = await self._store.get_many(page_key(day, name) for _, name in group)
            for entry in entries.values():
                found |= {(at, run) for run, at in runs_of(entry.value).items() if before is None or (at, run) < before}
        return sorted(found, reverse=True)[:count]

    async def _with_times(self, waiting: dict[str, float | None]) -> dict[str, float]:
        known = {run: at for run, at in waiting.items() if at is not None}
        unknown = [run for run, at in waiting.items() if at is None]
        heads = await self._store.get_many(map(documents.head_key, unknown)) if unknown else {}
        return known | {run: float(heads[key].value["created"]) for run in unknown if (key := documents.head_key(run)) in heads}

    async def _write(self, day: str, runs: dict[str, float]) -> None:
        left = dict(runs)
        while left:
            page = self._pages.get(day)
            if page is None or len(page.runs) >= PAGE_RUNS:
                page = self._pages[day] = await self._opened_page(day, page)
            more = dict(islice(left.items(), PAGE_RUNS - len(page.runs)))
            if not await self._stored(day, page, more):
                del self._pages[day]  # the sweeper has found it empty and taken it away
                continue
            page.runs |= more
            page.stored = True
            for run, at in more.items():
                del left[run]
                self._listed[run] = at
        while len(self._listed) > _REMEMBERED:
            self._listed.popitem(last=False)
        for past in [one for one in self._pages if one < day_of(time.time()) and one != day]:
            del self._pages[past]

    async def _stored(self, day: str, page: _Page, more: dict[str, float]) -> bool:
        def longer(document: Document | None) -> Document | None:
            return None if document is None and page.stored else {"runs": runs_of(document) | more}

        return await self._store.update(page_key(day, page.name), longer) is not None

    async def _opened_page(self, day: str, full: _Page | None) -> _Page:
        """A new page, entered in its directory; the full one before it gets its span."""
        page = _Page(f"{self._process}.{self._opened}")

        def with_day(document: Document | None) -> Document | None:
            days = days_of(document)
            return None if day in days else {"days": sorted([*days, day])}

        await self._store.update(ROOT, with_day)
        await self._store.update(day_key(day), lambda document: _entered(document, full=full, new=page))
        self._opened += 1
        return page

    async def _write_behind(self) -> None:
        while self._waiting:
            await asyncio.sleep(_BEHIND_SECONDS)
            try:
                await self.flush()
            except StoreError as error:
                _LOG.warning("the index of runs cannot be written yet: %s", error)


def _entered(document: Document | None, *, full: _Page | None = None, new: _Page | None = None) -> Document:
    """A directory in which a page that is not written to any more has its span, and a new one its place."""
    pages = pages_of(document)
    if full and full.runs and full.name in pages:
        pages[full.name] = pages[full.name] | {"low": min(full.runs.values()), "high": max(full.runs.values())}
    return {"pages": pages | ({new.name: {"at": time.time()}} if new else {})}


def _by_day(runs: dict[str, float]) -> dict[str, dict[str, float]]:
    days: dict[str, dict[str, float]] = {}
    for run, at in sorted(runs.items(), key=lambda one: one[1]):
        days.setdefault(day_of(at), {})[run] = at
    return days


def _reading_order(pages: dict[str, dict[str, float]], before: Listed | None) -> list[tuple[float, str]]:
    """Pages that may hold something below `before`, the newest first, each with the highest time that may be in it."""
    spans: Iterable[tuple[float, str]] = (
        (span.get("high", float("inf")), name) for name, span in pages.items() if before is None or span.get("low", 0.0) <= before[0]
    )
    return sorted(spans, reverse=True)


def _place(cursor: str | None) -> Listed | None:
    if cursor is None:
        return None
    at, mark, run = cursor.partition(_MARK)
    try:
        place = (float(at), run)
        day_of(place[0])
    except (ValueError, OverflowError, OSError) as error:
        raise CursorError(cursor) from error
    if not mark or not documents.ID_PATTERN.fullmatch(run):
        raise CursorError(cursor)
    return place
