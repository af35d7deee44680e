"""Limits, counted from recorded results: what they keep a run from, and what follows."""

import pytest

from holdfast_agent import limits
from holdfast_agent.loop import Loop
from holdfast_agent.progress import REMEMBERED, repeated
from holdfast_agent.workflow import RunFailed
from tests.agent.driving import drive, new, said

SAME = {"digests": ["aa"]}


def _failure(driver):
    return driver.called("finish")[0]["error"]


def test_a_run_that_has_used_its_tokens_is_asked_for_no_further_turn():
    driver = drive(new(max_tokens=100)).answer(said(1, "a", tokens=99)).answer({"key": "r/1/0"})
    assert driver.names[-1] == "model"
    driver.answer(said(2, "a", tokens=1)).answer({"key": "r/2/0"})
    assert driver.names[-1] == "finish"
    assert _failure(driver)["type"] == "LimitExceeded"
    assert "limits.maxTokens is 100 and the run has used 100: raise it" in _failure(driver)["message"]


def test_an_answer_that_takes_more_tokens_than_were_left_is_an_answer():
    assert drive(new(max_tokens=100)).answer(said(1, tokens=500)).output["usage"]["input_tokens"] == 500


def test_calls_beyond_the_limit_are_not_begun_at_all():
    driver = drive(new(max_tool_calls=2)).answer(said(1, "a")).answer({"key": "r/1/0"}).answer(said(2, "a", "b"))
    assert driver.names == ["model", "tool", "model", "finish"]
    assert "limits.maxToolCalls is 2 and the model asked for call number 3" in _failure(driver)["message"]


def test_a_turn_whose_calls_are_beyond_the_limit_is_on_record_as_such_before_anything_is_summed_up():
    driver = drive(new(compact_tokens=1000, max_tool_calls=1, on_exceeded="answer")).answer(said(1, "a", "a", tokens=2000))
    assert driver.names == ["model", "model"]
    assert driver.called("model")[-1]["closing"] == "maxToolCalls"


def test_as_many_calls_as_the_limit_says_are_carried_out():
    driver = drive(new(max_tool_calls=2)).answer(said(1, "a", "b")).answer({"key": "r/1/0"}, {"key": "r/1/1"})
    assert driver.answer(said(2)).output


def _round(driver, turn, result, asked="aa"):
    return driver.answer(said(turn, "search", digests=[asked])).answer({"key": f"r/{turn}/0", "result": result})


def test_the_same_call_with_the_same_result_again_and_again_is_a_loop():
    driver = drive(new(max_iterations=50, max_repeats=3))
    for turn in range(1, 4):
        assert _round(driver, turn, "same").names[-1] == "model"
    _round(driver, 4, "same")
    assert _failure(driver)["type"] == "LimitExceeded"
    assert "the tool 'search' was called 4 times with the same arguments and the same result" in _failure(driver)["message"]


def test_a_call_whose_result_changes_or_whose_arguments_differ_is_no_loop():
    driver = drive(new(max_iterations=50, max_repeats=2))
    for turn in range(1, 6):
        _round(driver, turn, f"result-{turn}")
    for turn in range(6, 11):
        _round(driver, turn, "same", asked=f"arguments-{turn}")
    assert driver.names[-1] == "model"


def test_a_loop_over_several_calls_is_found():
    driver = drive(new(max_iterations=50, max_repeats=2))
    for turn in range(1, 6):
        _round(driver, turn, "same", asked="ab"[turn % 2])
    assert driver.names[-1] == "finish"


def test_what_is_remembered_of_results_is_bounded_and_the_oldest_goes_first():
    seen = ()
    for number in range(100):
        seen = repeated(seen, [f"{number}"])
    assert len(seen) == REMEMBERED
    assert seen[-1] == ("99", 1)
    assert repeated((("a", 1), ("b", 2)), ["a", ""]) == (("b", 2), ("a", 2))


def test_what_was_counted_goes_with_the_run_into_its_next_generation():
    driver = drive(new(max_iterations=50, max_repeats=30, max_tokens=10_000, max_tool_calls=100))
    for turn in range(1, 21):
        driver.answer(said(turn, "search", tokens=10, digests=["aa"])).answer({"key": f"r/{turn}/0", "result": "same", "undo": True})
    driver.answer({"key": "r/20/pack", "segments": 1})
    state = Loop.load(driver.ctx.continued)
    assert Loop.load(state.dump()) == state
    assert (state.usage.tokens, state.usage.tool_calls, state.repeats[0][1], len(state.undo)) == (200, 20, 20, 20)
    assert state.plan.max_repeats == 30


@pytest.mark.parametrize("limit", [{"max_iterations": 1}, {"max_tokens": 10}, {"max_tool_calls": 1}, {"max_repeats": 1}])
def test_with_on_exceeded_answer_the_model_gets_one_closing_turn(limit):
    state = new(on_exceeded="answer", **limit)
    calls = 2 if "max_tool_calls" in limit or "max_repeats" in limit else 1
    driver = drive(state).answer(said(1, *["a"] * calls, tokens=10, digests=["aa"] * calls))
    if "max_tool_calls" not in limit:
        driver.answer(*({"key": f"r/1/{call}", "result": "same"} for call in range(calls)))
    [_, closing] = driver.called("model")
    names = {
        "max_iterations": "maxIterations",
        "max_tokens": "maxTokens",
        "max_tool_calls": "maxToolCalls",
        "max_repeats": "maxRepeatedCalls",
    }
    assert (closing["closing"], closing["turn"]) == (names[next(iter(limit))], 2)
    assert driver.answer(said(2)).output


def test_calls_that_were_not_carried_out_do_not_count():
    driver = drive(new(on_exceeded="answer", max_tool_calls=1)).answer(said(1, "a", "b"))
    assert driver.called("model")[-1]["usage"]["tool_calls"] == 0


@pytest.mark.parametrize("closing", [said(2, "again"), said(2, open="invalid")])
def test_a_closing_turn_that_gives_no_answer_fails_the_run_by_its_limit(closing):
    driver = drive(new(on_exceeded="answer", max_iterations=1)).answer(said(1, "a")).answer({"key": "r/1/0"}).answer(closing)
    assert _failure(driver)["type"] == "LimitExceeded"
    assert "limits.maxIterations is 1" in _failure(driver)["message"]
    assert "asked for its best answer and did not give one" in _failure(driver)["message"]


def test_a_run_out_of_time_is_not_asked_for_an_answer():
    driver = drive(new(on_exceeded="answer")).passes(0).answer(said(1, "a"))
    driver.passes(2000).answer({"key": "r/1/0"})
    assert _failure(driver)["type"] == "RunTimeout"


def test_a_closing_turn_is_not_packed_away_from():
    driver = drive(new(on_exceeded="answer", max_iterations=50, max_tool_calls=19))
    for turn in range(1, 20):
        driver.answer(said(turn, "a")).answer({"key": f"r/{turn}/0"})
    driver.answer(said(20, "a"))
    assert "pack" not in driver.names
    assert driver.answer(said(21)).output


def test_the_limit_of_iterations_says_what_it_always_said_for_runs_of_the_first_shape():
    message = limits.exceeded(Loop("r", "abc", 9e9, 1, turn=2), 0.0).error["message"]
    assert message == "limits.maxIterations is 1 and the model has not given its final answer by then"


def test_a_limit_on_a_run_that_did_something_undoes_it():
    driver = drive(new(max_iterations=1)).answer(said(1, "a")).answer({"key": "r/1/0", "undo": True})
    assert driver.names[-1] == "compensate"
    driver.answer({"key": "r/1/0/undo"})
    with pytest.raises(RunFailed, match="LimitExceeded"):
        driver.answer({"key": "r/finish"})
