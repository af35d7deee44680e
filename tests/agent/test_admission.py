"""How many runs a process takes at once."""

import asyncio
import contextlib
import time

import pytest

from holdfast_agent import admission
from holdfast_agent.admission import Admission, BusyError
from holdfast_agent.engine import EngineError
from holdfast_agent.heads import Trouble
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.runs import Runs
from holdfast_agent.store import StoreError
from tests.agent.houses import House, Memory, head_of


async def _nobody(runs):
    return []


async def test_a_run_more_than_there_may_be_is_refused_and_told_when_to_come_back():
    door = Admission()
    await door.admit("a", 2, _nobody)
    await door.admit("b", 2, _nobody)
    with pytest.raises(BusyError, match="maxConcurrentRuns is 2") as refused:
        await door.admit("c", 2, _nobody)
    assert refused.value.retry_after > 0
    assert door.working == 2


async def test_a_run_that_ends_or_waits_makes_room():
    door = Admission()
    await door.admit("a", 1, _nobody)
    door.drop("a")
    await door.admit("b", 1, _nobody)


async def test_runs_that_were_taken_are_not_refused_and_without_a_limit_none_is():
    door = Admission()
    for run in ("a", "a"):
        await door.admit(run, 1, _nobody)
    for number in range(100):
        await door.admit(f"{number}", None, _nobody)


async def test_of_many_at_once_no_more_are_taken_than_there_may_be():
    door = Admission()

    async def slow(runs):
        await asyncio.sleep(0)
        return []

    answers = await asyncio.gather(*(door.admit(f"{number}", 3, slow) for number in range(20)), return_exceptions=True)
    assert sum(answer is None for answer in answers) == door.working == 3


async def test_a_run_that_ended_elsewhere_is_found_out_before_anybody_is_refused(monkeypatch):
    monkeypatch.setattr(admission, "_SETTLED_SECONDS", 0.0)
    door, asked = Admission(), []

    async def heads(runs):
        asked.append(sorted(runs))
        return [head_of("a", status="COMPLETED")]

    for run in ("a", "b"):
        await door.admit(run, 2, heads)
    await door.admit("c", 2, heads)
    assert asked == [["a", "b"]]
    with pytest.raises(BusyError):
        await door.admit("d", 2, heads)
    assert len(asked) == 1


async def test_a_run_that_another_replica_took_counts_there_only(monkeypatch):
    one, other = (OpenRuns(Memory(), pod=pod) for pod in ("a", "b"))
    await one.admission.admit("r", 1, _nobody)
    for index in (one, other):  # Dapr lets both carry out steps of it
        index.add("r")
    assert (one.admission.working, other.admission.working) == (1, 0)
    await other.admission.admit("s", 1, _nobody)

    # While it waits it does not count, and does again where it was taken once it goes on.
    for index in (one, other):
        await index.waits("r")
    assert one.admission.working == 0
    for index in (one, other):
        index.add("r")
    assert (one.admission.working, other.admission.working) == (1, 1)


async def test_a_process_that_begins_counts_the_runs_that_it_finds_at_work(monkeypatch):
    waiting = Trouble(key="waits/1/0", attempt=1, message="", until=time.time() + 600)
    before = [head_of(run, created=time.time() - 60) for run in ("one", "two", "elsewhere")]
    house = House(*before, head_of("waits", created=time.time() - 60, trouble=waiting))
    index = OpenRuns(house.store, pod="a")  # as after a restart: the same store, and nothing remembered
    runs = Runs(store=house.store, engine=house.dapr, revisions=None, index=index)
    house.store.documents["run/new"] = head_of("new", created=time.time() + 1).dump()  # another replica's
    for run in ("one", "two", "waits", "new"):
        index.add(run)
    with pytest.raises(BusyError):
        await runs._admitted(head_of("more"), 2)
    assert [run in index.admission for run in ("one", "two", "waits", "new", "elsewhere")] == [True, True, True, False, False]
    assert index.admission.working == 2

    # They make room like those that were taken here, and nobody is asked about twice.
    index.drop("one")
    house.store.broken = {"run/new", "run/waits"}
    index.add("new")
    await runs._admitted(head_of("more"), 2)
    index.add("waits")
    assert index.admission.working == 3


async def test_a_run_that_waited_and_goes_on_elsewhere_counts_again(monkeypatch):
    monkeypatch.setattr(admission, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(admission, "_RESTING_AT_ONCE", 2)
    waiting = Trouble(key="waits/1/0", attempt=1, message="", until=time.time() + 600)
    house, runs = House(), ("waits", "ends", "goes-on", "goes-on-too")
    door = house.index.admission
    for run in runs:
        await door.admit(run, None, _nobody)
        await house.index.waits(run)
    heads = (head_of("waits", trouble=waiting), head_of("ends", status="COMPLETED"), head_of("goes-on"), head_of("goes-on-too"))
    house.store.documents |= {f"run/{head.id}": head.dump() for head in heads}
    await house.runs._admitted(head_of("new"), 3)  # two are looked at each time
    assert door.working == 1
    with pytest.raises(BusyError):
        await house.runs._admitted(head_of("more"), 3)
    assert door.working == 3
    assert [run in door for run in runs] == [True, False, True, True]


@pytest.mark.parametrize("taken", [True, False, EngineError("away")], ids=["taken", "there-already", "it-may-come-to-life"])
async def test_a_run_counts_where_it_is_scheduled(taken):
    head, house = head_of("r"), House()
    await house.index.admission.admit("ours", 2, _nobody)

    async def schedule(run, payload):
        assert run in house.index.admission, "its first step may come before the answer"
        if isinstance(taken, Exception):
            raise taken
        return taken

    house.dapr.schedule = schedule
    for each in (head, head_of("ours")):
        with contextlib.suppress(EngineError):
            await house.runs.schedule(each)
    assert [run in house.index.admission for run in ("r", "ours")] == [taken is not False, True]


@pytest.mark.parametrize("error", [StoreError("away"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no text"), asyncio.CancelledError()])
async def test_a_run_that_is_not_stored_counts_only_if_it_was_stored_before(error):
    house = House()
    await house.runs._admitted(head_of("r"), 2)

    async def create(*_):
        raise error

    house.store.create = create
    for run in ("r", "other"):
        with pytest.raises(type(error)):
            await house.runs._admitted(head_of(run), 2)
    assert [run in house.index.admission for run in ("r", "other")] == [True, False]


async def test_what_ended_elsewhere_is_forgotten_also_without_a_limit(monkeypatch):
    index = OpenRuns(Memory(), pod="a")
    for run in ("ended", "waited", "lasts"):
        await index.admission.admit(run, None, _nobody)
    await index.waits("waited")
    index.keep(["lasts"])
    assert [run in index.admission for run in ("ended", "waited", "lasts")] == [True, False, True], "an entry may still be written"
    monkeypatch.setattr(admission, "_LISTED_SECONDS", 0.0)
    index.keep(["lasts"])
    assert [run in index.admission for run in ("ended", "waited", "lasts")] == [False, False, True]
