"""How many runs are at work that this process took, and whether it takes one more (`limits.maxConcurrentRuns`).

At work is a run that was accepted here, or scheduled for one that died, and has neither ended nor waits for time, a person or a store.
Dapr spreads its steps over all replicas; who carries out a step does not count the run, or each replica would count those of all. What is
counted is this process's view: a run that ended elsewhere is found out by its head, which is read before anybody is refused.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

_LOOK_SECONDS: Final = 1.0
_SETTLED_SECONDS: Final = 1.0
_LISTED_SECONDS: Final = 60.0
"""After which a run that has not ended is in the index of open runs: its entry is written a second after its first step."""


class BusyError(Exception):
    """No more runs are taken now.

    Attributes:
        most: how many there may be.
        retry_after: seconds after which asking again makes sense.
    """

    def __init__(self, most: int, retry_after: float) -> None:
        super().__init__(f"limits.maxConcurrentRuns is {most}, and as many runs are at work that this replica took")
        self.most, self.retry_after = most, retry_after


class Admission:
    """The runs that this process took."""

    def __init__(self) -> None:
        self._working: dict[str, float] = {}
        self._resting: set[str] = set()
        self._looked = -math.inf

    @property
    def working(self) -> int:
        """How many there are."""
        return len(self._working)

    def __contains__(self, run: str) -> bool:
        """Whether that run was taken here and is not known to have ended."""
        return run in self._working or run in self._resting

    def add(self, run: str) -> None:
        """The run was just taken here."""
        self._resting.discard(run)
        self._working[run] = time.monotonic()

    def goes_on(self, run: str) -> None:
        """A step of the run begins here: if it was taken here, it waits no longer."""
        if run in self:
            self.add(run)

    def rest(self, run: str) -> None:
        """The run waits."""
        if self._working.pop(run, None) is not None:
            self._resting.add(run)

    def drop(self, run: str) -> None:
        """The run has ended."""
        self._working.pop(run, None)
        self._resting.discard(run)

    def keep(self, runs: Iterable[str]) -> None:
        """These are all the runs that may not have ended, as far as is written down: others that were taken long ago have."""
        there, now = set(runs), time.monotonic()
        self._resting &= there
        self._working = {run: since for run, since in self._working.items() if run in there or since + _LISTED_SECONDS > now}

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
                self.rest(other)
        if most is not None and self.working >= most and run not in self._working:
            raise BusyError(most, _LOOK_SECONDS)
        self.add(run)
