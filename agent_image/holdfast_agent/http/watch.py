"""Runs that somebody watches. A run is looked at only while there is somebody, and once for all who watch it here."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from holdfast_agent import documents
from holdfast_agent.documents import Head
from holdfast_agent.http.parts import Parts
from holdfast_agent.timelines import Timeline

POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Look:
    """A run at one moment: its head (None: it is gone), and then its turns since the last continue-as-new."""

    head: Head | None
    timeline: Timeline


class Watch:
    """One run that is watched; gone with the last who holds it."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._look: tuple[float, asyncio.Task[Look]] | None = None
        self._noticed = 0.0
        self._change = asyncio.Event()

    def notice(self) -> None:
        """Something happened to the run in this process."""
        self._noticed = asyncio.get_running_loop().time()
        self._change.set()
        self._change = asyncio.Event()

    async def look(self, parts: Parts) -> Look:
        """The run as it is now, or as somebody else saw it a moment ago.

        Raises:
            StoreError: the store does not answer.
        """
        now = asyncio.get_running_loop().time()
        if self._look is None or self._look[0] < max(now - POLL_SECONDS / 2, self._noticed):
            self._look = now, asyncio.create_task(_look(parts, self._run, self._seen()))
        return await asyncio.shield(self._look[1])

    def _seen(self) -> Look | None:
        """The look before, if it saw something."""
        task = self._look[1] if self._look else None
        return task.result() if task and task.done() and not task.cancelled() and task.exception() is None else None

    async def wait(self, seconds: float) -> None:
        """Return when something happened to the run here, or after some seconds: it may be carried out by another process."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._change.wait()


class Watches:
    """All runs that are watched here."""

    def __init__(self) -> None:
        self._watches: WeakValueDictionary[str, Watch] = WeakValueDictionary()

    def of(self, run: str) -> Watch:
        """The watch of a run, to be held as long as somebody watches."""
        return self._watches.setdefault(run, Watch(run))

    def notice(self, run: str) -> None:
        """Something happened to a run in this process."""
        watch = self._watches.get(run)
        if watch:
            watch.notice()


async def _look(parts: Parts, run: str, seen: Look | None) -> Look:
    head = await parts.runs.find(run)
    if head is None:
        return Look(None, Timeline())
    # An id may be used again once its run is gone, and then nothing is known of the new one.
    known = seen.timeline.outcomes if seen and seen.head and seen.head.created == head.created else None
    # The head first: when it says that the run has ended, everything that the run did is stored.
    return Look(head, await parts.timelines.read(head, head.packed + 1, head.packed + documents.UNPACKED, known))
