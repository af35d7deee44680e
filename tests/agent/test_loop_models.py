"""Which model is asked: the first one, and its fallbacks in order while it stays down."""

from holdfast_agent.attempts import Choice
from holdfast_agent.failures import CHARGED_ATTEMPTS, FALLBACK_AFTER, MODEL_ATTEMPTS
from holdfast_agent.loop import Loop
from tests.agent.driving import NOW, drive, error, new, said


def _asked(driver):
    return [given["model"] for given in driver.called("model")]


def _busy(driver, times, **more):
    for _ in range(times):
        waits = len(driver.ctx.timers)
        driver.answer(error("r/1/model", **more))
        if len(driver.ctx.timers) > waits:
            driver.fire()
    return driver


def test_a_model_that_stays_down_is_left_for_the_next_one_at_once():
    driver = _busy(drive(new(models=2)), FALLBACK_AFTER)
    assert _asked(driver) == [0, 0, 0, 1]
    assert len(driver.ctx.timers) == FALLBACK_AFTER - 1


def test_a_model_that_can_never_answer_is_left_after_one_attempt():
    driver = drive(new(models=3)).answer(error("r/1/model", "permanent")).answer(error("r/1/model", "permanent"))
    assert _asked(driver) == [0, 1, 2]
    assert driver.ctx.timers == []
    driver.answer(error("r/1/model", "permanent"))
    assert driver.called("finish")[0]["error"]["type"] == "ModelFailed"


def test_the_model_that_answered_is_asked_again_until_the_run_continues_as_new():
    driver = (
        drive(new(models=2, max_iterations=50))
        .answer(error("r/1/model", "permanent"))
        .answer(said(1, "a", model=1))
        .answer({"key": "r/1/0"})
    )
    for turn in range(2, 21):
        driver.answer(said(turn, "a", model=1)).answer({"key": f"r/{turn}/0"})
    assert _asked(driver) == [0, *[1] * 20]
    driver.answer({"key": "r/20/pack", "segments": 1})
    assert Loop.load(driver.ctx.continued).model == 0


def test_all_models_together_get_no_more_attempts_than_one_would():
    driver = drive(new(models=2, state={"deadline": NOW + 100_000}))
    _busy(driver, MODEL_ATTEMPTS)
    assert len(_asked(driver)) == MODEL_ATTEMPTS
    assert _asked(driver)[:10] == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    assert driver.names[-1] == "finish"


def test_a_model_that_is_gone_is_not_come_back_to():
    driver = drive(new(models=2)).answer(error("r/1/model", "permanent"))
    _busy(driver, 2 * FALLBACK_AFTER)
    assert _asked(driver) == [0, *[1] * 7]


def test_a_store_that_is_away_is_no_models_fault():
    driver = _busy(drive(new(models=2)), 2 * FALLBACK_AFTER, cause="store")
    assert set(_asked(driver)) == {0}


def test_what_is_probably_paid_for_is_asked_of_each_model_so_many_times():
    driver = _busy(drive(new(models=2)), CHARGED_ATTEMPTS, cause="charged")
    assert _asked(driver) == [0, 0, 0, 1]
    _busy(driver, CHARGED_ATTEMPTS, cause="charged")
    assert len(_asked(driver)) == 2 * CHARGED_ATTEMPTS
    assert driver.names[-1] == "finish"


def test_what_ends_the_run_whichever_model_is_asked_is_tried_on_no_other():
    driver = drive(new(models=2)).answer(error("r/1/model", "fatal"))
    assert driver.names == ["model", "finish"]


def test_an_agent_with_one_model_says_so_by_asking_it_alone():
    driver = _busy(drive(new()), 5)
    assert _asked(driver) == [0] * 6


def test_a_choice_goes_round_the_models_that_are_left():
    choice = Choice.among(3, 1).lost()
    assert choice.current == 2
    for _ in range(FALLBACK_AFTER):
        choice = choice.busy()
    assert choice.current == 0
    assert choice.lost().current == 2
    assert choice.lost().lost() is None
