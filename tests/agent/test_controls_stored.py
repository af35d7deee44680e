"""A control holds once it is stored: whatever Dapr does then, and however often it is asked for."""

import time
from dataclasses import replace

import pytest

from holdfast_agent.controls import EndedRun, UnknownCall, UnknownRun
from holdfast_agent.documents import Approval, Cancel, Plan, ToolOutcome, Trouble, Usage
from holdfast_agent.loop import poke_event
from holdfast_agent.runs import ConflictError
from holdfast_agent.store import StoreError
from tests.agent.houses import House, head_of

WAIT = Trouble("r/2/1", 4, "waits", time.time() + 500, "approval")
ASKED = Approval("pay", "abc", 1.0, time.time() + 500)
WAITING = head_of("r", trouble=WAIT).asks("2/1", ASKED)
POKE = ("r", poke_event("r/2/1", 4))


async def test_a_run_that_waits_is_woken_under_the_name_that_its_head_says_once_that_is_stored():
    house = House(WAITING, r="RUNNING")
    head = await house.controls.cancel("r", "enough")
    assert head == house.head("r")
    assert (head.cancel.reason, house.dapr.events) == ("enough", [POKE])


async def test_a_run_at_work_needs_no_waking():
    house = House(head_of("r"), r="RUNNING")
    await house.controls.cancel("r")
    assert house.dapr.events == []
    assert house.head("r").cancel


@pytest.mark.parametrize("verb", ["cancel", "resume"])
async def test_an_event_that_dapr_does_not_take_is_raised_by_the_janitor(verb):
    house = House(replace(WAITING, trouble=replace(WAIT, kind="suspend")).suspend(1.0), r="RUNNING")
    house.dapr.away = True
    await getattr(house.controls, verb)("r")
    assert house.dapr.events == []
    house.dapr.away = False
    await house.janitor.tidy(thorough=False)
    assert house.dapr.events == [POKE]


@pytest.mark.parametrize("kind", ["approval", "retry"])
async def test_a_resume_of_a_run_that_nobody_suspended_wakes_nobody(kind):
    house = House(replace(WAITING, trouble=replace(WAIT, kind=kind)), r="RUNNING")
    for _ in range(3):
        await house.controls.resume("r")
    await house.controls.suspend("r")
    await house.controls.resume("r")
    assert house.dapr.events == []


async def test_a_run_with_a_plan_is_woken_by_one_name_in_every_round():
    house = House(replace(WAITING, plan=Plan(max_iterations=5)), r="RUNNING")
    await house.controls.approve("r", "2.1", approved=True)
    assert house.dapr.events == [("r", "poke/r")]


async def test_nothing_is_acknowledged_that_is_not_stored():
    house = House(WAITING, r="RUNNING")
    house.store.broken = {"run/r"}
    for control in (house.controls.cancel, house.controls.suspend, house.controls.resume, house.controls.force_cancel):
        with pytest.raises(StoreError):
            await control("r")
    with pytest.raises(StoreError):
        await house.controls.approve("r", "2.1", approved=True)
    house.store.broken = set()
    assert house.head("r") == WAITING
    assert house.dapr.events == []


@pytest.mark.parametrize("verb", ["cancel", "force_cancel", "suspend", "resume"])
async def test_an_unknown_run_and_one_that_has_ended_are_refused(verb):
    house = House(head_of("done").completed("yes", Usage(), 1.0))
    with pytest.raises(UnknownRun):
        await getattr(house.controls, verb)("nobody")
    with pytest.raises(EndedRun) as refused:
        await getattr(house.controls, verb)("done")
    assert refused.value.status == "COMPLETED"
    assert house.head("done").result == "yes"


async def test_a_decision_is_stored_and_wakes_the_run_and_says_the_same_when_it_is_sent_again():
    house = House(WAITING, r="RUNNING")
    for _ in range(2):
        head = await house.controls.approve("r", "2.1", approved=False, reason="too much")
        assert (head.approvals["2/1"].decision, head.approvals["2/1"].reason) == ("rejected", "too much")
    assert house.dapr.events == [POKE, POKE]
    with pytest.raises(ConflictError, match="rejected"):
        await house.controls.approve("r", "2.1", approved=True)


async def test_a_decision_about_a_call_that_is_done_is_known_from_its_outcome():
    house = House(head_of("r"), r="RUNNING")
    decided = replace(ASKED, decision="approved", decided=2.0)
    done = ToolOutcome("r/2/1", "pay", "c", "paid", is_error=False, started=0.0, ended=1.0, approval=decided)
    house.store.documents["run/r/2/1"] = done.dump()
    assert await house.controls.approve("r", "2/1", approved=True)
    with pytest.raises(ConflictError, match="approved"):
        await house.controls.approve("r", "2/1", approved=False)
    with pytest.raises(UnknownCall):
        await house.controls.approve("r", "2.0", approved=True)


async def test_a_forced_end_is_noted_before_anything_is_ended():
    house = House(WAITING, r="RUNNING")
    house.dapr.away = True
    head = await house.controls.force_cancel("r", "stuck")
    assert (head.status, head.cancel.forced) == ("RUNNING", True)
    house.dapr.away = False
    await house.janitor.tidy(thorough=False)
    ended = house.head("r")
    assert (ended.status, ended.cancel.reason, house.dapr.terminated) == ("CANCELED", "stuck", ["r"])


async def test_a_run_that_is_being_undone_is_not_hurried_into_its_next_attempt_by_a_cancel():
    house = House(replace(WAITING, ending={"status": "FAILED", "error": {}}), r="RUNNING")
    head = await house.controls.cancel("r")
    await house.janitor.tidy(thorough=False)
    assert (house.dapr.events, head.cancel is not None) == ([], True)


async def test_force_can_be_asked_for_after_a_plain_cancel():
    house = House(WAITING.canceled(1.0, "first"), r="RUNNING")
    head = await house.controls.force_cancel("r", "second")
    assert (head.status, head.cancel.reason, head.cancel.forced) == ("CANCELED", "first", True)


@pytest.mark.parametrize(
    "ends",
    [{"ending": {"status": "FAILED", "error": {"type": "LimitExceeded", "message": "enough"}}}, {"cancel": Cancel(1.0)}],
    ids=["undone", "canceled"],
)
async def test_a_call_of_a_run_that_is_about_to_end_cannot_be_approved_any_more(ends):
    house = House(replace(WAITING, **ends), r="RUNNING")
    with pytest.raises(ConflictError, match="about to end"):
        await house.controls.approve("r", "2.1", approved=True)
    assert house.head("r").approvals["2/1"].decision is None

    # What was said before stands, and may be said again.
    house = House(replace(WAITING.decides("2/1", "approved", "", 1.0), **ends), r="RUNNING")
    assert (await house.controls.approve("r", "2.1", approved=True)).approvals["2/1"].decision == "approved"
