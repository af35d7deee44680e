"""The activities of tools without a workflow: on a store in memory that keeps the rules of the real one, with real tools over HTTP."""

import copy
import time

import pytest

from holdfast_agent.activities import compensate, tool
from holdfast_agent.activities.steps import Activity, Steps
from holdfast_agent.documents import Head, ModelTurn, ToolCall, ToolOutcome, Usage, head_key, model_key
from holdfast_agent.flights import Flights
from holdfast_agent.revisions import Revision, Revisions
from holdfast_agent.store import Entry, StoreError
from holdfast_api.config import AgentConfig

TOOL, COMPENSATE = Activity(tool.key, tool.carry_out), Activity(compensate.key, compensate.undo)


class MemoryStore:
    """Documents by key; `away` makes it fail."""

    def __init__(self):
        self.documents = {}
        self.writes = 0
        self.away = False

    async def get(self, key):
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys):
        self._check()
        return {key: Entry(copy.deepcopy(self.documents[key]), "etag") for key in keys if key in self.documents}

    async def create(self, key, value):
        self._check()
        self.writes += key not in self.documents
        stands = self.documents.setdefault(key, copy.deepcopy(value))
        return copy.deepcopy(stands), stands == value

    async def update(self, key, change, *, known=None):
        self._check()
        there = self.documents.get(key)
        wanted = change(copy.deepcopy(there))
        if wanted is not None and wanted != there:
            self.writes += 1
            self.documents[key] = copy.deepcopy(wanted)
        return copy.deepcopy(self.documents.get(key))

    def _check(self):
        if self.away:
            raise StoreError("away")


class Index:
    def add(self, run):
        pass

    async def waits(self, run):
        pass


class Desk:
    """One process's activities at work on run `r`, whose model asked for some calls in turn 1."""

    def __init__(self, store, revision):
        self.store, self._revision = store, revision
        revisions = Revisions(revision, store, {})
        self.steps = Steps(sidecar=None, store=store, revisions=revisions, flights=Flights(), index=Index(), ended=lambda _: None)

    def another(self):
        """Another process with the same store."""
        return Desk(self.store, self._revision)

    @property
    def head(self):
        return Head.load(self.store.documents[head_key("r")])

    async def change(self, how):
        await self.store.update(head_key("r"), lambda document: how(Head.load(document)).dump())

    def outcome(self, key="r/1/0"):
        found = self.store.documents.get(f"run/{key}")
        return ToolOutcome.load(found) if found else None

    async def tool(self, call=0, *, attempt=1, failed=0, left=600.0):
        common = {"run": "r", "turn": 1, "revision": self._revision.name, "deadline": time.time() + left}
        return await self.steps.once(TOOL, common | {"call": call, "attempt": attempt, "failed": failed})

    async def undo(self, of="r/1/0", *, attempt=1, failed=0):
        ending = {"status": "FAILED", "error": {"type": "ModelFailed", "message": "the model is down"}}
        call = {"run": "r", "turn": 1, "revision": self._revision.name, "deadline": 0.0, "call": of, "ending": ending}
        return await self.steps.once(COMPENSATE, call | {"attempt": attempt, "failed": failed})


@pytest.fixture
async def desk(serve):
    """`await desk(handler, ("book", {"city": "Rome"}), ..., tools={"book": {...}})` -> a `Desk`; tools are served at /<name>."""
    opened = []

    async def open_(handler, *calls, tools, schema=None):
        url = handler if isinstance(handler, str) else await serve(handler)
        schema = schema or {"type": "object", "properties": {"city": {"type": "string"}}}
        configured = [
            {"name": name, "description": "A tool.", "http": {"url": f"{url}/{name}", "method": "POST", "inputSchema": schema}, **more}
            for name, more in tools.items()
        ]
        components = {"stateComponent": "s", "memoryComponent": "s", "model": {"component": "m", "label": "m"}}
        config = AgentConfig.model_validate({"name": "a", "tools": configured} | components)
        revision = await Revision.open(config, {})
        opened.append(revision)
        store, now = MemoryStore(), time.time()
        limits = {"deadline": now + 600, "max_iterations": 5, "longest_call": 60.0}
        head = Head(id="r", task="t", digest="d", revision=revision.name, created=now, **limits)
        await store.create(head_key("r"), head.dump())
        asked = tuple(ToolCall(f"c{number}", name, _text(arguments)) for number, (name, arguments) in enumerate(calls))
        turn = ModelTurn(key=model_key("r", 1), content="", calls=asked, usage=Usage(), model="m", started=now, ended=now)
        await store.create(f"run/{turn.key}", turn.dump())
        return Desk(store, revision)

    yield open_
    for revision in opened:
        await revision.toolbox.close()


def _text(arguments):
    import json

    return arguments if isinstance(arguments, str) else json.dumps(arguments)
