"""Which waits of a run nobody has to wake it from, however long they last."""

import pytest

from holdfast_agent.documents import Approval, Head, Trouble

HEAD = Head(id="r", task="go", digest="d", revision="abc", created=0.0, deadline=60.0, max_iterations=50, longest_call=60.0)
DECIDED = HEAD.asks("1/0", Approval("pay", "abc", 1.0, 50.0)).decides("1/0", "approved", "", 2.0)


def _waiting(head, kind):
    return head.troubled(Trouble("r/1/0", 3, "it waits", 50.0, kind))


def test_a_decision_that_a_suspended_run_has_seen_and_keeps_wakes_it_no_more_until_it_is_resumed():
    held = _waiting(DECIDED.suspend(3.0), "suspend")
    assert not held.unheeded
    assert held.resume().unheeded


@pytest.mark.parametrize("kind", ["retry", "unknown"])
def test_an_approved_call_that_waits_for_something_else_by_now_is_left_to_it(kind):
    assert not _waiting(DECIDED, kind).unheeded
    assert _waiting(DECIDED, "approval").unheeded
