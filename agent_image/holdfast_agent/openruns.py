"""The index of runs that may not have ended: what the janitor looks through. Never Dapr's own list, which scans the whole store.

Entries are written behind: a run that ends within a second never gets one, and runs that are begun together share a write. That is
safe because a run that Dapr has scheduled needs nobody to look after it, but for three cases, and each waits for its entry (`ensure`):
it could not be scheduled, it is about to wait on a timer (which can be lost with the scheduler's data), or it is found unscheduled.

Each process writes into one shard, picked by its pod's name, so replicas seldom meet. Entries of ended runs go out with a later write.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Final

from holdfast_agent import documents
from holdfast_agent.admission import Admission
from holdfast_agent.documents import Document
from holdfast_agent.listing import Listing
from holdfast_agent.store import Store, StoreError

_LOG = logging.getLogger(__name__)
SHARDS: Final = 16
_HEADS_AT_ONCE: Final = 200
_BEHIND_SECONDS: Final = 1.0


class OpenRuns:
    """The index as one process sees it."""

    def __init__(self, store: Store, *, pod: str, listing: Listing | None = None) -> None:
        self._store, self.listing, self.admission = store, listing or Listing(store), Admission()
        self._key = documents.shard_key(int.from_bytes(hashlib.sha256(pod.encode()).digest()[:4]) % SHARDS)
        self._adding: dict[str, float] = {}
        self._written: set[str] = set()
        self._dropping: set[str] = set()
        self._writing = asyncio.Lock()
        self._behind: asyncio.Task[None] | None = None

    def add(self, run: str) -> None:
        """The run is worked on here; it gets an entry if it lasts. In the list of all runs it gets one in any case."""
        self.listing.add(run)
        self.admission.goes_on(run)
        self._dropping.discard(run)  # an id may be used again: what waits to go out was another run's
        if run not in self._written:
            self._adding.setdefault(run, time.time())
            if self._behind is None or self._behind.done():
                self._behind = asyncio.ensure_future(self._write_behind())

    async def ensure(self, run: str) -> None:
        """Return when the run's entry is stored.

        Raises:
            StoreError: it is not.
        """
        self.add(run)
        await self.flush()

    async def waits(self, run: str) -> None:
        """The run is about to wait. Returns when its entry is stored, because a timer can be lost.

        Raises:
            StoreError: it is not.
        """
        await self.ensure(run)
        self.admission.rest(run)

    def drop(self, run: str) -> None:
        """The run has ended."""
        self.admission.drop(run)
        if self._adding.pop(run, None) is None:
            self._dropping.add(run)

    async def flush(self) -> None:
        """Write what waits to go in or out.

        Raises:
            StoreError: the store does not answer.
        """
        async with self._writing:
            adding, dropping = self._adding, self._dropping
            if not adding and not dropping:
                return
            self._adding, self._dropping = {}, set()
            try:
                await self._store.update(self._key, lambda document: _changed(document, adding, dropping))
            except StoreError:
                self._adding, self._dropping = adding | self._adding, dropping | self._dropping
                raise
            self._written = (self._written | adding.keys()) - dropping

    async def all(self) -> dict[str, float]:
        """Run -> when its newest entry was made (seconds since the epoch), over all replicas.

        Raises:
            StoreError: the store does not answer.
        """
        entries = await self._store.get_many(map(documents.shard_key, range(SHARDS)))
        found: dict[str, float] = {}
        for entry in entries.values():
            found |= {run: max(since, found.get(run, 0.0)) for run, since in entry.value["runs"].items()}
        return found

    async def sessions(self) -> set[str]:
        """Sessions that these runs belong to.

        Raises:
            StoreError: the store does not answer.
        """
        runs, found = sorted(await self.all()), set[str]()
        for start in range(0, len(runs), _HEADS_AT_ONCE):
            heads = await self._store.get_many(map(documents.head_key, runs[start : start + _HEADS_AT_ONCE]))
            found |= {head.value["session"] for head in heads.values() if head.value.get("session")}
        return found

    async def forget(self, runs: Mapping[str, float]) -> None:
        """Take entries out, whichever shard they are in.

        Args:
            runs: with when each entry was made: one that was made since is another run's, whose id was used before.

        Raises:
            StoreError: the store does not answer.
        """
        if not runs:
            return
        entries = await self._store.get_many(map(documents.shard_key, range(SHARDS)))
        for key, entry in entries.items():
            if runs.keys() & entry.value["runs"].keys():
                await self._store.update(key, lambda document: _forgotten(document, runs))
        self._written -= runs.keys()

    def keep(self, runs: Iterable[str]) -> None:
        """These are all the entries that there are; others need not be remembered here."""
        self._written.intersection_update(there := set(runs))
        self.admission.keep(there)

    async def _write_behind(self) -> None:
        while self._adding:
            await asyncio.sleep(_BEHIND_SECONDS)
            try:
                if self._adding:
                    await self.flush()
            except StoreError as error:
                _LOG.warning("the index of open runs cannot be written yet: %s", error)


def _forgotten(document: Document | None, gone: Mapping[str, float]) -> Document:
    return {"runs": {run: since for run, since in (document or {}).get("runs", {}).items() if since > gone.get(run, 0.0)}}


def _changed(document: Document | None, adding: dict[str, float], dropping: set[str]) -> Document:
    runs = (document or {}).get("runs", {}) | adding
    return {"runs": {run: since for run, since in runs.items() if run not in dropping}}
