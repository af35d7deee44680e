"""How runs are looked after when Dapr or the store fail in ways that the real ones do not show on demand."""

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from holdfast_agent import documents, program
from holdfast_agent.documents import Head, ModelTurn, Trouble, Usage
from holdfast_agent.engine import EngineError, Instance
from holdfast_agent.janitor import Janitor
from holdfast_agent.loop import poke_event
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.runs import Runs
from holdfast_agent.store import Entry, StoreError

USED = Usage(turns=1, tool_calls=1, input_tokens=10, output_tokens=5)


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

    async def update(self, key, change):
        entry = await self.get(key)
        wanted = change(entry.value if entry else None)
        if wanted is not None:
            self.documents[key] = wanted
        return wanted


class Dapr:
    """Workflow instances by id; an exception in place of a status is raised."""

    def __init__(self, **statuses):
        self.statuses, self.events, self.scheduled, self.terminated, self.asked = statuses, [], [], [], []

    async def instance(self, run):
        self.asked.append(run)
        status = self.statuses.get(run)
        if isinstance(status, Exception):
            raise status
        return Instance(status, datetime.now(UTC), None) if status else None

    async def wake(self, run, event):
        self.events.append((run, event))

    async def schedule(self, run, payload):
        self.scheduled.append((run, payload["max_iterations"]))
        return True

    async def terminate(self, run):
        self.terminated.append(run)


class House:
    """Runs with their heads in the index, over a fake store and a fake Dapr."""

    def __init__(self, *heads, **statuses):
        self.store, self.dapr = Memory(), Dapr(**statuses)
        self.index = OpenRuns(self.store, pod="a")
        self.runs = Runs(store=self.store, engine=self.dapr, revisions=None, index=self.index)
        self.janitor = Janitor(runs=self.runs, store=self.store, engine=self.dapr, index=self.index, overdue_seconds=0.5)
        for head in heads:
            self.store.documents[documents.head_key(head.id)] = head.dump()
        self.store.documents[documents.shard_key(0)] = {"runs": {head.id: time.time() for head in heads}}

    def head(self, run):
        return Head.load(self.store.documents[documents.head_key(run)])

    def passes(self, monkeypatch, seconds):
        """Time passes."""
        now = time.time() + seconds
        monkeypatch.setattr(time, "time", lambda: now)


def _head(run, *, left=600.0, **more):
    now = time.time()
    fields = {"id": run, "task": "go", "digest": "d", "revision": "abc", "created": now, "max_iterations": 7, "longest_call": 60.0}
    return Head(**fields | {"deadline": now + left} | more)


async def test_a_run_that_dapr_does_not_tell_of_keeps_no_other_from_being_looked_after():
    ended = _head("ended").completed("yes", USED, time.time())
    house = House(_head("bad"), _head("lost"), ended, bad=EngineError("torn"))
    await house.janitor.tidy(thorough=True)
    assert house.dapr.scheduled == [("lost", 7)]
    assert set(await house.index.all()) == {"bad", "lost"}


async def test_a_run_that_could_not_be_looked_after_is_looked_at_again_in_the_next_pass():
    house = House(_head("bad"), _head("fine"), bad=RuntimeError("a defect"), fine="RUNNING")
    await house.janitor.tidy(thorough=True)
    house.dapr.statuses, house.dapr.asked = {"bad": "RUNNING", "fine": "RUNNING"}, []
    await house.janitor.tidy(thorough=False)
    await house.janitor.tidy(thorough=False)
    assert house.dapr.asked == ["bad"]


@pytest.mark.parametrize("status", ["RUNNING", "SUSPENDED", "STALLED"])
async def test_a_run_that_outlives_its_deadline_by_far_is_ended_after_a_last_chance(status, monkeypatch, caplog):
    house = House(_head("late", left=-61 - 901), _head("later", left=-61 - 800), late=status, later=status)
    turn = ModelTurn(key="late/1/model", content="", calls=(), usage=USED, model="m", started=0.0, ended=1.0)
    house.store.documents["run/late/1/model"] = turn.dump()
    with caplog.at_level(logging.ERROR):
        await house.janitor.tidy(thorough=False)
    assert (house.dapr.terminated, house.head("late").status) == ([], "RUNNING")
    assert bool(caplog.records) == (status == "STALLED")
    house.passes(monkeypatch, 61)
    await house.janitor.tidy(thorough=False)
    late = house.head("late")
    assert (house.dapr.terminated, late.status, late.error["type"]) == (["late"], "FAILED", "RunTimeout")
    assert status in late.error["message"]
    assert late.usage == USED


async def test_a_run_whose_timer_is_overdue_is_woken_once_for_each_wait():
    first = Trouble("r/1/0", 1, "busy", time.time() - 10)
    house = House(_head("r", trouble=first), r="RUNNING")
    for _ in range(3):
        await house.janitor.tidy(thorough=False)
    assert house.dapr.events == [("r", poke_event("r/1/0", 1))]
    house.store.documents["run/r"] = replace(house.head("r"), trouble=replace(first, attempt=2)).dump()
    await house.janitor.tidy(thorough=False)
    assert house.dapr.events[1:] == [("r", poke_event("r/1/0", 2))]


async def test_a_run_whose_step_has_its_result_is_not_woken():
    house = House(_head("r", trouble=Trouble("r/1/0", 1, "busy", time.time() - 10)), r="RUNNING")
    house.store.documents["run/r/1/0"] = {}
    await house.janitor.tidy(thorough=False)
    assert house.dapr.events == []


async def test_what_is_remembered_of_runs_goes_with_them():
    house = House(_head("r", trouble=Trouble("r/1/0", 1, "busy", time.time() - 10)), _head("bad"), r="RUNNING", bad=EngineError("torn"))
    await house.index.ensure("r")
    await house.janitor.tidy(thorough=True)
    assert house.janitor._poked
    assert house.runs.again
    assert house.index._written
    for shard in [key for key in house.store.documents if key.startswith("open/")]:
        house.store.documents[shard] = {"runs": {}}
    await house.janitor.tidy(thorough=True)
    assert not house.janitor._poked
    assert not house.runs.again
    assert not house.index._written


async def test_every_open_run_is_asked_about_until_one_pass_has_succeeded(monkeypatch):
    asked, enough = [], asyncio.Event()

    class Tidied:
        async def tidy(self, *, thorough):
            asked.append(thorough)
            if len(asked) == 4:
                enough.set()
            if len(asked) <= 2:
                raise StoreError("away")

    class Connected:
        alive = streaming = True

    monkeypatch.setattr(program, "_WATCH_SECONDS", 0.0)
    looking = asyncio.create_task(program._look_after(Tidied(), Connected(), every=0.0))
    await asyncio.wait_for(enough.wait(), 5)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert asked[:4] == [True, True, True, False]
