"""How many runs are at work in this process, and whether it takes one more (`limits.maxConcurrentRuns`).

At work is a run that was accepted or is worked on here and has neither ended nor waits for time, a person or a store. What is counted is
this process's view; a run that has moved to another one is found out by its head, which is read before anybody is refused.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

_LOOK_SECONDS: Final = 1.0
_SETTLED_SECONDS: Final = 1.0


class BusyError(Exception):
    """No more runs are taken now.

    Attributes:
        most: how many there may be.
        retry_after: seconds after which asking again makes sense.
    """

    def __init__(self, most: int, retry_after: float) -> None:
        super().__init__(f"limits.maxConcurrentRuns is {most}, and as many runs are at work in this replica")
        self.most, self.retry_after = most, retry_after


class Admission:
    """The runs at work in this process."""

    def __init__(self) -> None:
        self._working: dict[str, float] = {}
        self._looked = -math.inf

    @property
    def working(self) -> int:
        """How many there are."""
        return len(self._working)

    def __contains__(self, run: str) -> bool:
        """Whether that run is at work here."""
        return run in self._working

    def add(self, run: str) -> None:
        """A step of the run begins here, or it was just accepted."""
        self._working[run] = time.monotonic()

    def drop(self, run: str) -> None:
        """The run has ended, or waits."""
        self._working.pop(run, None)

    async def admit(self, run: str, most: int | None, at_rest: Callable[[Iterable[str]], Awaitable[Iterable[str]]]) -> None:
        """Take one more run, at once: between the counting and the taking nobody else is taken.

        Args:
            run: its id.
            most: how many there may be; None: any number.
            at_rest: which of some runs have ended or wait, by their heads.

        Raises:
            BusyError: there are as many as there may be.
            StoreError: the heads cannot be read.
        """
        now = time.monotonic()
        if most is not None and self.working >= most and now >= self._looked + _LOOK_SECONDS:
            self._looked = now
            for other in await at_rest([run for run, since in self._working.items() if since + _SETTLED_SECONDS < now]):
                self.drop(other)
        if most is not None and self.working >= most and run not in self._working:
            raise BusyError(most, _LOOK_SECONDS)
        self.add(run)
