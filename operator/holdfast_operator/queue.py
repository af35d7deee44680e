"""Which Agent is due, and when: a queue of keys without duplicates, with exponential back-off.

`Schedule` decides and knows no event loop; time comes in from outside. `Queue` runs workers over it. A key is worked on by one worker
at a time; one that becomes due meanwhile is looked at again afterwards, so no event is lost and a burst costs one look.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from holdfast_operator.kinds import Key

logger = logging.getLogger(__name__)

FIRST_DELAY = 0.5
MAX_DELAY = 60.0
_SLACK = 64


class Retry(Exception):  # noqa: N818 - it reads as a request: raise Retry(...)
    """The work could not be finished and is to be tried again.

    Attributes:
        after: seconds that the server asked to wait; None for the usual back-off.
    """

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Sizes(NamedTuple):
    """How much there is to do.

    Attributes:
        depth: keys that wait, for their time or for a worker.
        due: those of them whose time has come.
        waited: seconds that the one of these that is due the longest has waited for a worker.
        failing: keys whose last look failed.
        running: keys that are worked on.
    """

    depth: int
    due: int
    waited: float
    failing: int
    running: int


class Schedule:
    """Due times of keys."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._working: set[Key] = set()
        self._meanwhile: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._due)

    def sizes(self, now: float) -> Sizes:
        """Count."""
        first = self.next_due()
        waited = 0.0 if first is None else max(now - first, 0.0)
        due = sum(time <= now for time in self._due.values())
        return Sizes(len(self._due), due, waited, len(self._failures), len(self._working))

    def add(self, key: Key, due: float) -> None:
        """Make a key due at a time; an earlier time that it already has stays."""
        if key in self._working:
            self._meanwhile[key] = min(due, self._meanwhile.get(key, due))
        elif due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._order), key))
            self._tidy()

    def _tidy(self) -> None:
        """Drop entries that an earlier time has overtaken, once they are most of the heap."""
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def next_due(self) -> float | None:
        """When the next key is due; None when there is none."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> Key | None:
        """Take the key that is due the longest, if any is."""
        due = self.next_due()
        if due is None or due > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._due[key]
        self._working.add(key)
        return key

    def done(self, key: Key) -> None:
        """The work on a key succeeded."""
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: Key, now: float, *, after: float | None = None) -> float:
        """The work on a key failed. Events that come meanwhile do not shorten the back-off of a failing key.

        Returns:
            Seconds until it is tried again.
        """
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = min(FIRST_DELAY * 2.0 ** min(count, 32), MAX_DELAY)
        delay = max(delay * (0.75 + 0.5 * self._chance()), after or 0.0)
        self._meanwhile.pop(key, None)
        self._release(key)
        self.add(key, now + delay)
        return delay

    def forget(self, key: Key) -> None:
        """Drop a key with its history."""
        for held in (self._due, self._meanwhile, self._failures):
            held.pop(key, None)

    def _release(self, key: Key) -> None:
        self._working.discard(key)
        if (due := self._meanwhile.pop(key, None)) is not None:
            self.add(key, due)


class Queue:
    """Workers over a `Schedule`."""

    def __init__(self, work: Callable[[Key], Awaitable[float | None]], *, workers: int, schedule: Schedule | None = None) -> None:
        """Make the queue.

        Args:
            work: does the work of one key; returns seconds after which to look again, or None. Raises Retry for back-off.
            workers: how many keys are worked on at a time.
            schedule: for tests.
        """
        self._work = work
        self._workers = workers
        self._schedule = schedule or Schedule()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._schedule)

    def sizes(self) -> Sizes:
        """How much there is to do now."""
        return self._schedule.sizes(self._now())

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Make a key due after a delay in seconds."""
        self._schedule.add(key, self._now() + delay)
        self._wake.set()

    def forget(self, key: Key) -> None:
        """Drop a key."""
        self._schedule.forget(key)

    async def run(self) -> None:
        """Work until canceled."""
        idle = asyncio.Semaphore(self._workers)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await idle.acquire()
                key = await self._next()
                task = tasks.create_task(self._one(key))
                task.add_done_callback(lambda _: idle.release())

    async def _next(self) -> Key:
        while True:
            self._wake.clear()
            if key := self._schedule.pop(self._now()):
                return key
            due = self._schedule.next_due()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), None if due is None else max(due - self._now(), 0.0))

    async def _one(self, key: Key) -> None:
        try:
            again = await self._work(key)
        except Retry as retry:
            delay = self._schedule.failed(key, self._now(), after=retry.after)
            logger.warning("%s/%s: %s; trying again in %.1f s", *key, retry, delay)
            self._wake.set()
        except Exception:
            delay = self._schedule.failed(key, self._now())
            logger.exception("%s/%s: an error in Holdfast; trying again in %.1f s", *key, delay)
            self._wake.set()
        else:
            self._schedule.done(key)
            if again is not None:
                self.add(key, again)
            self._wake.set()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
