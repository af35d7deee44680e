"""How runs are looked after when Dapr or the store fail in ways that the real ones do not show on demand."""

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from holdfast_agent import program
from holdfast_agent.documents import Approval, ModelTurn, Plan, Trouble, Usage
from holdfast_agent.engine import EngineError
from holdfast_agent.loop import poke_event
from holdfast_agent.store import StoreError
from tests.agent.houses import House, head_of

QUIET = 60.0 + 900.0
"""Seconds after which a run that waits for nothing known should have told Dapr something."""
USED = Usage(turns=1, tool_calls=1, input_tokens=10, output_tokens=5)


async def test_a_run_that_dapr_does_not_tell_of_keeps_no_other_from_being_looked_after():
    ended = head_of("ended").completed("yes", USED, time.time())
    house = House(head_of("bad"), head_of("lost"), ended, bad=EngineError("torn"))
    await house.janitor.tidy(thorough=True)
    assert house.dapr.scheduled == [("lost", 7)]
    assert set(await house.index.all()) == {"bad", "lost"}


async def test_a_run_that_could_not_be_looked_after_is_looked_at_again_in_the_next_pass():
    house = House(head_of("bad"), head_of("fine"), bad=RuntimeError("a defect"), fine="RUNNING")
    await house.janitor.tidy(thorough=True)
    house.dapr.statuses, house.dapr.asked = {"bad": "RUNNING", "fine": "RUNNING"}, []
    await house.janitor.tidy(thorough=False)
    await house.janitor.tidy(thorough=False)
    assert house.dapr.asked == ["bad"]


@pytest.mark.parametrize("status", ["RUNNING", "SUSPENDED", "STALLED"])
async def test_a_run_that_outlives_its_deadline_by_far_is_ended_after_a_last_chance(status, monkeypatch, caplog):
    house = House(head_of("late", left=-61 - 901), head_of("later", left=-61 - 800), late=status, later=status)
    turn = ModelTurn(key="late/1/model", content="", calls=(), usage=USED, model="m", started=0.0, ended=1.0)
    house.store.documents["run/late/1/model"] = turn.dump()
    with caplog.at_level(logging.ERROR):
        await house.janitor.tidy(thorough=False)
    assert (house.dapr.terminated, house.head("late").status) == ([], "RUNNING")
    assert bool(caplog.records) == (status == "STALLED")
    house.passes(monkeypatch, QUIET + 1)
    await house.janitor.tidy(thorough=False)
    late = house.head("late")
    assert (house.dapr.terminated, late.status, late.error["type"]) == (["late"], "FAILED", "RunTimeout")
    assert status in late.error["message"]
    assert late.usage == USED


async def test_a_run_whose_timer_is_overdue_is_woken_once_for_each_wait():
    first = Trouble("r/1/0", 1, "busy", time.time() - 10)
    house = House(head_of("r", trouble=first), r="RUNNING")
    for _ in range(3):
        await house.janitor.tidy(thorough=False)
    assert house.dapr.events == [("r", poke_event("r/1/0", 1))]
    house.store.documents["run/r"] = replace(house.head("r"), trouble=replace(first, attempt=2)).dump()
    await house.janitor.tidy(thorough=False)
    assert house.dapr.events[1:] == [("r", poke_event("r/1/0", 2))]


async def test_a_wait_that_goes_on_though_it_was_woken_is_woken_again_ever_more_seldom(monkeypatch):
    house, started = House(head_of("r", trouble=Trouble("r/1/0", 1, "busy", time.time() - 10)), r="RUNNING"), time.time()
    for minute in range(11):
        monkeypatch.setattr(time, "time", lambda minute=minute: started + 60.5 * minute)
        await house.janitor.tidy(thorough=False)
    assert len(house.dapr.events) == 4


WAITS = {kind: Trouble("r/1/0", 3, "waits", time.time() + 500, kind) for kind in ("retry", "approval", "suspend", "unknown")}
ASKED = Approval("pay", "abc", 1.0, time.time() + 500)


@pytest.mark.parametrize(
    "head",
    [
        head_of("r", trouble=WAITS["retry"]).canceled(1.0, ""),
        head_of("r", trouble=WAITS["suspend"]).suspend(1.0).canceled(2.0, ""),
        head_of("r", trouble=WAITS["suspend"]).suspend(1.0).resume(),
        head_of("r", trouble=WAITS["approval"]).asks("1/0", ASKED).decides("1/0", "approved", "", 2.0),
        head_of("r", trouble=Trouble("r/1/1", 3, "busy", time.time() + 100), beside=(WAITS["approval"],))
        .asks("1/0", ASKED)
        .decides("1/0", "rejected", "", 2.0),
    ],
    ids=["canceled", "suspended-and-canceled", "resumed", "approved", "rejected-beside-a-retry"],
)
async def test_a_run_that_waits_for_what_is_in_its_head_already_is_woken(head):
    house = House(head, r="RUNNING")
    await house.janitor.tidy(thorough=False)
    assert house.dapr.events == [("r", poke_event("r/1/0", 3))]


@pytest.mark.parametrize("kind", WAITS)
async def test_a_run_that_waits_for_good_reason_is_left_alone(kind):
    head = head_of("r", trouble=WAITS[kind]).asks("1/0", ASKED)
    house = House(head.suspend(1.0) if kind == "suspend" else head, r="RUNNING")
    await house.janitor.tidy(thorough=True)
    assert house.dapr.events == []


PLAN = Plan(max_iterations=5)
ENDING = {"status": "FAILED", "error": {"type": "LimitExceeded", "message": "enough"}}


@pytest.mark.parametrize(
    "more",
    [
        {"left": 100_000.0},
        {"ending": ENDING, "left": -100_000.0},
        {"left": 100_000.0, "trouble": Trouble("r/1/0", 1, "busy", time.time() - 2 * QUIET)},
    ],
    ids=["a wait that the store could not be told of", "while it is being undone", "behind a wait that is over"],
)
async def test_a_wait_that_nobody_knows_of_is_found_by_its_silence_and_woken_ever_more_seldom(more, monkeypatch):
    house, start = House(head_of("r", plan=PLAN, **more), r="RUNNING"), time.time()
    house.store.documents["run/r/1/0"] = {}
    await house.janitor.tidy(thorough=True)
    assert house.dapr.events == []
    for minute in range(12):
        monkeypatch.setattr(time, "time", lambda minute=minute: start + QUIET + 1 + 60.5 * minute)
        await house.janitor.tidy(thorough=True)
    assert house.dapr.events == [("r", "poke/r")] * 4


async def test_a_run_that_outlives_its_deadline_is_woken_before_it_is_ended_so_that_it_can_undo_what_it_did(monkeypatch):
    house = House(head_of("r", plan=PLAN, left=-61 - 901), r="RUNNING")
    for seconds in (0, 30):
        house.passes(monkeypatch, seconds)
        await house.janitor.tidy(thorough=False)
    assert (house.dapr.events, house.dapr.terminated) == ([("r", "poke/r")], [])
    house.store.documents["run/r"] = replace(house.head("r"), ending=ENDING).dump()
    house.passes(monkeypatch, 61)
    await house.janitor.tidy(thorough=False)
    assert house.dapr.terminated == []


async def test_a_run_that_calls_off_other_agents_once_it_is_woken_is_not_ended_before_it_can_undo_what_it_did(monkeypatch):
    """Head and deadline say that it outlived; but Dapr hears of it, and nothing is being undone yet."""
    house, start = House(head_of("r", plan=PLAN, left=-61 - 901), r="RUNNING"), time.time()
    for second in (0, 50, 100, 800, 1600):
        monkeypatch.setattr(time, "time", lambda second=second: start + second)
        house.dapr.updated = datetime.fromtimestamp(start + second - 5, UTC)
        await house.janitor.tidy(thorough=False)
    assert house.dapr.terminated == []
    monkeypatch.setattr(time, "time", lambda: start + 1600 + QUIET + 1)
    await house.janitor.tidy(thorough=False)
    assert (house.dapr.terminated, house.head("r").error["type"]) == (["r"], "RunTimeout")


@pytest.mark.parametrize("kind", WAITS)
async def test_a_wait_that_is_known_may_be_as_silent_as_it_is_long(kind, monkeypatch):
    wait = replace(WAITS[kind], until=time.time() + 10 * QUIET)
    head = head_of("r", plan=PLAN, left=20 * QUIET, trouble=wait, suspended=1.0 if kind == "suspend" else None)
    house = House(head.asks("1/0", ASKED), r="RUNNING")
    house.passes(monkeypatch, 9 * QUIET)
    await house.janitor.tidy(thorough=True)
    assert house.dapr.events == []


async def test_a_run_with_a_plan_is_woken_by_its_one_name():
    head = head_of("r", plan=PLAN, trouble=Trouble("r/1/0", 7, "busy", time.time() - 10))
    house = House(head, r="RUNNING")
    await house.janitor.tidy(thorough=False)
    assert house.dapr.events == [("r", "poke/r")]


async def test_a_forced_end_that_was_only_noted_is_carried_out():
    house = House(head_of("r").canceled(1.0, "", forced=True), r="RUNNING")
    await house.janitor.tidy(thorough=False)
    assert (house.dapr.terminated, house.head("r").status) == (["r"], "CANCELED")


async def test_a_run_that_is_being_undone_is_given_the_time_that_it_takes(monkeypatch):
    house = House(head_of("r", left=-10_000, ending={"status": "FAILED", "error": {}}), r="RUNNING")
    await house.janitor.tidy(thorough=True)
    house.passes(monkeypatch, 61)
    await house.janitor.tidy(thorough=True)
    assert (house.dapr.terminated, house.head("r").status) == ([], "RUNNING")


async def test_a_run_whose_step_has_its_result_is_not_woken():
    house = House(head_of("r", trouble=Trouble("r/1/0", 1, "busy", time.time() - 10)), r="RUNNING")
    house.store.documents["run/r/1/0"] = {}
    await house.janitor.tidy(thorough=False)
    assert house.dapr.events == []


async def test_what_is_remembered_of_runs_goes_with_them():
    house = House(head_of("r", trouble=Trouble("r/1/0", 1, "busy", time.time() - 10)), head_of("bad"), r="RUNNING", bad=EngineError("torn"))
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


async def test_an_entry_that_waits_to_go_out_stays_when_its_id_is_used_again():
    house = House()
    await house.index.ensure("r")
    house.index.drop("r")
    await house.index.waits("r")
    assert "r" in await house.index.all()


async def test_an_entry_that_was_made_anew_while_an_ended_run_was_looked_at_is_kept():
    house = House(head_of("r").completed("yes", USED, time.time()))
    seen = await house.index.all()
    shard = next(key for key in house.store.documents if key.startswith("open/"))
    house.store.documents[shard] = {"runs": {"r": seen["r"] + 1.0}}
    await house.index.forget(seen)
    assert "r" in await house.index.all()
    await house.janitor.tidy(thorough=False)
    assert await house.index.all() == {}
