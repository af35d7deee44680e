"""A store in memory that keeps the rules of `Store`, counts what it is asked, and fails when it is told to."""

import json
from collections import Counter

from holdfast_agent.store import Entry, StoreError


class MemoryStore:
    """Documents by key. `broken` keys fail; `dies_after` calls that write, every further call fails, as after a kill -9."""

    def __init__(self):
        self.documents, self.versions, self.broken = {}, Counter(), set()
        self.calls, self.widest, self.dies_after = Counter(), 0, None

    async def get(self, key):
        self.calls["get"] += 1
        self._check(key)
        return self._entry(key)

    async def get_many(self, keys):
        wanted = list(keys)
        self.calls["get_many"] += 1
        self.widest = max(self.widest, len(wanted))
        self._check(*wanted)
        return {key: entry for key in wanted if (entry := self._entry(key))}

    async def create(self, key, value):
        self._check(key, writes=True)
        if key in self.documents:
            return self._entry(key).value, False
        self._put(key, value)
        return value, True

    async def update(self, key, change, *, known=None):
        self._check(key)
        entry = self._entry(key)
        wanted = change(entry.value if entry else None)
        if wanted is None or (entry and wanted == entry.value):
            return entry.value if entry else None
        self._check(key, writes=True)
        self._put(key, wanted)
        return wanted

    async def delete(self, key, *, etag=None):
        self._check(key, writes=True)
        if key in self.documents and etag not in (None, str(self.versions[key])):
            return False
        self.documents.pop(key, None)
        return True

    async def delete_many(self, keys):
        for key in keys:
            await self.delete(key)

    def _entry(self, key):
        return Entry(json.loads(self.documents[key]), str(self.versions[key])) if key in self.documents else None

    def _put(self, key, value):
        self.documents[key] = json.dumps(value)
        self.versions[key] += 1

    def _check(self, *keys, writes=False):
        if writes:
            self.calls["writes"] += 1
            if self.dies_after is not None and self.calls["writes"] > self.dies_after:
                raise StoreError("killed")
        if self.broken.intersection(keys):
            raise StoreError("away")
