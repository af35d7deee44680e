"""How many runs are at work that this process took, and whether it takes one more (`limits.maxConcurrentRuns`).

At work is a run that was accepted here, or scheduled for one that died, and has neither ended nor waits for time, a person or a store.
Dapr spreads its steps over all replicas; who carries out a step does not count the run, or each replica would count those of all. But a run
that began before this process did may be one that nobody counts any more, because the process that took it is gone: it is counted here from
its next step here on. What is counted is this process's view: its mistakes are found out by the heads, which are read before it is full.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Final

from holdfast_agent.heads import Head

_LOOK_SECONDS: Final = 1.0
_SETTLED_SECONDS: Final = 1.0
_RESTING_AT_ONCE: Final = 200
"""Any number of runs may wait: of more than these, the next ones are looked at the next time."""
_LISTED_SECONDS: Final = 60.0
"""After which a run that has not ended is in the index of open runs: its entry is written a second after its first step."""


Heads = Callable[[Iterable[str]], Awaitable[Iterable[Head]]]
"""The heads of some runs, of those that have one. Raises StoreError."""


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
        # Those that wait, in the order in which they are looked at again; the values tell nothing.
        self._resting: dict[str, None] = {}
        # Runs that have steps here and were not taken here: those not asked about yet, and those that began later than this process.
        self._unsure: set[str] = set()
        self._others: set[str] = set()
        self._began, self._looked = time.time(), -math.inf

    @property
    def working(self) -> int:
        """How many there are."""
        return len(self._working)

    def __contains__(self, run: str) -> bool:
        """Whether that run counts here, or does once it goes on, and is not known to have ended."""
        return run in self._working or run in self._resting

    def add(self, run: str) -> None:
        """The run was just taken here."""
        self._resting.pop(run, None)
        self._unsure.discard(run)
        self._others.discard(run)
        self._working[run] = time.monotonic()

    def goes_on(self, run: str) -> None:
        """A step of the run begins here: if it counts here, it waits no longer."""
        if run in self:
            self.add(run)
        elif run not in self._others:
            self._unsure.add(run)

    def rest(self, run: str) -> None:
        """The run waits."""
        self._unsure.discard(run)
        if self._working.pop(run, None) is not None:
            self._resting[run] = None

    def drop(self, run: str) -> None:
        """The run has ended."""
        self._working.pop(run, None)
        self._resting.pop(run, None)
        self._unsure.discard(run)
        self._others.discard(run)

    def keep(self, runs: Iterable[str]) -> None:
        """These are all the runs that may not have ended, as far as is written down: others that were taken long ago have."""
        there, now = set(runs), time.monotonic()
        self._unsure &= there
        self._others &= there
        self._resting = {run: None for run in self._resting if run in there}
        self._working = {run: since for run, since in self._working.items() if run in there or since + _LISTED_SECONDS > now}

    async def admit(self, run: str, most: int | None, heads: Heads) -> None:
        """Take one more run, at once: between the counting and the taking nobody else is taken.

        Args:
            run: its id.
            most: how many there may be; None: any number.
            heads: reads what is written down of runs.

        Raises:
            BusyError: there are as many as there may be.
            StoreError: the heads cannot be read.
        """
        if most is not None and self._unsure and self.working + len(self._unsure) >= most:
            await self._adopt(heads)
        now = time.monotonic()
        if most is not None and self.working + len(self._resting) >= most and now >= self._looked + _LOOK_SECONDS:
            self._looked = now
            await self._look(heads, now)
        if most is not None and self.working >= most and run not in self._working:
            raise BusyError(most, _LOOK_SECONDS)
        self.add(run)

    async def _look(self, heads: Heads, now: float) -> None:
        """Find out what became elsewhere of the runs that count here: which have ended, which wait, and which wait no longer."""
        working = [run for run, since in self._working.items() if since + _SETTLED_SECONDS < now]
        resting = list(islice(self._resting, _RESTING_AT_ONCE))
        for run in resting:
            self._resting[run] = self._resting.pop(run)
        for head in await heads(working + resting):
            if head.terminal:
                self.drop(head.id)
            elif head.at_rest:
                self.rest(head.id)
            elif head.id in self._resting:
                self.add(head.id)

    async def _adopt(self, heads: Heads) -> None:
        """Find out which runs with steps here began before this process. Each is asked about once."""
        asked = set(self._unsure)
        older = {head.id: head for head in await heads(asked) if head.created < self._began}
        for run in asked & self._unsure:
            self._unsure.discard(run)
            if run not in older:
                self._others.add(run)
            elif older[run].at_rest:
                self._resting[run] = None
            else:
                self._working[run] = time.monotonic()
