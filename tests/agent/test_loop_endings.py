"""How runs end other than by a plain answer: undone, repaired, judged, summed up, recalled; and on record."""

import pytest

from holdfast_agent.audit import genesis, link
from holdfast_agent.loop import Loop
from holdfast_agent.workflow import RunFailed
from tests.agent.driving import drive, error, new, said, waiting

CHAIN = genesis(run="r", revision="abc", spiffe="", task_digest="d")
USED = {"input_tokens": 7, "output_tokens": 3}


def _undone(driver):
    return [given["call"] for given in driver.called("compensate")]


def test_what_was_done_is_undone_one_after_another_in_reverse_order():
    driver = drive(new()).answer(said(1, "a", "b")).answer({"key": "r/1/0", "undo": True}, {"key": "r/1/1", "undo": True})
    driver.answer(said(2, "c", "d")).answer({"key": "r/2/0"}, {"key": "r/2/1", "undo": True}).answer(error("r/3/model", "fatal"))
    for key in ("r/2/1", "r/1/1", "r/1/0"):
        assert _undone(driver)[-1] == key
        driver.answer({"key": f"{key}/undo"})
    assert _undone(driver) == ["r/2/1", "r/1/1", "r/1/0"]
    assert driver.called("compensate")[0]["ending"] == {"status": "FAILED", "error": {"type": "ModelFailed", "message": "busy"}}
    assert driver.names[-1] == "finish"


def test_calls_that_finished_beside_the_one_that_failed_are_undone_too():
    driver = drive(new()).answer(said(1, "a", "b")).answer({"key": "r/1/0", "undo": True}, error("r/1/1", "fatal"))
    assert _undone(driver) == ["r/1/0"]


def test_a_good_end_undoes_nothing():
    driver = drive(new()).answer(said(1, "a")).answer({"key": "r/1/0", "undo": True}).answer(said(2))
    assert "compensate" not in driver.names
    assert driver.output


def test_what_cannot_be_undone_stops_no_other_and_the_error_says_so():
    driver = drive(new()).answer(said(1, "a", "b", "c"))
    driver.answer(*({"key": f"r/1/{call}", "undo": True} for call in range(3))).answer({"key": "r/2/model", "control": "cancel"})
    driver.answer({"key": "r/1/2/undo", "isError": True}).answer({"key": "r/1/1/undo"}).answer(error("r/1/0/undo", "fatal"))
    finish = driver.called("finish")[0]
    assert finish["status"] == "CANCELED"
    assert finish["error"]["message"] == "the run was canceled; not undone, see the steps: 1/2, 1/0"


def test_undoing_waits_and_retries_past_the_deadline():
    driver = drive(new()).answer(said(1, "a")).answer({"key": "r/1/0", "undo": True}).passes(2000)
    driver.answer({"key": "r/2/model", "error": {"class": "fatal", "message": "late"}, "timeout": True})
    driver.answer(error("r/1/0/undo", after=60.0)).fire()
    assert driver.called("compensate")[-1]["attempt"] == 2
    driver.answer(waiting("r/1/0/undo", 9000, "unknown")).fire()
    assert driver.called("compensate")[-1]["attempt"] == 3
    assert driver.answer({"key": "r/1/0/undo"}).names[-1] == "finish"


def test_a_long_undoing_goes_on_in_further_generations():
    state = new(max_iterations=200, state={"undo": tuple(f"{turn}/0" for turn in range(1, 121)), "turn": 121, "packed": 120})
    undone = []
    driver = drive(state).answer(error("r/121/model", "fatal"))
    while driver.names[-1] != "finish":
        undone.append(driver.called("compensate")[-1]["call"])
        driver.answer({"key": f"{undone[-1]}/undo", "isError": len(undone) == 1})
        if driver.ctx.continued:
            driver = drive(Loop.load(driver.ctx.continued))
    assert undone == [f"r/{turn}/0" for turn in range(120, 0, -1)]
    assert driver.called("finish")[0]["error"] == {"type": "ModelFailed", "message": "busy; not undone, see the steps: 120/0"}
    with pytest.raises(RunFailed):
        driver.answer({"key": "r/finish"})


def test_an_error_names_the_first_calls_that_could_not_be_undone_and_counts_the_others():
    driver = drive(new()).answer(said(1, *"abcdefghijkl")).answer(*({"key": f"r/1/{call}", "undo": True} for call in range(12)))
    driver.answer(error("r/2/model", "fatal"))
    for call in range(11, -1, -1):
        driver.answer({"key": f"r/1/{call}/undo", "isError": True})
    named = ", ".join(f"1/{call}" for call in range(11, 1, -1))
    assert driver.called("finish")[0]["error"]["message"] == f"busy; not undone, see the steps: {named} and 2 more"


def test_what_is_to_be_undone_is_carried_on_without_the_name_of_the_run():
    driver = drive(new(max_iterations=50))
    for turn in range(1, 21):
        driver.answer(said(turn, "a")).answer({"key": f"r/{turn}/0", "undo": True})
    driver.answer({"key": "r/20/pack", "segments": 1})
    assert driver.ctx.continued["undo"][:2] == ("1/0", "2/0")


def test_an_answer_that_does_not_fit_is_asked_for_again_so_many_times():
    driver = drive(new(max_repairs=2, max_iterations=9))
    for turn in (1, 2):
        driver.answer(said(turn, open="invalid"))
    assert [given["repairs"] for given in driver.called("model")] == [0, 1, 2]
    assert driver.answer(said(3)).output
    driver = drive(new(max_repairs=1, max_iterations=9)).answer(said(1, open="invalid")).answer(said(2, open="invalid"))
    assert driver.called("finish")[0]["error"]["type"] == "OutputInvalid"
    assert "sent back 1 times (output.maxRepairs)" in driver.called("finish")[0]["error"]["message"]


def test_a_critic_sends_an_answer_back_and_ends_the_run_with_one_that_it_accepts():
    driver = drive(new(evaluation_rounds=2)).answer(said(1, open="candidate", tokens=1))
    first = driver.called("evaluate")[0]
    assert (first["turn"], first["round"], first["last"], first["usage"]["input_tokens"]) == (1, 1, False, 1)
    driver.answer({"key": "r/1/evaluation", "accepted": False, "ended": False, "usage": USED | {"turns": 1}})
    driver.answer(said(2, open="candidate", tokens=1)).answer({"key": "r/2/evaluation", "accepted": False, "ended": False, "usage": USED})
    driver.answer(said(3, open="candidate"))
    assert (driver.called("evaluate")[-1]["round"], driver.called("evaluate")[-1]["last"]) == (3, True)
    driver.answer({"key": "r/3/evaluation", "accepted": False, "ended": True, "usage": USED})
    assert driver.output["usage"] == {"turns": 3, "tool_calls": 0, "input_tokens": 2 + 21, "output_tokens": 9}


def test_a_cancel_that_the_critic_finds_ends_the_run():
    driver = drive(new(evaluation_rounds=2)).answer(said(1, open="candidate")).answer({"key": "r/1/evaluation", "control": "cancel"})
    assert driver.called("finish")[0]["status"] == "CANCELED"


def test_a_conversation_that_outgrew_its_bound_is_summed_up_before_the_next_turn():
    driver = drive(new(compact_tokens=100, max_iterations=9)).answer(said(1, "a", tokens=100)).answer({"key": "r/1/0"})
    driver.answer(said(2, "a", tokens=101)).answer({"key": "r/2/0"})
    assert driver.names[-1] == "compact"
    assert driver.called("compact")[0]["turn"] == 3
    driver.answer({"key": "r/3/compact", "through": 2, "usage": USED})
    assert [given.get("summary") for given in driver.called("model")] == [None, None, 3]
    driver.answer(said(3, "a", tokens=50)).answer({"key": "r/3/0"})
    assert driver.names[-1] == "model"
    assert driver.called("model")[-1]["summary"] == 3
    assert driver.called("model")[-1]["usage"]["input_tokens"] == 251 + 7


def test_a_run_of_a_session_recalls_it_once_before_its_first_turn():
    driver = drive(new(session=True))
    assert driver.names == ["recall"]
    driver.answer({"key": "r/recall", "usage": USED}).answer(said(1, "a")).answer({"key": "r/1/0"})
    assert driver.names == ["recall", "model", "tool", "model"]
    assert driver.called("model")[0]["usage"] == {"turns": 0, "tool_calls": 0, "input_tokens": 7, "output_tokens": 3}


def test_every_result_is_on_record_and_each_turn_is_told_the_chain_before_it():
    driver = drive(new(state={"audit": CHAIN}))
    first, tool = said(1, "a", digest="1" * 64), {"key": "r/1/0", "digest": "2" * 64, "undo": True}
    driver.answer(first).answer(tool)
    before = [given["audit"] for given in driver.called("model")]
    assert before == [CHAIN, link(CHAIN, [first, tool])]
    driver.answer(error("r/2/model", "fatal")).answer({"key": "r/1/0/undo", "digest": "3" * 64})
    assert driver.called("finish")[0]["audit"]["count"] == 3
    assert driver.called("finish")[0]["audit"]["tail"][-1].startswith("1/0/undo ")
