"""What `make test-kills` says of a ledger: it has to notice what must not be, and to let pass what a kill explains."""

from datetime import UTC, datetime
from typing import Any

from e2e.caller import SLOW_TOOL
from e2e.tests.verdict import GONE, TRAVEL, Kill, Trip, problems

BEGAN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def call(key: str, at: float, *, took: float = 1.0, kind: str = "model", finished: bool = True) -> dict[str, Any]:
    def moment(seconds: float) -> str:
        return datetime.fromtimestamp(BEGAN + seconds, UTC).isoformat(timespec="milliseconds")

    end = {"finished": moment(at + took)} if finished else {}
    name = SLOW_TOOL if kind == "tool" else "scripted"
    return {"kind": kind, "name": name, "key": key, "detail": {"task": "to Zagreb"}, "started": moment(at), **end}


def kill(at: float, *, cuts: bool = True) -> Kill:
    return Kill("pod", BEGAN + at, BEGAN + at + GONE, cuts)


def found(*more: dict[str, Any], kills: tuple[Kill, ...] = (), status: str = "COMPLETED", without: str = "") -> list[str]:
    run = Trip("to Zagreb", "r", view={"status": status, "result": "held", "error": None})
    calls = [call("q1", 0), call("q2", 2), call("r/2/0", 4, took=12, kind="tool"), call("q3", 17)]
    return list(problems([run], [one for one in (*calls, *more) if one["key"] != without], list(kills)))


def test_a_run_that_went_well_is_no_problem() -> None:
    assert found() == []


def test_a_run_that_did_not_answer_is_one() -> None:
    (problem,) = found(status="FAILED")
    assert "r ended as FAILED" in problem


def test_a_question_that_was_answered_and_asked_again_is_one_unless_a_kill_cut_it_off() -> None:
    again = call("q2", 30)
    (problem,) = found(again)
    assert "asked scripted again" in problem
    assert found(again, kills=(kill(2.5),)) == []
    assert found(again, kills=(kill(3 + TRAVEL - 0.1),)) == []
    assert found(again, kills=(kill(3 + TRAVEL + 0.1),)) == [problem]
    assert found(again, kills=(kill(2 - GONE - 0.1),)) == [problem]


def test_a_pod_that_was_asked_to_end_explains_nothing() -> None:
    assert found(call("r/2/0", 20, kind="tool"), kills=(kill(5, cuts=False),)) != []
    assert found(call("r/2/0", 20, kind="tool"), kills=(kill(5),)) == []


def test_a_call_that_never_ended_may_be_repeated_after_a_kill_at_any_time_since() -> None:
    began = call("r/2/0", 4.5, kind="tool", finished=False)
    assert found(began, call("r/2/0", 60, kind="tool"), kills=(kill(5), kill(50))) == []


def test_a_question_that_nobody_asked_or_a_second_key_is_a_problem() -> None:
    assert found(without="q3") == ["r has 2 questions to the model, not 3"]
    assert found(call("r/3/0", 20, kind="tool")) == [f"r has 2 keys of {SLOW_TOOL}, not 1"]
