"""The judge finds what it is there to find."""

from tests.agent.faults.oracles import Kill, judge
from tests.agent.faults.world import Call, Plan, answer

WELL, BADLY = Plan((("pay", "mail"),)), Plan((("pay", "mail"),), ends="failure")
VIEW = {"status": "COMPLETED", "result": answer("r")}


def _ledger(**changes):
    """The calls of one run without trouble, at seconds 1, 2, 2 and 3, each taking half a second."""
    calls = {
        "first": Call("model", "model", "a", "r", 1, 1.0, 1.5, effect=True),
        "pay": Call("tool", "pay", "r/1/0", "r", 1, 2.0, 2.5, effect=True),
        "mail": Call("tool", "mail", "r/1/1", "r", 1, 2.0, 2.5, effect=True),
        "last": Call("model", "model", "b", "r", 2, 3.0, 3.5, effect=True),
    }
    return [call for call in (calls | changes).values() if call]


def _again(kind, name, key, turn, *, at, effect):
    return Call(kind, name, key, "r", turn, at, at + 0.5, effect=effect)


def _found(calls, kills=(), view=VIEW, plan=WELL):
    return judge(calls, kills, {"r": plan}, {"r": view} if view else {}).problems


def test_a_run_without_trouble_is_no_problem():
    assert _found(_ledger()) == []


def test_a_lost_run_a_failed_one_and_a_wrong_answer_are_found():
    assert _found(_ledger(), view=None) == ["r was lost"]
    assert _found(_ledger(), view={"status": "FAILED", "error": "x"}) == ["r was to end with answer and ended as FAILED: x"]
    assert _found(_ledger(), view={"status": "COMPLETED", "result": "y"}) == ["r was to end with answer and ended as COMPLETED: y"]


def test_an_effect_that_is_missing_doubled_or_under_another_key_is_found():
    assert "never happened" in _found(_ledger(pay=None))[0]
    twice = _again("tool", "pay", "r/1/0", 1, at=2.6, effect=True)
    assert any("2 times" in problem for problem in _found(_ledger(twice=twice), [Kill("agent", 2.4, 2.5)]))
    other = _again("tool", "pay", "r/1/7", 1, at=2.6, effect=True)
    assert any("nobody asked for" in problem for problem in _found(_ledger(other=other)))


def test_a_repeat_needs_a_kill_that_explains_it():
    again = _again("tool", "mail", "r/1/1", 1, at=2.7, effect=True)
    assert any("no kill explains it" in problem for problem in _found(_ledger(again=again)))
    assert _found(_ledger(again=again), [Kill("agent", 2.2, 2.4)]) == []
    late = _again("tool", "mail", "r/1/1", 1, at=40.0, effect=True)
    assert any("no kill explains it" in problem for problem in _found(_ledger(late=late), [Kill("agent", 20.0, 21.0)]))


def test_two_repeated_model_calls_for_one_kill_are_found():
    again = {name: _again("model", "model", key, turn, at=5.0, effect=True) for name, key, turn in (("x", "a", 1), ("y", "b", 2))}
    calls = _ledger(**again)
    assert any("2 model calls repeated" in problem for problem in _found(calls, [Kill("agent", 1.2, 1.3), Kill("agent", 3.2, 3.3)]))
    assert _found(_ledger(x=again["x"]), [Kill("agent", 1.2, 1.3)]) == []


def test_a_run_that_stands_still_for_more_than_a_minute_after_the_part_is_back_is_found():
    last = Call("model", "model", "b", "r", 2, 80.0, 80.5, effect=True)
    assert any("stood still for 78 s" in problem for problem in _found(_ledger(last=last)))
    assert _found(_ledger(last=last), [Kill("scheduler", 2.6, 25.0)]) == []


def test_kills_that_go_on_excuse_their_recovery_and_no_standing_still():
    kills = [Kill("agent", at, at + 1.0) for at in range(10, 200, 20)]
    stuck = Call("model", "model", "b", "r", 2, 200.0, 200.5, effect=True)
    assert any("stood still for 138 s" in problem for problem in _found(_ledger(last=stuck), kills))
    slow = Call("model", "model", "b", "r", 2, 80.0, 80.5, effect=True)
    assert _found(_ledger(last=slow), kills) == []
    beside = [Kill("daprd", 10.0, 12.0), Kill("agent", 11.0, 20.0), Kill("scheduler", 900.0, 901.0)]
    assert any("stood still for 180 s" in problem for problem in _found(_ledger(last=stuck), beside))


def test_what_a_failed_run_did_must_be_undone_once_and_what_a_good_one_did_not_at_all():
    failed = {"status": "FAILED", "error": "x"}
    undo = Call("undo", "refund", "r/1/0/undo", "r", 1, 4.0, 4.5, effect=True)
    assert _found(_ledger(undo=undo), view=failed, plan=BADLY) == []
    assert any("was to undo" in problem for problem in _found(_ledger(), view=failed, plan=BADLY))
    assert any("was to undo []" in problem for problem in _found(_ledger(undo=undo)))


def test_undoing_in_the_order_of_doing_is_found():
    plan = Plan((("pay", "pay"),), ends="failure")
    calls = [Call("tool", "pay", f"r/1/{number}", "r", 1, 1.0, 1.5, effect=True) for number in (0, 1)]
    undos = [Call("undo", "refund", f"r/1/{number}/undo", "r", 1, 2.0 + number, 2.5 + number, effect=True) for number in (1, 0)]
    view = {"status": "FAILED"}
    assert _found(calls + undos, view=view, plan=plan) == []
    assert any("was to undo" in problem for problem in _found(calls + undos[::-1], view=view, plan=plan))
