"""Runs that are in Dapr and not in the list of runs: shorter than a second, and their process was killed before it wrote the entry.

And runs in the list that Dapr knows nothing of, see `orphans`.

They are looked for once in the life of a process, some time after its start, because whoever was killed has a successor; and again, ever
more seldom, until it has worked once. Dapr's list is a scan of its whole store, so it is read in large pages, with as long a pause after
each as it took.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from holdfast_agent.documents import ID_PATTERN
from holdfast_agent.engine import EngineError
from holdfast_agent.listing import Listing
from holdfast_agent.store import StoreError

_LOG = logging.getLogger(__name__)


class Lister(Protocol):
    """What is needed of the engine."""

    async def instances(self, after: str | None) -> tuple[list[str], str | None]:
        """Ids of some instances, and where to go on; None: that was all. Raises EngineError."""


Pause = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""
TakeIn = Callable[[set[str], Pause], Awaitable[object]]
"""What is done about runs in the list that are not in Dapr; most of them have been purged there. May raise StoreError."""


async def look_for_strays(
    engine: Lister, listing: Listing, *, every: float, orphans: TakeIn | None = None, pause: Pause = asyncio.sleep
) -> None:
    """Enter what is missing in the list, after `every` seconds; if that cannot be done, after twice as long, and so on."""
    while True:
        await pause(every)
        if await list_strays(engine, listing, orphans=orphans, pause=pause) is not None:
            return
        every *= 2


async def list_strays(engine: Lister, listing: Listing, *, orphans: TakeIn | None = None, pause: Pause = asyncio.sleep) -> int | None:
    """Enter what is missing in the list. Returns how many entries were made; None: something did not answer, and some may be missing.

    Args:
        engine: knows all workflows.
        listing: of this process.
        orphans: looks at runs that are in the list only.
        pause: waits for so many seconds.
    """
    try:
        listed, found, after = await listing.ids(pause), set[str](), None
        unknown = set(listed)
        while True:
            began = time.monotonic()
            runs, after = await engine.instances(after)
            unknown.difference_update(runs)
            # Calls that Dapr carries out for us are workflows too, with ids that no run can have.
            found.update(run for run in set(runs) - listed if ID_PATTERN.fullmatch(run))
            if after is None:
                break
            await pause(time.monotonic() - began)
        for run in found:
            listing.add(run)
        await listing.flush()
        if orphans:
            await orphans(unknown, pause)
    except (EngineError, StoreError) as error:
        _LOG.warning("runs of a process that was killed may be missing in the list: %s", error)
        return None
    except Exception:  # noqa: BLE001 - sweeping goes on beside it
        _LOG.exception("looking for runs that are not in the list broke")
        return None
    if found:
        _LOG.info("%d runs were not in the list", len(found))
    return len(found)
