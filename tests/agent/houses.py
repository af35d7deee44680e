"""Runs over a store in memory and a Dapr that says and does what a test wants."""

import time
from datetime import UTC, datetime

from holdfast_agent import documents
from holdfast_agent.controls import Controls
from holdfast_agent.documents import Head
from holdfast_agent.engine import EngineError, Instance
from holdfast_agent.janitor import Janitor
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.runs import Runs
from holdfast_agent.store import Entry, StoreError


class Memory:
    """A store in memory, which fails for the keys in `broken`."""

    def __init__(self):
        self.documents, self.broken, self.widest = {}, set(), 0

    async def get(self, key):
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys):
        wanted = list(keys)
        self.widest = max(self.widest, len(wanted))
        if self.broken.intersection(wanted):
            raise StoreError("away")
        return {key: Entry(self.documents[key], "1") for key in wanted if key in self.documents}

    async def create(self, key, value):
        return self.documents.setdefault(key, value), self.documents[key] is value

    async def update(self, key, change, *, known=None):
        entry = known or await self.get(key)
        wanted = change(entry.value if entry else None)
        if wanted is not None:
            self.documents[key] = wanted
        return self.documents.get(key)


class Dapr:
    """Workflow instances by id; an exception in place of a status is raised."""

    def __init__(self, **statuses):
        self.statuses, self.events, self.scheduled, self.terminated, self.asked = statuses, [], [], [], []
        self.away, self.updated = False, datetime.now(UTC)

    async def instance(self, run):
        self.asked.append(run)
        status = self.statuses.get(run)
        if isinstance(status, Exception):
            raise status
        return Instance(status, self.updated, None) if status else None

    async def wake(self, run, event):
        self._there()
        self.events.append((run, event))

    async def schedule(self, run, payload):
        self.scheduled.append((run, payload["max_iterations"]))
        return True

    def _there(self):
        if self.away:
            raise EngineError("away")

    async def terminate(self, run):
        self._there()
        self.terminated.append(run)


class House:
    """Runs with their heads in the index, over a fake store and a fake Dapr."""

    def __init__(self, *heads, **statuses):
        self.store, self.dapr = Memory(), Dapr(**statuses)
        self.index = OpenRuns(self.store, pod="a")
        self.runs = Runs(store=self.store, engine=self.dapr, revisions=None, index=self.index)
        self.janitor = Janitor(runs=self.runs, store=self.store, engine=self.dapr, index=self.index, overdue_seconds=0.5)
        self.controls = Controls(runs=self.runs, store=self.store, engine=self.dapr, index=self.index)
        for head in heads:
            self.store.documents[documents.head_key(head.id)] = head.dump()
        self.store.documents[documents.shard_key(0)] = {"runs": {head.id: time.time() for head in heads}}

    def head(self, run):
        return Head.load(self.store.documents[documents.head_key(run)])

    def passes(self, monkeypatch, seconds):
        """Time passes."""
        now = time.time() + seconds
        monkeypatch.setattr(time, "time", lambda: now)


def head_of(run, *, left=600.0, **more):
    now = time.time()
    fields = {"id": run, "task": "go", "digest": "d", "revision": "abc", "created": now, "max_iterations": 7, "longest_call": 60.0}
    return Head(**fields | {"deadline": now + left} | more)
