"""Several processes look at the clock, over a store in memory: who begins what, who dies when, and what a roll-out does."""

import asyncio
import time
from datetime import datetime

import pytest

from holdfast_agent.admission import BusyError
from holdfast_agent.documents import head_key, shard_key
from holdfast_agent.engine import EngineError
from holdfast_agent.metrics import Metrics
from holdfast_agent.openruns import SHARDS, OpenRuns
from holdfast_agent.runs import ConflictError, Runs
from holdfast_agent.store import StoreError
from holdfast_agent.triggers.ticker import KEY, Ticker
from holdfast_api.config import ScheduleConfig, TriggerConfig
from tests.agent.houses import Dapr, Memory, head_of


class Accepting:
    """Takes runs, or fails as it is told to: before a head is stored, or after that and before Dapr heard of it."""

    def __init__(self, store):
        self.begun, self.failure, self.stores, self.dapr = [], None, False, Dapr()
        self.index = OpenRuns(store, pod="a")
        self._store, self._runs = store, Runs(store=store, engine=self.dapr, revisions=None, index=self.index)

    async def accept(self, task, run, *, trigger=None):
        if self.stores:
            self._store.documents[head_key(run)] = head_of(run, task=task).dump()
        if self.failure:
            raise self.failure
        self.begun.append(run)

    async def find(self, run):
        return await self._runs.find(run)

    async def resume(self, run):
        return await self._runs.resume(run)

    @property
    def scheduled(self):
        return [run for run, _ in self.dapr.scheduled]


class Clocks:
    """Processes that share a store."""

    def __init__(self, monkeypatch):
        self.store, self._monkeypatch = Memory(), monkeypatch
        self.at("05:30")

    def at(self, clock):
        now = datetime.fromisoformat(f"2026-11-21T{clock}Z").timestamp()
        self._monkeypatch.setattr(time, "time", lambda: now)

    def process(self, *triggers):
        runs, metrics = Accepting(self.store), Metrics()
        ticker = Ticker(store=self.store, runs=runs, controls=None, triggers=triggers, metrics=metrics)
        return ticker, runs

    def state(self, name="t"):
        return self.store.documents[KEY][KEY][name]


def _trigger(cron="0 * * * *", name="t", **more):
    return TriggerConfig(name=name, task="work", schedule=ScheduleConfig(cron=cron, **more))


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


async def test_a_tick_that_several_processes_see_is_begun_by_one_of_them(clocks):
    first, second = clocks.process(_trigger()), clocks.process(_trigger())
    for ticker, _ in (first, second):
        await ticker.look()
    clocks.at("06:00")
    for ticker, _ in (second, first):
        await ticker.look()
    assert (first[1].begun, second[1].begun) == ([], ["t-20261121T0600Z"])
    assert (clocks.state()["begun"], clocks.state().get("owed")) == (1, None)


async def _after_a_death(clocks):
    """One process decided about the tick of 06:00 and died of it; this is the other one, with its runs."""
    (dying, dead), (ticker, runs) = clocks.process(_trigger()), clocks.process(_trigger())
    await dying.look()
    await ticker.look()
    clocks.at("06:00")
    dead.failure = StoreError("away")
    await dying.look()
    return ticker, runs


async def test_a_tick_whose_process_died_after_the_decision_is_begun_by_another_one_a_moment_later(clocks):
    ticker, runs = await _after_a_death(clocks)
    assert clocks.state()["owed"] == time.time()
    await ticker.look()
    assert runs.begun == []
    clocks.at("06:00:06")
    await ticker.look()
    assert (runs.begun, clocks.state()["begun"], clocks.state().get("owed")) == (["t-20261121T0600Z"], 1, None)


@pytest.fixture
async def stored(clocks):
    """The clocks at six, when a process has stored the run of a tick, and not told Dapr."""

    async def store(*triggers):
        dying, dead = clocks.process(*triggers)
        await dying.look()
        clocks.at("06:00")
        dead.stores, dead.failure = True, StoreError("stored, and no answer")
        await dying.look()
        return dying, dead

    return store


@pytest.mark.parametrize("clock", ["06:00:06", "07:00"], ids=["in-time", "at-the-next-tick"])
async def test_a_tick_whose_run_was_stored_before_its_process_died_is_scheduled_and_counts_as_begun(clocks, stored, clock):
    await stored(_trigger())
    ticker, runs = clocks.process(_trigger())
    clocks.at(clock)
    await ticker.look()
    assert runs.scheduled == ["t-20261121T0600Z"]
    late = clock == "07:00"
    assert (runs.begun, clocks.state()["begun"], clocks.state()["missed"]) == (["t-20261121T0700Z"] if late else [], 1 + late, 0)


async def test_a_run_that_was_stored_only_does_not_block_its_trigger_for_ever(clocks, stored):
    trigger = _trigger(concurrency_policy="Forbid")
    await stored(trigger)
    ticker, runs = clocks.process(trigger)
    clocks.at("07:00")
    await ticker.look()
    assert (runs.scheduled, clocks.state()["skipped"]) == (["t-20261121T0600Z"], 1)
    clocks.store.documents[head_key("t-20261121T0600Z")] |= {"status": "COMPLETED"}
    clocks.at("08:00")
    await ticker.look()
    assert (runs.begun, clocks.state()["skipped"]) == (["t-20261121T0800Z"], 1)


async def test_a_run_that_was_stored_and_is_over_keeps_no_tick_from_beginning(clocks, stored):
    trigger = _trigger(concurrency_policy="Forbid")
    await stored(trigger)
    clocks.store.documents[head_key("t-20261121T0600Z")] |= {"status": "COMPLETED"}
    ticker, runs = clocks.process(trigger)
    clocks.at("07:00")
    await ticker.look()
    assert (runs.scheduled, runs.begun, clocks.state()["begun"]) == ([], ["t-20261121T0700Z"], 2)


async def test_a_run_that_another_process_has_only_just_stored_is_left_to_it(clocks, stored):
    dying, dead = await stored(_trigger())
    ticker, runs = clocks.process(_trigger())
    clocks.at("06:00:01")
    await ticker.look()
    assert (runs.scheduled, clocks.state()["owed"], clocks.state()["begun"]) == ([], clocks.state()["through"], 0)
    await dying.look()
    assert (dead.scheduled, clocks.state().get("owed"), clocks.state()["begun"]) == (["t-20261121T0600Z"], None, 1)


async def test_a_stored_run_that_cannot_be_scheduled_counts_as_begun_once_the_janitor_knows_of_it(clocks, stored):
    await stored(_trigger())
    ticker, runs = clocks.process(_trigger())
    runs.dapr.statuses["t-20261121T0600Z"] = EngineError("away")
    clocks.at("06:00:06")
    clocks.store.broken = {shard_key(number) for number in range(SHARDS)}
    with pytest.raises(StoreError):
        await ticker.look()
    assert clocks.state()["begun"] == 0
    clocks.store.broken = set()
    await ticker.look()
    assert clocks.state()["begun"] == 1
    assert "t-20261121T0600Z" in await runs.index.all()


async def test_a_run_that_was_stored_for_a_schedule_that_is_no_more_is_carried_out(clocks, stored):
    await stored(_trigger())
    ticker, runs = clocks.process(_trigger("30 * * * *"))
    clocks.at("06:10")
    await ticker.look()
    assert (runs.scheduled, clocks.state().get("owed")) == (["t-20261121T0600Z"], None)


@pytest.mark.parametrize(
    "triggers", [[_trigger("30 * * * *")], [_trigger(suspend=True)], []], ids=["another-schedule", "suspended", "no-trigger-any-more"]
)
async def test_a_run_that_was_stored_a_moment_before_its_schedule_is_changed_is_carried_out_though_nobody_else_lives(
    clocks, stored, triggers
):
    await stored(_trigger())
    clocks.at("06:00:01")
    await clocks.process(*triggers)[0].look()  # and is killed in turn
    ticker, runs = clocks.process(*triggers)
    clocks.at("06:00:02")
    await ticker.look()
    assert runs.scheduled == []
    clocks.at("06:00:08")
    await ticker.look()
    assert runs.scheduled == ["t-20261121T0600Z"]
    stands = clocks.store.documents[KEY][KEY]
    assert [(state["begun"], state.get("owed")) for state in stands.values()] == [(1, None)] * len(triggers)


async def test_a_tick_of_the_new_schedule_is_not_lost_while_it_waits_for_one_of_the_old_schedule(clocks):
    (old, dead), (new, runs) = clocks.process(_trigger("0 * * * *")), clocks.process(_trigger("1 * * * *"))
    await old.look()
    await new.look()
    clocks.at("06:00:58")  # the store was away for so long
    await old.look()
    dead.begun.clear()
    clocks.store.documents[KEY][KEY]["t"] |= {
        "owed": clocks.state()["tick"],
        "owed_at": time.time(),
        "schedule": clocks.state()["schedule"],
    }
    clocks.store.documents[head_key("t-20261121T0600Z")] = head_of("t-20261121T0600Z", task="work").dump()
    clocks.at("06:01")
    await new.look()
    assert (runs.scheduled, runs.begun) == ([], [])
    clocks.at("06:01:06")
    await new.look()
    assert (runs.scheduled, runs.begun) == (["t-20261121T0600Z"], ["t-20261121T0601Z"])


async def test_a_run_that_was_stored_with_another_task_is_carried_out_as_it_was_stored(clocks):
    ticker, runs = clocks.process(_trigger())
    await ticker.look()
    clocks.at("06:00")
    runs.stores, runs.failure = True, ConflictError("t-20261121T0600Z")
    await ticker.look()
    assert (runs.scheduled, clocks.state()["begun"]) == (["t-20261121T0600Z"], 1)


async def test_a_tick_that_is_refused_because_too_much_is_at_work_is_tried_again_by_the_same_process(clocks):
    ticker, runs = clocks.process(_trigger())
    await ticker.look()
    clocks.at("06:00")
    runs.failure = BusyError(1, 1.0)
    await ticker.look()
    runs.failure = None
    clocks.at("06:00:01")
    await ticker.look()
    assert runs.begun == ["t-20261121T0600Z"]


async def test_in_a_roll_out_both_schedules_are_kept_by_those_who_have_them(clocks):
    (old, before), (new, after) = clocks.process(_trigger("0 * * * *")), clocks.process(_trigger("30 * * * *"))
    await old.look()
    await new.look()
    for clock in ("06:00", "06:30", "07:00", "07:30"):
        clocks.at(clock)
        for ticker in (old, new):
            await ticker.look()
    assert before.begun == ["t-20261121T0600Z", "t-20261121T0700Z"]
    assert after.begun == ["t-20261121T0630Z", "t-20261121T0730Z"]


async def test_a_trigger_that_is_gone_is_forgotten_and_begins_anew_when_it_comes_back(clocks):
    ticker, _ = clocks.process(_trigger(), _trigger(name="other"))
    await ticker.look()
    clocks.at("06:00")
    await ticker.look()
    clocks.at("06:10")
    await clocks.process(_trigger())[0].look()
    assert clocks.store.documents[KEY][KEY].keys() == {"t"}
    await clocks.process()[0].look()
    assert clocks.store.documents[KEY] == {KEY: {}}
    clocks.at("09:10")
    ticker, runs = clocks.process(_trigger())
    await ticker.look()
    assert (runs.begun, clocks.state()["missed"]) == ([], 0)


async def test_a_restart_makes_up_for_the_newest_tick_and_tells_of_the_others(clocks):
    await clocks.process(_trigger())[0].look()
    clocks.at("08:10")
    ticker, runs = clocks.process(_trigger())
    await ticker.look()
    assert (runs.begun, clocks.state()["missed"]) == (["t-20261121T0800Z"], 2)
    assert (await ticker.states())["t"].run == "t-20261121T0800Z"
    assert ticker.next_tick("t", time.time()) == clocks.state()["tick"] + 3600


async def test_a_schedule_that_cannot_be_read_keeps_nobody_else_from_theirs(clocks):
    ticker, runs = clocks.process(_trigger("61 * * * *", name="broken"), _trigger())
    await ticker.look()
    clocks.at("06:00")
    await ticker.look()
    assert runs.begun == ["t-20261121T0600Z"]
    assert ticker.next_tick("broken", time.time()) is None


async def test_between_two_ticks_a_process_only_sleeps(clocks, monkeypatch):
    ticker, _ = clocks.process(_trigger())
    await ticker.look()
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr("asyncio.sleep", sleep)
    clocks.store.broken = {KEY}
    with pytest.raises(asyncio.CancelledError):
        await ticker.run()
    assert slept == [30.0, 30.0, 30.0]


def _theirs(clocks, run, **more):
    """A run that somebody begins under that id."""
    clocks.store.documents[head_key(run)] = head_of(run, epoch=1700, **more).dump()


@pytest.mark.parametrize("before", [True, False], ids=["before-the-decision", "before-another-process-begins-it"])
async def test_a_run_that_somebody_else_began_under_the_id_of_a_tick_does_not_stand_for_it(clocks, before, caplog):
    (dying, dead), (ticker, runs) = clocks.process(_trigger()), clocks.process(_trigger())
    await dying.look()
    await ticker.look()
    clocks.at("06:00")
    tick = time.time()
    if before:
        _theirs(clocks, "t-20261121T0600Z", task="nothing")
        await ticker.look()
    else:
        dead.failure = StoreError("away")
        await dying.look()
        _theirs(clocks, "t-20261121T0600Z", task="work", trigger={"kind": "schedule", "name": "t", "tick": tick - 3600})
        clocks.at("06:00:06")
        await ticker.look()
    assert (runs.begun, clocks.state()["begun"], clocks.state().get("owed")) == (["t-20261121T0600Z-2"], 1, None)
    assert clocks.state()["active"] == ["t-20261121T0600Z-2"]
    assert "somebody else began a run under the id" in caplog.text


@pytest.mark.parametrize("said", [{"epoch": 1700, "trigger": {"kind": "schedule", "name": "t"}}, {}], ids=["named", "of-an-older-version"])
async def test_a_run_of_the_tick_itself_stands_for_it(clocks, said):
    ticker, runs = await _after_a_death(clocks)
    if said:
        said["trigger"]["tick"] = time.time()
    clocks.store.documents[head_key("t-20261121T0600Z")] = head_of("t-20261121T0600Z", **said).dump()
    clocks.at("06:00:06")
    await ticker.look()
    assert (runs.begun, runs.scheduled, clocks.state()["begun"]) == ([], ["t-20261121T0600Z"], 1)


async def test_who_takes_all_ids_of_a_tick_keeps_it_waiting_and_nothing_else(clocks, caplog):
    triggers = _trigger(), _trigger("30 * * * *", name="other")
    ticker, runs = clocks.process(*triggers)
    await ticker.look()
    clocks.at("06:00")
    usual = "t-20261121T0600Z"
    for run in (usual, *(f"{usual}-{number}" for number in range(2, 21))):
        _theirs(clocks, run)
    for second in range(3):
        clocks.at(f"06:00:0{second}")
        await ticker.look()
    assert (runs.begun, clocks.state()["owed"]) == ([], time.time() - 2)
    assert [record.levelname for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == ["ERROR"]
    clocks.at("06:30")
    await ticker.look()
    assert runs.begun == ["other-20261121T0630Z"]

    # Nor does it keep a process from beginning, or the next tick from coming.
    ticker, runs = clocks.process(*triggers)
    await ticker.look()
    clocks.at("07:00")
    await ticker.look()
    assert (runs.begun, clocks.state()["missed"], clocks.state().get("owed")) == (["t-20261121T0700Z"], 1, None)
