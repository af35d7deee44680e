"""Runs that stand in the list, have not ended, and that Dapr knows nothing of: nobody would ever carry them on.

None should come to be any more, but a version before this one could leave such a run behind when it was killed at the wrong moment. It is
entered in the index of open runs, and the janitor does about it what it does about every run there: it schedules it, or writes down that
its deadline has passed.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Final

from holdfast_agent import documents
from holdfast_agent.documents import Head
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.store import Store

_LOG = logging.getLogger(__name__)
_AT_ONCE: Final = 200
_SETTLED_SECONDS: Final = 60.0
"""A run that is younger may be about to be scheduled."""


async def take_in(store: Store, index: OpenRuns, runs: Iterable[str], pause: Callable[[float], Awaitable[None]]) -> list[str]:
    """Have the janitor look after those that have not ended. Returns which.

    Args:
        store: where heads are.
        index: of runs that may not have ended.
        runs: which Dapr has no workflow of.
        pause: waits for so many seconds: as long after each read as it took.

    Raises:
        StoreError: the store does not answer.
    """
    found = []
    left = iter(sorted(runs))
    while group := list(islice(left, _AT_ONCE)):
        began = time.monotonic()
        heads = await store.get_many(map(documents.head_key, group))
        for entry in heads.values():
            head = Head.load(entry.value)
            if not head.terminal and head.created + _SETTLED_SECONDS < time.time():
                await index.waits(head.id)
                found.append(head.id)
        await pause(time.monotonic() - began)
    if found:
        told = {"runs": found[:10]}
        _LOG.warning(
            "%d runs that have not ended have no workflow in Dapr: they are carried on from where they stand", len(found), extra=told
        )
    return found
