"""The index of runs that may not have ended: what the janitor looks through. Never Dapr's own list, which scans the whole store.

An entry is written before a run is accepted, together with its head. Each process writes into one shard, picked by its pod's name:
runs that arrive together share one write, and replicas seldom meet. Entries of ended runs go out with the next write.
"""

import asyncio
import hashlib
import time
from typing import Final

from holdfast_agent import documents
from holdfast_agent.documents import Document
from holdfast_agent.store import Store

SHARDS: Final = 16


class OpenRuns:
    """The index as one process sees it."""

    def __init__(self, store: Store, *, pod: str) -> None:
        self._store = store
        self._key = documents.shard_key(int.from_bytes(hashlib.sha256(pod.encode()).digest()[:4]) % SHARDS)
        self._adding: dict[str, float] = {}
        self._dropping: set[str] = set()
        self._writer: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def add(self, run: str) -> None:
        """Return when the entry is stored.

        Raises:
            StoreError: it is not.
        """
        self._adding[run] = time.time()
        if self._next is None:
            self._next = asyncio.ensure_future(self._write_after(self._writer))
        await asyncio.shield(self._next)

    def drop(self, run: str) -> None:
        """The run has ended; its entry goes out some time."""
        self._dropping.add(run)

    async def flush(self) -> None:
        """Write what waits to go out.

        Raises:
            StoreError: the store does not answer.
        """
        if self._dropping:
            if self._next is None:
                self._next = asyncio.ensure_future(self._write_after(self._writer))
            await asyncio.shield(self._next)

    async def all(self) -> dict[str, float]:
        """Run -> when its entry was written (seconds since the epoch), over all replicas.

        Raises:
            StoreError: the store does not answer.
        """
        entries = await self._store.get_many(map(documents.shard_key, range(SHARDS)))
        return {run: since for entry in entries.values() for run, since in entry.value["runs"].items()}

    async def forget(self, runs: set[str]) -> None:
        """Take entries out, whichever shard they are in.

        Raises:
            StoreError: the store does not answer.
        """
        if not runs:
            return
        entries = await self._store.get_many(map(documents.shard_key, range(SHARDS)))
        for key, entry in entries.items():
            gone = runs & entry.value["runs"].keys()
            if gone:
                await self._store.update(key, lambda document, gone=gone: _changed(document, {}, gone))  # type: ignore[misc]

    async def _write_after(self, earlier: "asyncio.Task[None] | None") -> None:
        """One write for all who asked while the earlier one was under way."""
        if earlier is not None:
            await asyncio.wait([earlier])
        self._writer, self._next = self._next, None
        adding, self._adding = self._adding, {}
        dropping, self._dropping = self._dropping, set()
        await self._store.update(self._key, lambda document: _changed(document, adding, dropping))


def _changed(document: Document | None, adding: dict[str, float], dropping: set[str]) -> Document:
    runs = (document or {}).get("runs", {}) | adding
    return {"runs": {run: since for run, since in runs.items() if run not in dropping}}
