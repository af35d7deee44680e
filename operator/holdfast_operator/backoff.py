"""How long to wait between attempts at a request that has to succeed in the end."""

import random
from collections.abc import Iterator

_FIRST = 0.5
_LONGEST = 5.0


class Backoffs:
    """Seconds between the attempts, for ever, since an API server that is away for an hour comes back as well."""

    def __iter__(self) -> Iterator[float]:
        """Begin with the shortest."""
        delay = _FIRST
        while True:
            yield delay * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing
            delay = min(2 * delay, _LONGEST)
