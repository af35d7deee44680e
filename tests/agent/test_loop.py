"""What the durable loop decides, without Dapr: pure functions, and the generator driven by hand."""

from datetime import timedelta

import pytest

from holdfast_agent import limits, loop
from holdfast_agent.attempts import judge
from holdfast_agent.documents import Usage
from holdfast_agent.failures import MODEL_ATTEMPTS, TOOL_BOUND, backoff, clipped, envelope, stands
from holdfast_agent.loop import Loop, Step
from holdfast_agent.outcome import Failure
from holdfast_agent.workflow import RunFailed
from holdfast_api.config import RetriesConfig
from tests.agent.driving import NOW, drive, old, said

STEP = Step("tool", "r/1/0", 3, {})
TRANSIENT = {"class": "transient", "message": "busy", "retryAfter": 2.0}


def test_a_result_with_the_right_key_is_taken():
    assert judge(STEP, {}, {"key": "r/1/0"}).result == {"key": "r/1/0"}


def test_a_result_with_another_key_is_refused_and_asked_for_again_at_once():
    verdict = judge(STEP, {}, {"key": "r/21/0"})
    assert (verdict.result, verdict.delay) == (None, 0.0)


def test_a_transient_error_is_tried_again_after_the_time_it_says():
    verdict = judge(STEP, {}, {"key": "r/1/0", "error": TRANSIENT})
    assert (verdict.result, verdict.delay, verdict.message) == (None, 2.0, "busy")


def test_the_last_transient_error_and_every_other_error_stand():
    for failed, kind in ((TOOL_BOUND - 1, "transient"), (0, "permanent"), (0, "fatal")):
        answer = {"key": "r/1/0", "error": TRANSIENT | {"class": kind}}
        assert judge(STEP, {"call": failed}, answer).result == answer


def test_a_store_that_is_away_costs_the_call_no_attempt_and_is_named_if_it_ends_the_run():
    error = TRANSIENT | {"cause": "store"}
    verdict = judge(STEP, {"call": 2, "store": 500}, {"key": "r/1/0", "error": error})
    assert (verdict.result, verdict.cause) == (None, "store")
    assert judge(STEP, {"call": TOOL_BOUND - 1, "store": 500}, {"key": "r/1/0", "error": TRANSIENT}).result
    assert loop.failed([STEP], [{"key": "r/1/0", "error": error | {"class": "fatal"}}]) == {"type": "StoreFailed", "message": "busy"}


def test_the_end_of_a_run_is_not_written_for_ever():
    finish = loop.finish_step(old(), {"type": "ModelFailed", "message": "no"})
    answer = {"key": "r/finish", "error": TRANSIENT | {"cause": "store"}}
    assert judge(finish, {"store": MODEL_ATTEMPTS - 1}, answer).result == answer


def test_what_is_probably_paid_for_is_asked_for_three_times_only():
    step = loop.model_step(old())
    answer = {"key": "r/1/model", "error": TRANSIENT | {"cause": "charged"}}
    assert judge(step, {"call": 10, "charged": 1}, answer).result is None
    assert judge(step, {"charged": 2}, answer).result == answer


def test_an_activity_that_breaks_is_tried_again_and_then_fails_the_run():
    assert judge(STEP, {}, None).delay == 1.0
    assert judge(STEP, {"call": 9, "broken": 2}, None).result["error"]["class"] == "fatal"
    assert judge(STEP, {"broken": 2}, {"key": "wrong"}).result["error"]["class"] == "fatal"


def test_limits_are_met_before_the_next_turn_is_asked_for():
    assert limits.exceeded(old(turn=5), NOW) is None
    assert limits.exceeded(old(turn=6), NOW).error["type"] == "LimitExceeded"
    assert limits.exceeded(old(), NOW + 1000).error["type"] == "RunTimeout"


def test_the_workflows_input_survives_a_round_trip_and_ignores_what_it_does_not_know():
    state = old(turn=7, packed=3, segments=2, usage=Usage(1, 2, 3, 4))
    assert Loop.load(state.dump() | {"from_the_future": 1}) == state


def test_waits_double_are_spread_by_key_and_bounded_and_an_asked_for_wait_wins():
    waits = [backoff("r/1/0", attempt) for attempt in range(1, 9)]
    assert all(2**n <= wait <= 1.25 * 2**n for n, wait in enumerate(waits[:6]))
    assert max(waits) <= 75
    assert backoff("r/1/0", 1) == backoff("r/1/0", 1) != backoff("s/1/0", 1)
    assert backoff("r/1/0", 1, asked=17) == 17
    assert backoff("r/1/0", 1, asked=86400) == 86400
    assert backoff("r/1/0", 6, asked=1) == backoff("r/1/0", 6) > 30
    quick = RetriesConfig(initial_seconds=0.5, max_seconds=2)
    assert 0.5 <= backoff("r/1/0", 1, retries=quick) <= 0.625
    assert 2 <= backoff("r/1/0", 2000, retries=quick) <= 2.5


def test_a_tool_that_asks_for_more_time_than_the_run_has_is_told_to_the_model():
    busy = Failure("transient", "busy", retry_after=60)
    assert not stands("r/1/0", busy, attempt=1, failed=0, left=61)
    assert stands("r/1/0", busy, attempt=1, failed=0, left=59)
    assert stands("r/1/0", busy, attempt=9, failed=RetriesConfig().max_attempts - 1, left=1000)
    assert not stands("r/1/0", busy, attempt=9, failed=0, left=1000)
    assert stands("r/1/0", Failure("permanent", "no"), attempt=1, failed=0, left=1000)
    assert not stands("r/1/0", Failure("fatal", "no"), attempt=1, failed=0, left=0)


def test_an_envelope_is_short_and_on_one_line():
    error = envelope("k", Failure("permanent", "a\nb " + "x" * 5000), 1)["error"]
    assert error["message"].startswith("a b x")
    assert len(error["message"]) == 500
    assert "retryAfter" not in error
    assert clipped("short") == "short"


def test_an_error_with_half_a_surrogate_pair_can_be_stored():
    assert envelope("k", Failure("permanent", "the server says \ud800"), 1)["error"]["message"] == "the server says ?"


def test_a_run_with_one_tool_call_costs_three_activities():
    driver = drive(old()).answer(said(1, "search")).answer({"key": "r/1/0"}).answer(said(2))
    assert driver.names == ["model", "tool", "model"]
    assert driver.output == {"run": "r", "revision": "abc", "usage": {"turns": 2, "tool_calls": 1, "input_tokens": 0, "output_tokens": 0}}


def test_all_calls_of_a_turn_are_begun_together_and_only_the_failed_one_again():
    driver = drive(old()).answer(said(1, "a", "b", "c"))
    assert driver.names == ["model", "tool", "tool", "tool"]
    driver.answer({"key": "r/1/0"}, {"key": "r/1/1", "error": TRANSIENT}, {"key": "r/1/2"})
    assert [delta for delta, _ in driver.ctx.timers] == [timedelta(seconds=2)]
    driver.fire()
    name, again, _ = driver.ctx.called[-1]
    assert (name, again["call"], again["attempt"]) == ("tool", 1, 2)
    assert driver.answer({"key": "r/1/1"}).names[-1] == "model"


def test_another_calls_result_is_refused_and_the_call_made_again():
    driver = drive(old()).answer(said(99))
    assert driver.names == ["model", "model"]
    assert driver.ctx.called[-1][1]["attempt"] == 2
    assert driver.answer(said(1)).output["usage"]["turns"] == 1


def test_a_model_that_stays_down_fails_the_run_after_bounded_attempts():
    driver = drive(old())
    for _ in range(MODEL_ATTEMPTS - 1):
        driver.answer({"key": "r/1/model", "error": TRANSIENT}).fire()
    driver.answer({"key": "r/1/model", "error": TRANSIENT})
    assert driver.names == ["model"] * MODEL_ATTEMPTS + ["finish"]
    assert driver.ctx.called[-1][1]["error"] == {"type": "ModelFailed", "message": "busy"}
    with pytest.raises(RunFailed, match="ModelFailed: busy"):
        driver.answer({"key": "r/finish"})


def test_a_fatal_tool_ends_the_run_once_its_siblings_have_settled():
    driver = drive(old()).answer(said(1, "a", "b"))
    fatal = {"key": "r/1/0", "error": {"class": "fatal", "message": "gone"}}
    driver.ctx.called[-2][2].complete(fatal)
    assert driver.proceed().names == ["model", "tool", "tool"]
    driver.ctx.called[-1][2].complete({"key": "r/1/1"})
    assert driver.proceed().names[-1] == "finish"
    with pytest.raises(RunFailed, match="ToolFailed: gone"):
        driver.answer({"key": "r/finish"})


def test_no_retry_is_waited_for_past_the_deadline():
    driver = drive(old(deadline=NOW + 1)).answer({"key": "r/1/model", "error": TRANSIENT})
    assert driver.ctx.timers == []
    assert driver.ctx.called[-1][1]["error"] == {
        "type": "RunTimeout",
        "message": "limits.runTimeout leaves no time to try again after: busy",
    }


def test_the_end_of_a_run_that_is_out_of_time_is_written_as_patiently_as_any():
    driver = drive(old(deadline=NOW - 1))
    assert driver.names == ["finish"]
    driver.answer({"key": "r/finish", "error": TRANSIENT | {"cause": "store"}}).fire()
    assert driver.names == ["finish", "finish"]
    with pytest.raises(RunFailed, match="RunTimeout"):
        driver.answer({"key": "r/finish"})


def test_a_pause_is_one_wait_with_a_time_limit_for_all_that_failed_together():
    driver = drive(old()).answer(said(1, "a", "b"))
    driver.answer({"key": "r/1/0", "error": TRANSIENT | {"retryAfter": 5.0}}, {"key": "r/1/1", "error": TRANSIENT})
    assert [delta for delta, _ in driver.ctx.timers] == [timedelta(seconds=5)]
    assert list(driver.ctx.events) == [loop.poke_event("r/1/0", 1)] == [loop.poke_event("r/1/1", 1)]
    assert driver.fire().names == ["model", "tool", "tool", "tool", "tool"]


def test_a_lost_timer_is_made_up_for_by_a_poke_but_not_before_its_time():
    driver = drive(old()).answer({"key": "r/1/model", "error": TRANSIENT | {"retryAfter": 20.0}})
    name = loop.poke_event("r/1/model", 1)
    driver.ctx.current_utc_datetime += timedelta(seconds=5)
    driver.ctx.events[name].complete({"wake": True})
    assert driver.proceed().names == ["model"]
    assert [delta for delta, _ in driver.ctx.timers] == [timedelta(seconds=20), timedelta(seconds=15)]
    driver.ctx.current_utc_datetime += timedelta(seconds=50)
    driver.ctx.events[name].complete({"wake": True})
    assert driver.proceed().names == ["model", "model"]


def test_after_twenty_turns_the_run_is_packed_and_continues_as_new_with_nothing_outstanding():
    driver = drive(old(max_iterations=100))
    for turn in range(1, 21):
        driver.answer(said(turn, "a"))
        driver.answer({"key": f"r/{turn}/0"})
    assert driver.names[-1] == "pack"
    assert driver.ctx.called[-1][1] | {"usage": None, "attempt": None, "failed": None} == {
        "run": "r", "first": 1, "last": 20, "segments": 0, "usage": None, "attempt": None, "failed": None
    }  # fmt: skip
    driver.answer({"key": "r/20/pack", "segments": 1})
    assert all(task.is_complete for _, _, task in driver.ctx.called)
    state = Loop.load(driver.ctx.continued)
    assert (state.turn, state.packed, state.segments, state.usage.turns) == (21, 20, 1, 20)
    assert RetriesConfig().max_attempts < MODEL_ATTEMPTS
