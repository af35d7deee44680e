"""How often a tool is called in this process: no minute has more places than its limit.

Whoever comes above the limit is given a place: the moment at which its call may begin. It keeps the place while it waits elsewhere, so
calls that wait for long cost one look each and begin in the order in which they came, or some seconds after their moment.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_MINUTE: Final = 60.0
_LATE: Final = 10.0
"""Seconds after which a place that nobody took is lost. A call that came later still would be one too many in its minute."""


@dataclass
class _Line:
    """Moments of the newest calls of a tool, oldest first, made or to come; and those to come by their keys."""

    moments: deque[float] = field(default_factory=deque)
    places: dict[str, float] = field(default_factory=dict)


class Rates:
    """All tools of this process, whichever revision they are of."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing called.

        Args:
            clock: seconds, from any moment on.
        """
        self._clock = clock
        self._lines: dict[str, _Line] = {}

    def wait(self, tool: str, key: str, per_minute: int) -> float:
        """Seconds until the call may be made; 0: now, and it is counted. Asking again with the same key gives the same moment.

        Args:
            tool: its name.
            key: of the call.
            per_minute: the limit.
        """
        now, line = self._clock(), self._lines.setdefault(tool, _Line())
        line.places = {name: moment for name, moment in line.places.items() if moment + _LATE >= now}
        moment = line.places.get(key)
        if moment is None:
            moment = line.places[key] = self._next(line, per_minute, now)
        if moment > now:
            return moment - now
        del line.places[key]
        return 0.0

    @staticmethod
    def _next(line: _Line, per_minute: int, now: float) -> float:
        while len(line.moments) > per_minute:
            line.moments.popleft()
        moment = max(now, line.moments.popleft() + _MINUTE) if len(line.moments) == per_minute else now
        line.moments.append(moment)
        return moment
