"""How the durable loop waits: for the first that is due, for people, and never past what ends the run."""

from datetime import timedelta

import pytest

from holdfast_agent.workflow import RunFailed
from tests.agent.driving import NOW, drive, error, new, old, said, waiting

CANCEL = {"control": "cancel"}


def test_a_run_with_a_plan_still_costs_three_activities_for_one_tool_call():
    driver = drive(new()).answer(said(1, "search")).answer({"key": "r/1/0"}).answer(said(2))
    assert driver.names == ["model", "tool", "model"]
    assert driver.output["usage"]["turns"] == 2


def test_the_first_due_step_is_tried_again_while_another_waits_on():
    driver = drive(new()).answer(said(1, "a", "b")).answer(error("r/1/0", after=60.0), error("r/1/1", after=2.0))
    assert driver.ctx.timers[-1][0] == timedelta(seconds=2)
    driver.fire()
    assert [given["call"] for given in driver.called("tool")] == [0, 1, 1]
    assert driver.called("tool")[-1]["attempt"] == 2
    driver.answer({"key": "r/1/1"})
    assert driver.ctx.timers[-1][0] == timedelta(seconds=58)
    assert list(driver.ctx.events)[-1] == "poke/r"
    driver.fire()
    assert (driver.called("tool")[-1]["call"], driver.called("tool")[-1]["attempt"]) == (0, 3)
    assert driver.answer({"key": "r/1/0"}).names[-1] == "model"


def test_runs_of_the_first_shape_wait_for_the_last_due_step_and_heed_no_wake_before_it():
    driver = drive(old()).answer(said(1, "a", "b")).answer(error("r/1/0", after=60.0), error("r/1/1", after=2.0))
    assert driver.ctx.timers[-1][0] == timedelta(seconds=60)
    assert driver.wake() == "poke/r/1/1"
    assert len(driver.called("tool")) == 2
    assert [given["call"] for given in driver.fire().called("tool")] == [0, 1, 0, 1]


def test_a_wake_makes_every_waiting_step_look_again_and_costs_no_attempt():
    driver = drive(new()).answer(said(1, "pay")).answer(waiting("r/1/0", 500))
    assert driver.ctx.timers[-1][0] == timedelta(seconds=500)
    assert driver.wake() == "poke/r"
    again = driver.called("tool")[-1]
    assert (again["attempt"], again["failed"]) == (2, 0)
    driver.answer(waiting("r/1/0", 500))
    assert driver.wake() == "poke/r"
    assert driver.answer({"key": "r/1/0"}).names == ["model", "tool", "tool", "tool", "model"]


def test_a_wake_neither_hurries_a_retry_nor_uses_up_an_attempt_of_it():
    driver = drive(new()).answer(said(1, "pay", "slow")).answer(waiting("r/1/0", 900), error("r/1/1", after=300.0))
    for number in range(2, 5):
        driver.wake()
        pay, slow = driver.called("tool")[-2:]
        assert ("early" in pay, slow["early"], slow["failed"], slow["attempt"]) == (False, True, 1, number)
        driver.answer(waiting("r/1/0", 900), {"key": "r/1/1", "early": True})
        assert driver.ctx.timers[-1][0] == timedelta(seconds=300)
    again = driver.fire().called("tool")[-1]
    assert (again["call"], again["failed"], "early" in again) == (1, 1, False)


def test_a_cancel_that_a_woken_retry_finds_ends_the_run_at_once():
    driver = drive(new()).answer(said(1, "slow")).answer(error("r/1/0", after=300.0))
    driver.wake()
    assert driver.called("tool")[-1]["early"]
    assert driver.answer({"key": "r/1/0"} | CANCEL).called("finish")[0]["status"] == "CANCELED"


def test_a_wake_after_the_time_of_a_lost_timer_begins_the_attempt():
    driver = drive(new()).answer(said(1, "slow")).answer(error("r/1/0", after=300.0)).passes(301)
    driver.wake()
    assert "early" not in driver.called("tool")[-1]


def test_an_undoing_that_is_woken_before_its_time_waits_on():
    driver = drive(new(state={"undo": ("1/0",), "ending": {"type": "LimitExceeded", "message": "enough"}}))
    key = f"{driver.called('compensate')[0]['call']}/undo"
    driver.answer(error(key, after=60.0))
    for _ in range(3):
        driver.wake()
        assert driver.called("compensate")[-1]["early"]
        driver.answer({"key": key, "early": True})
    assert driver.fire().called("compensate")[-1]["failed"] == 1


def test_a_wake_that_comes_early_is_for_the_next_wait_of_the_run_whatever_its_turn():
    driver = drive(new()).answer(said(1, "slow")).answer(error("r/1/0", after=2.0)).fire().answer({"key": "r/1/0"})
    driver.answer(error("r/2/model", after=300.0))
    assert driver.wake() == "poke/r"
    assert driver.called("model")[-1]["early"]


def test_an_approval_that_nobody_gives_is_looked_at_when_its_time_is_up():
    driver = drive(new()).answer(said(1, "pay")).answer(waiting("r/1/0", 500)).fire()
    assert driver.called("tool")[-1]["attempt"] == 2


def test_a_wait_for_a_person_ends_at_the_deadline_of_the_run():
    driver = drive(new()).answer(said(1, "pay")).answer(waiting("r/1/0", 5000))
    assert driver.ctx.timers[-1][0] == timedelta(seconds=1000)
    driver.fire()
    assert driver.names[-1] == "finish"
    assert driver.called("finish")[0]["error"]["type"] == "RunTimeout"


def test_a_suspended_run_waits_until_it_is_woken_and_then_goes_on():
    driver = drive(new()).answer({"key": "r/1/model", "control": "suspend"})
    assert driver.ctx.timers[-1][0] == timedelta(seconds=1000)
    driver.wake()
    driver.answer({"key": "r/1/model", "control": "suspend"})
    assert driver.wake() == "poke/r"
    assert driver.answer(said(1)).output["usage"]["turns"] == 1


def test_a_suspended_run_that_nobody_resumes_ends_by_its_deadline():
    driver = drive(new()).answer({"key": "r/1/model", "control": "suspend"}).fire()
    assert driver.called("finish")[0]["error"]["type"] == "RunTimeout"


@pytest.mark.parametrize("kind", ["retry", "approval", "suspend"])
def test_a_cancel_that_one_step_finds_ends_the_waits_of_the_others(kind):
    other = error("r/1/1", after=600.0) if kind == "retry" else waiting("r/1/1", 900, kind)
    driver = drive(new()).answer(said(1, "a", "b")).answer({"key": "r/1/0"} | CANCEL, other)
    assert driver.names == ["model", "tool", "tool", "finish"]
    finish = driver.called("finish")[0]
    assert (finish["status"], finish["error"]) == ("CANCELED", {"type": "Canceled", "message": "the run was canceled"})
    with pytest.raises(RunFailed, match="Canceled"):
        driver.answer({"key": "r/finish"})


def test_what_may_be_under_way_elsewhere_is_waited_for_even_when_the_run_is_canceled():
    driver = drive(new()).answer(said(1, "a", "b")).answer({"key": "r/1/0"} | CANCEL, waiting("r/1/1", 30, "unknown")).fire()
    assert driver.called("tool")[-1]["call"] == 1
    driver.answer({"key": "r/1/1", "undo": True})
    assert driver.names[-1] == "compensate"


def test_a_fatal_step_ends_the_waits_of_the_others():
    driver = drive(new()).answer(said(1, "a", "b")).answer(waiting("r/1/0", 900), error("r/1/1", "fatal"))
    assert driver.called("finish")[0]["error"] == {"type": "ToolFailed", "message": "busy"}


@pytest.mark.parametrize("turns", [0, 1])
def test_a_cancel_at_a_turns_boundary_ends_the_run(turns):
    driver = drive(new())
    for turn in range(1, turns + 1):
        driver.answer(said(turn, "a")).answer({"key": f"r/{turn}/0"})
    driver.answer({"key": f"r/{turns + 1}/model"} | CANCEL)
    assert driver.called("finish")[0]["status"] == "CANCELED"


def test_a_tool_may_be_tried_more_often_than_an_activity_may_break():
    driver = drive(new(state={"deadline": NOW + 10_000})).answer(said(1, "a"))
    for _ in range(12):
        driver.answer(error("r/1/0")).fire()
    assert driver.called("tool")[-1]["failed"] == 12
    driver.answer({"key": "wrong"}).answer({"key": "wrong"}).answer({"key": "r/1/0"})
    assert driver.names[-1] == "model"


def test_a_retry_that_would_come_too_late_is_not_waited_for():
    driver = drive(new()).answer(said(1, "a", "b")).answer(error("r/1/0", after=1000.0), {"key": "r/1/1"})
    assert driver.ctx.timers == []
    assert "busy" in driver.called("finish")[0]["error"]["message"]


def test_a_suspended_run_of_the_first_shape_is_woken_as_any():
    driver = drive(old()).answer({"key": "r/1/model", "control": "suspend"})
    driver.wake()
    assert driver.answer(said(1)).output


def test_a_step_whose_clock_is_behind_is_not_asked_again_and_again():
    driver = drive(new()).answer(said(1, "pay")).answer(waiting("r/1/0", 10)).fire()
    driver.answer(waiting("r/1/0", 10))
    assert driver.ctx.timers[-1][0] == timedelta(seconds=1)
