"""What a head can go through, as pure changes."""

import json
from dataclasses import asdict, replace

from holdfast_agent.audit import Auditor
from holdfast_agent.audit.chain import head_digest, record
from holdfast_agent.documents import Approval, Cancel, Head, ModelTurn, Plan, ToolOutcome, Trouble, Usage, task_digest
from holdfast_agent.heads import ERASING, change
from holdfast_agent.loop import wake_event

HEAD = Head(id="r", task="go", digest="d", revision="abc", created=0.0, deadline=60.0, max_iterations=50, longest_call=60.0)
ASKED = Approval(tool="pay", digest="abc", asked=1.0, until=90.0)
LONG, SHORT = Trouble("r/1/0", 1, "down", 60.0), Trouble("r/1/1", 1, "busy", 2.0)
ERROR = {"type": "Canceled", "message": "enough"}


def test_a_head_names_the_wait_that_is_due_first_and_keeps_the_others():
    waiting = HEAD.troubled(LONG).troubled(SHORT)
    assert waiting == HEAD.troubled(SHORT).troubled(LONG)
    assert (waiting.trouble, waiting.beside) == (SHORT, (LONG,))


def test_what_a_newer_version_wrote_stays_in_a_head_and_is_sealed_with_it():
    newer = HEAD.dump() | {"later": {"on": [1]}, "said": False}
    changed = change(lambda head: head.troubled(LONG))(newer)
    assert changed == newer | {"trouble": asdict(LONG)}
    ended = change(lambda head: Auditor(key="k").sealed(head.completed("yes", Usage(), 1.0), {"count": 1, "hash": "h", "tail": []}))(
        changed
    )
    assert {name: ended[name] for name in ("later", "said")} == {"later": {"on": [1]}, "said": False}
    assert ended["audit"]["tail"] == [record("end", head_digest(ended))]


def test_that_a_run_is_being_erased_is_not_kept_by_who_writes_its_head():
    assert change(lambda head: head.troubled(LONG))(HEAD.dump() | {ERASING: {"by": "a", "at": 1.0}}) == HEAD.troubled(LONG).dump()


def test_what_waits_on_is_not_touched_by_what_goes_on_beside_it():
    waiting = HEAD.troubled(LONG).troubled(SHORT).resumed("r/1/1", 2)
    assert waiting.waits == (LONG,)
    again = waiting.troubled(Trouble("r/1/1", 3, "busy", 5.0))
    assert [(wait.key, wait.attempt) for wait in again.waits] == [("r/1/1", 3), ("r/1/0", 1)]
    assert again.resumed("r/1/0", 4).resumed("r/1/1", 4) == HEAD


def test_a_run_with_a_plan_is_woken_by_one_name_and_one_without_by_its_newest_round():
    planned = replace(HEAD, plan=Plan(max_iterations=5))
    assert wake_event(planned) == wake_event(planned.troubled(LONG)) == "poke/r"
    assert wake_event(HEAD) is None
    assert wake_event(HEAD.troubled(replace(LONG, attempt=2)).troubled(SHORT)) == "poke/r/1/2"


def test_only_the_step_that_waited_ends_its_wait_and_only_by_a_later_attempt():
    waiting = HEAD.troubled(LONG)
    assert waiting.resumed("r/1/0", 1) == waiting.resumed("r/1/1", 2) == waiting.resumed("r/2/model", 2) == waiting
    assert waiting.resumed("r/1/0", 2) == HEAD


def test_a_wait_of_a_later_turn_takes_the_place_of_one_that_was_left_behind():
    later = Trouble("r/2/model", 1, "down", 9.0)
    assert HEAD.troubled(LONG).troubled(later).waits == (later,)


def test_an_ended_run_waits_for_nothing_and_nobody():
    done = HEAD.troubled(LONG).completed("yes", Usage(), 1.0)
    assert done.waits == ()
    assert done.troubled(LONG) == done.canceled(2.0, "late") == done.suspend(2.0) == done.asks("1/0", ASKED) == done


def test_a_run_that_is_to_be_canceled_does_not_complete_and_ends_as_canceled():
    canceled = HEAD.canceled(1.0, "enough").canceled(2.0, "again")
    assert canceled.cancel == Cancel(1.0, "enough")
    assert canceled.completed("yes", Usage(), 3.0) == canceled
    ended = canceled.failed(ERROR, Usage(1), 4.0)
    assert (ended.status, ended.error, ended.ended, ended.usage) == ("CANCELED", ERROR, 4.0, Usage(1))
    assert HEAD.failed(ERROR, Usage(), 4.0).status == "FAILED"


def test_a_run_that_is_canceled_while_it_is_undone_says_both():
    ending = replace(HEAD, ending={"status": "FAILED", "error": {"type": "LimitExceeded", "message": "too much"}})
    ended = ending.canceled(1.0, "enough").failed({"type": "LimitExceeded", "message": "too much"}, Usage(), 4.0)
    assert ended.status == "CANCELED"
    assert ended.error == {"type": "Canceled", "message": "the run was canceled; it failed, too: LimitExceeded: too much"}


def test_a_cancel_wakes_no_wait_for_what_another_process_may_be_doing():
    for kind in ("unknown", "retry", "approval", "suspend"):
        waits = HEAD.troubled(Trouble("r/1/0", 1, "somebody is at it", 9.0, kind))
        assert waits.suspend(0.0).canceled(1.0, "enough").unheeded == (kind != "unknown")


def test_a_cancel_comes_before_a_suspend():
    suspended = HEAD.suspend(1.0)
    assert (HEAD.control, suspended.control, suspended.canceled(2.0, "").control) == (None, "suspend", "cancel")
    assert suspended.suspend(9.0).suspended == 1.0
    assert suspended.resume() == HEAD


def test_the_first_question_and_the_first_answer_stand():
    asking = HEAD.asks("1/0", ASKED).asks("1/0", replace(ASKED, asked=5.0))
    assert asking.approvals == {"1/0": ASKED}
    assert asking.decides("1/1", "approved", "", 2.0) == asking
    decided = asking.decides("1/0", "rejected", "too much", 2.0)
    assert decided.approvals["1/0"] == replace(ASKED, decision="rejected", reason="too much", decided=2.0)
    assert decided.decides("1/0", "approved", "", 3.0) == decided
    assert decided.settles("1/0") == HEAD


def test_a_run_whose_question_was_settled_by_a_second_execution_of_the_call_is_woken():
    waiting = HEAD.asks("1/0", ASKED).troubled(Trouble("r/1/0", 1, "a person", 9.0, "approval"))
    assert not waiting.unheeded
    settled = waiting.decides("1/0", "approved", "", 2.0).settles("1/0")
    assert settled.unheeded
    assert not settled.resumed("r/1/0", 2).unheeded


def test_a_head_with_all_that_it_can_hold_survives_a_round_trip():
    full = replace(
        HEAD.troubled(LONG).troubled(SHORT).canceled(1.0, "enough").suspend(2.0).asks("1/0", ASKED),
        plan=Plan(max_iterations=50, max_tokens=1000, session=True),
        session="s",
        ending={"status": "CANCELED", "error": ERROR},
        exceeded="maxTokens",
        evaluation={"accepted": True, "rounds": 2},
        rerun_of="q",
        trace="00-a-b-01",
        callers=("first", "second"),
        audit={"count": 1, "hash": "h", "mac": "m"},
    )
    dumped = full.dump()
    assert Head.load(dumped) == full
    assert json.loads(json.dumps(dumped)) == dumped, "what is read back tells a lost reply from a lost write"
    future = {"from_the_future": 1}
    for part in ("trouble", "cancel", "plan"):
        dumped[part] |= future
    dumped["approvals"]["1/0"] |= future
    dumped["beside"][0] |= future
    assert Head.load(dumped | future) == replace(full, unknown=future)


def test_a_plain_head_and_a_plain_turn_hold_nothing_new():
    assert HEAD.dump().keys() == {
        "id", "task", "digest", "revision", "created", "deadline", "max_iterations", "longest_call", "status", "usage", "packed", "segments"
    }  # fmt: skip
    turn = ModelTurn(key="r/1/model", content="", calls=(), usage=Usage(), model="m", started=0.0, ended=1.0)
    assert not turn.dump().keys() & {"feedback", "audit"}
    assert ModelTurn.load(replace(turn, feedback="no", audit={"count": 1, "hash": "h"}).dump()).feedback == "no"


def test_an_outcome_of_an_older_version_says_by_its_error_what_became_of_it():
    outcome = ToolOutcome(key="r/1/0", tool="t", call_id="c", content="", is_error=True, started=0.0, ended=1.0)
    old = {name: value for name, value in outcome.dump().items() if name != "outcome"}
    assert ToolOutcome.load(old).outcome == "failed"
    assert ToolOutcome.load(old | {"is_error": False}).outcome == "completed"
    approved = replace(outcome, approval=ASKED, outcome="rejected")
    assert ToolOutcome.load(approved.dump()) == approved


def test_a_request_without_a_session_has_the_digest_that_it_always_had():
    assert task_digest("go") == task_digest("go", None) != task_digest("go", "s")


def test_nothing_changes_the_head_of_an_ended_run_for_its_records_are_sealed_with_it():
    ended = HEAD.asks("1/0", ASKED).suspend(1.0).failed(ERROR, Usage(), 4.0)
    assert ended.approvals
    assert ended.settles("1/0") == ended.decides("1/0", "approved", "", 5.0) == ended.resume() == ended.resumed("r/1/0", 2) == ended
