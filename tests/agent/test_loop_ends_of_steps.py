"""A step ends by what its activity says of it, and what an attempt said is not lost by the next one."""

import pytest

from holdfast_agent.attempts import Pursuit
from holdfast_agent.audit import genesis, link
from holdfast_agent.failures import CALL_BREAKS, MODEL_ATTEMPTS
from holdfast_agent.loop import TOOL, Step
from tests.agent.driving import NOW, drive, error, new, old, said, waiting

CHAIN = genesis(run="r", revision="abc", spiffe="", task_digest="d")
OURS = ["store", "unstored", "defect", "revision"]
SKIPPED = [{"key": "r/1/0", "digest": "5" * 64}]


@pytest.mark.parametrize("last", [{"key": "r/1/0", "isError": True}, error("r/1/0", "fatal"), {"key": "r/1/0", "control": "cancel"}])
def test_a_call_that_may_have_had_its_effect_is_undone_whatever_its_last_attempt_came_to(last):
    driver = drive(new()).answer(said(1, "pay")).answer(error("r/1/0") | {"undo": True}).fire().answer(last)
    if driver.names[-1] == "model":
        driver.answer({"key": "r/2/model", "control": "cancel"})
    assert [given["call"] for given in driver.called("compensate")] == ["r/1/0"]


def test_a_wake_hurries_an_attempt_that_found_no_store():
    driver = drive(new()).answer(said(1, "pay")).passes(1500).answer(error("r/1/0", after=60.0, cause="store"))
    driver.wake()
    assert "early" not in driver.called("tool")[-1]
    assert driver.answer({"key": "r/1/0"}).names[-1] == "finish"


def test_what_the_answer_to_another_question_said_is_not_kept():
    driver = drive(new()).answer(said(1, "pay")).answer({"key": "other/1/0", "undo": True}).answer({"key": "r/1/0"})
    assert driver.answer({"key": "r/2/model", "control": "cancel"}).names[-1] == "finish"


@pytest.mark.parametrize("cause", OURS)
def test_a_call_whose_newest_attempt_could_not_say_what_is_stored_is_asked_again_past_the_deadline(cause):
    driver = drive(new()).answer(said(1, "pay")).passes(990).answer(error("r/1/0", after=60.0, cause=cause))
    assert driver.ctx.timers[-1][0].total_seconds() == 60
    driver.fire()
    assert driver.names == ["model", "tool", "tool"]
    driver.answer({"key": "r/1/0", "undo": True})
    assert driver.called("compensate")[0]["call"] == "r/1/0"
    assert driver.called("compensate")[0]["ending"]["error"]["type"] == "RunTimeout"


@pytest.mark.parametrize("cause", OURS)
def test_a_run_of_the_first_shape_ends_at_its_deadline_all_the_same(cause):
    driver = drive(old()).answer(said(1, "pay")).passes(990).answer(error("r/1/0", after=60.0, cause=cause))
    assert driver.names == ["model", "tool", "finish"]


def test_a_call_that_could_not_say_what_is_stored_is_asked_again_when_another_one_ends_the_run_but_not_to_begin():
    driver = drive(new()).answer(said(1, "pay", "b")).answer(error("r/1/0", cause="store"), {"key": "r/1/1", "control": "cancel"}).fire()
    assert driver.called("tool")[-1] | {"call": 0, "ends": True} == driver.called("tool")[-1]
    driver.answer({"key": "r/1/0", "undo": True})
    assert (driver.names[-1], driver.called("compensate")[0]["call"]) == ("compensate", "r/1/0")


def test_a_call_that_another_process_may_have_under_way_is_waited_for_past_the_deadline():
    driver = drive(new()).answer(said(1, "pay")).answer(waiting("r/1/0", 1030, "unknown"))
    assert driver.ctx.timers[-1][0].total_seconds() == 1030
    driver.fire().answer({"key": "r/1/0", "undo": True})
    assert driver.called("compensate")[0]["call"] == "r/1/0"


def test_one_call_ends_by_the_deadline_while_another_is_waited_for():
    driver = drive(new()).answer(said(1, "pay", "b")).answer(waiting("r/1/0", 1030, "unknown"), waiting("r/1/1", 5000)).fire()
    assert driver.ctx.timers[-1][0].total_seconds() == 30
    driver.fire()
    assert [given["call"] for given in driver.called("tool")] == [0, 1, 0]
    assert driver.answer({"key": "r/1/0"}).names[-1] == "finish"


@pytest.mark.parametrize("first", [waiting("r/1/0", 600, "agent"), error("r/1/0", after=60.0), {"key": "r/1/0", "control": "suspend"}])
def test_another_agent_that_may_have_a_call_is_told_at_once_when_another_step_ends_the_run(first):
    driver = drive(new()).answer(said(1, "ask", "b"))
    driver.answer(waiting("r/1/0", 1, "agent") | {"elsewhere": True}, error("r/1/1", after=1.0)).fire()
    driver.answer(first, error("r/1/1", "fatal"))
    assert len(driver.ctx.timers) == 1
    assert driver.called("tool")[-1] | {"call": 0, "ends": True} == driver.called("tool")[-1]
    assert "early" not in driver.called("tool")[-1]
    # What the other one undoes is waited for as ever.
    driver.answer(waiting("r/1/0", 5, "unknown") | {"elsewhere": True})
    assert driver.names[-1] == "tool"
    driver.fire().answer({"key": "r/1/0", "dropped": True})
    assert driver.names[-1] == "finish"


def test_a_run_that_waits_by_an_answer_of_an_older_version_goes_on_with_the_same_wait():
    driver = drive(new()).answer(said(1, "ask", "b")).answer(waiting("r/1/0", 600, "agent"), error("r/1/1", "fatal"))
    assert [timer.total_seconds() for timer, _ in driver.ctx.timers] == [600]
    assert driver.fire().called("tool")[-1]["ends"]


@pytest.mark.parametrize("last", ["late", "control", "fatal"])
def test_calls_that_were_found_skipped_stay_on_record_however_the_step_ends(last):
    driver = _closing().answer(error("r/2/model", after=2.0) | {"skipped": SKIPPED})
    if last == "late":
        driver.passes(5000)
    driver.fire()
    if driver.names[-1] == "model":
        driver.answer({"key": "r/2/model", "control": "cancel"} if last == "control" else error("r/2/model", "fatal"))
    assert driver.called("finish")[0]["audit"] == _record([said(1, "a", "a", digest="1" * 64), *SKIPPED])


@pytest.mark.parametrize("end", ["compact", "model", "good"])
def test_calls_that_were_found_skipped_before_a_compaction_are_on_record_once(end):
    driver = _closing().answer(error("r/2/model", "permanent", cause="context") | {"skipped": SKIPPED})
    assert driver.names[-1] == "compact"
    if end == "compact":
        driver.answer(error("r/2/compact", "fatal"))
        assert driver.called("finish")[0]["audit"] == _record([said(1, "a", "a", digest="1" * 64), *SKIPPED])
        return
    summary = {"key": "r/2/compact", "through": 1, "usage": {}, "digest": "3" * 64}
    driver.answer(summary)
    assert driver.called("model")[-1]["audit"] == _record([said(1, "a", "a", digest="1" * 64), summary])
    if end == "model":
        driver.answer(error("r/2/model", "fatal"))
        assert driver.called("finish")[0]["audit"] == _record([said(1, "a", "a", digest="1" * 64), summary, *SKIPPED])
    else:
        assert driver.answer(said(2) | {"skipped": SKIPPED}).output


def _closing():
    state = new(on_exceeded="answer", max_tool_calls=1, state={"audit": CHAIN})
    return drive(state).answer(said(1, "a", "a", digest="1" * 64))


def _record(results):
    return link(CHAIN, results)


@pytest.mark.parametrize(("cause", "bound"), [("defect", CALL_BREAKS), ("revision", MODEL_ATTEMPTS)])
@pytest.mark.parametrize("activity", ["tool", "compensate"])
def test_what_is_wrong_inside_the_agent_is_no_attempt_of_the_tool_and_ends_soon(activity, cause, bound):
    pursuit = Pursuit(Step(activity, "r/1/0", CALL_BREAKS, {}))
    for number in range(bound):
        assert pursuit.result is None
        assert pursuit.input(number + 1)["failed"] == 0
        pursuit.take(error("r/1/0", cause=cause), NOW)
    assert pursuit.result["error"]["cause"] == cause


def test_a_defect_of_ours_is_no_failure_of_the_model():
    driver = drive(new(models=2, state={"deadline": NOW + 100_000}))
    for _ in range(CALL_BREAKS - 1):
        driver.answer(error("r/1/model", cause="defect")).fire()
    assert [given["model"] for given in driver.called("model")] == [0] * CALL_BREAKS
    assert driver.answer(error("r/1/model", cause="defect")).names[-1] == "finish"


def test_steps_of_the_first_shape_do_not_insist():
    pursuit = Pursuit(Step(TOOL, "r/1/0", 5, {}), insists=False)
    pursuit.take(error("r/1/0", cause="store"), NOW)
    pursuit.expire(NOW, NOW)
    assert pursuit.result["timeout"]
