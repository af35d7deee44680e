"""Ends of runs that a broker did not take, and when each is tried again: ever more seldom, at most a quarter of an hour apart.

Kept in memory: whoever starts anew tries at once. When a topic takes something after it took nothing, everything else that waits for it is
tried at once, but each only once: an event that the broker refuses for itself (it may be too long there) keeps to its own pauses.
Pure, but that it remembers; times are seconds since the epoch.
"""

from dataclasses import dataclass, replace
from typing import Final

from holdfast_agent.publishing import PublishError

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 900.0
_FORGOTTEN_SECONDS: Final = 2 * LONGEST_SECONDS
_MOST_DOUBLINGS: Final = 20

Target = tuple[str, str]
"""Component and topic."""


@dataclass(frozen=True)
class Postponed:
    """One event that was not taken.

    Attributes:
        failed: how often.
        until: when it is tried again.
        message: what the broker or Dapr said, and what mends it.
        hurried: whether it was tried out of its turn already, because its topic took another one.
    """

    target: Target
    failed: int
    until: float
    message: str
    hurried: bool = False


class Postponements:
    """All of them, by event."""

    def __init__(self) -> None:
        self._waiting: dict[str, Postponed] = {}
        self._targets: set[Target] = set()

    def of(self, event: str) -> Postponed | None:
        """What is known of an event; None: it did not fail here."""
        return self._waiting.get(event)

    def due(self, event: str, now: float) -> bool:
        """Whether it is to be tried."""
        known = self._waiting.get(event)
        return known is None or now >= known.until

    def failed(self, event: str, target: Target, error: PublishError, now: float) -> bool:
        """It was not taken. Returns whether that is news: the topic has not said so of any event that waits."""
        news = not any(known.target == target and known.message == str(error) for known in self._waiting.values())
        for past in [name for name, known in self._waiting.items() if known.until + _FORGOTTEN_SECONDS < now]:
            del self._waiting[past]  # nobody asks for it any more: another process told it, or its run is erased
        self._targets.add(target)
        before = self._waiting.get(event)
        failed = before.failed + 1 if before else 1
        pause = min(FIRST_SECONDS * 2 ** min(failed - 1, _MOST_DOUBLINGS), LONGEST_SECONDS)
        self._waiting[event] = Postponed(target, failed, now + pause, str(error), before.hurried if before else False)
        return news

    def settled(self, event: str) -> None:
        """It is told, or nobody has to be told any more."""
        self._waiting.pop(event, None)

    def taken(self, event: str, target: Target, now: float) -> None:
        """The topic took it. Others that wait for the same topic are tried at once, if they may."""
        self.settled(event)
        self._targets.add(target)
        for name, known in self._waiting.items():
            if known.target == target and not known.hurried:
                self._waiting[name] = replace(known, until=now, hurried=True)

    def tally(self) -> dict[Target, int]:
        """How many events wait, by where they are to go."""
        return {target: sum(known.target == target for known in self._waiting.values()) for target in self._targets}
