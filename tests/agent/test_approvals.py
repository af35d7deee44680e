"""A call that a person decides about: what is asked, what follows, and what no decision can make happen."""

import asyncio
import time

import pytest
from aiohttp import web

from holdfast_agent.documents import model_key
from holdfast_agent.outcome import Failure

ROME = ("book", {"city": "Rome"})


@pytest.fixture
def booking():
    """A tool's server that remembers what it was asked."""
    asked = []

    async def handler(request):
        asked.append(await request.json())
        return web.json_response({"booking": "b1"})

    handler.asked = asked
    return handler


def _approving(**more):
    return {"book": {"approval": {"timeoutSeconds": 600, **more}}}


async def _decide(here, decision, reason="", call="1/0"):
    await here.change(lambda head: head.decides(call, decision, reason, time.time()))


async def test_the_question_is_in_the_head_before_the_call_waits_and_nothing_is_called(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    answer = await here.tool()
    asked = here.head.approvals["1/0"]
    assert (asked.tool, asked.decision, len(asked.digest)) == ("book", None, 64)
    assert answer == {"key": "r/1/0", "waiting": {"until": asked.until, "kind": "approval"}}
    assert (here.head.trouble.key, here.head.trouble.kind, here.head.trouble.until) == ("r/1/0", "approval", asked.until)
    assert 595 < asked.until - time.time() <= 600
    assert booking.asked == []


async def test_asking_again_keeps_the_first_question_and_its_time(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.tool()
    first = here.head.approvals["1/0"]
    answer = await here.another().tool(attempt=2)
    assert here.head.approvals["1/0"] == first
    assert answer["waiting"]["until"] == first.until
    assert here.head.trouble.attempt == 2


async def test_an_approved_call_is_made_and_the_decision_moves_to_its_outcome(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.tool()
    await _decide(here, "approved", "go ahead")
    assert not (await here.another().tool(attempt=2))["isError"]
    assert booking.asked == [{"city": "Rome"}]
    kept = here.outcome().approval
    assert (kept.decision, kept.reason, kept.tool) == ("approved", "go ahead", "book")
    assert here.head.approvals == {}


async def test_a_rejected_call_is_not_made_and_the_model_reads_why(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.tool()
    await _decide(here, "rejected", "too expensive")
    assert (await here.tool(attempt=2))["isError"]
    assert (here.outcome().outcome, here.outcome().content) == ("rejected", "Error: a person rejected this call: too expensive")
    assert here.outcome().approval.decision == "rejected"
    assert booking.asked == []


async def test_a_decision_that_was_stored_is_the_only_one(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.tool()
    await _decide(here, "rejected", "no")
    await _decide(here, "approved", "yes")
    await here.tool(attempt=2)
    assert here.outcome().outcome == "rejected"
    assert booking.asked == []


@pytest.mark.parametrize(
    ("on_timeout", "outcome", "calls"), [("reject", "rejected", 0), ("approve", "completed", 1), ("fail", None, 0)], ids=str
)
async def test_what_follows_when_nobody_decides(desk, booking, on_timeout, outcome, calls):
    here = await desk(booking, ROME, tools=_approving(timeoutSeconds=0.05, onTimeout=on_timeout))
    assert "waiting" in await here.tool()
    await asyncio.sleep(0.06)
    answer = await here.tool(attempt=2)
    assert len(booking.asked) == calls
    if outcome:
        assert here.outcome().outcome == outcome
        assert here.outcome().approval.decision == "timedOut"
    else:
        assert answer["error"]["class"] == "fatal"
        assert "nobody decided about this call of 'book' within 0.05 s, and approval.onTimeout is fail" in answer["error"]["message"]
        assert here.head.approvals["1/0"].decision == "timedOut"


async def test_a_decision_after_the_time_changes_nothing_any_more(desk, booking):
    here = await desk(booking, ROME, tools=_approving(timeoutSeconds=0.01))
    await here.tool()
    await asyncio.sleep(0.02)
    await here.tool(attempt=2)
    await _decide(here, "approved")
    await here.tool(attempt=3)
    assert here.outcome().outcome == "rejected"
    assert booking.asked == []


async def test_a_decision_that_comes_after_the_time_and_before_the_timer_counts_as_none(desk, booking):
    here = await desk(booking, ROME, tools=_approving(timeoutSeconds=0.01))
    await here.tool()
    await asyncio.sleep(0.02)
    await _decide(here, "approved", "sorry, I was away")
    assert (here.head.approvals["1/0"].decision, here.head.approvals["1/0"].reason) == ("timedOut", "")
    await here.tool(attempt=2)
    assert here.outcome().outcome == "rejected"
    assert booking.asked == []


async def test_arguments_that_are_not_those_that_were_approved_are_refused(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.tool()
    await _decide(here, "approved")
    said = here.store.documents[f"run/{model_key('r', 1)}"]
    said["calls"][0]["arguments"] = '{"city": "Monaco"}'
    assert (await here.another().tool(attempt=2))["isError"]
    assert here.outcome().outcome == "rejected"
    assert "the approval was for other arguments" in here.outcome().content
    assert booking.asked == []


async def test_the_same_arguments_in_another_order_are_the_same(desk, booking):
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "nights": {"type": "integer"}}}
    here = await desk(booking, ("book", '{"city": "Rome", "nights": 2}'), tools=_approving(), schema=schema)
    await here.tool()
    await _decide(here, "approved")
    here.store.documents[f"run/{model_key('r', 1)}"]["calls"][0]["arguments"] = '{ "nights":2,"city":"Rome"}'
    assert not (await here.another().tool(attempt=2))["isError"]


async def test_while_it_cannot_be_checked_nobody_is_asked_and_nothing_is_called(desk, booking, monkeypatch):
    here = await desk(booking, ROME, tools=_approving())

    async def busy(name, arguments):
        return Failure("transient", "all processes are busy", reach="unsent")

    with monkeypatch.context() as patch:
        patch.setattr(here.steps.revisions.current.toolbox, "check", busy)
        assert (await here.tool())["error"]["class"] == "transient"
    assert here.head.approvals == {}
    assert "waiting" in await here.tool(attempt=2, failed=1)
    assert booking.asked == []


async def test_a_call_beside_it_is_not_held_up(desk, booking):
    here = await desk(booking, ROME, ("search", {"city": "Oslo"}), tools=_approving() | {"search": {}})
    waiting, done = await asyncio.gather(here.tool(0), here.tool(1))
    assert waiting["waiting"]["kind"] == "approval"
    assert not done["isError"]
    assert booking.asked == [{"city": "Oslo"}]


async def test_a_decision_that_came_before_the_head_says_that_it_is_waited_for_is_seen(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.tool()
    changed = here.store.update

    async def decided_in_between(key, change, *, known=None):
        here.store.update = changed
        await _decide(here, "approved")
        return await changed(key, change, known=known)

    here.store.update = decided_in_between
    assert not (await here.tool())["isError"]


async def test_a_canceled_run_asks_nobody(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.change(lambda head: head.canceled(1.0, ""))
    assert await here.tool() == {"key": "r/1/0", "control": "cancel"}
    assert here.head.approvals == {}


async def test_a_cancel_while_it_waits_ends_the_wait_and_a_decision_makes_no_call(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.tool()
    await _decide(here, "approved")
    await here.change(lambda head: head.canceled(1.0, ""))
    assert await here.tool(attempt=2) == {"key": "r/1/0", "control": "cancel"}
    assert booking.asked == []


async def test_an_approved_call_that_fails_for_now_is_tried_again_without_a_further_question(desk):
    asked = []

    async def handler(_):
        asked.append(1)
        return web.Response(status=503) if len(asked) == 1 else web.json_response({"ok": True})

    here = await desk(handler, ROME, tools=_approving())
    await here.tool()
    await _decide(here, "approved")
    assert (await here.tool(attempt=2))["error"]["class"] == "transient"
    assert not (await here.tool(attempt=3, failed=1))["isError"]
    assert here.outcome().approval.decision == "approved"


async def test_a_crash_between_the_outcome_and_the_head_leaves_no_question_behind(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.tool()
    await _decide(here, "approved")
    question = here.head.approvals
    await here.tool(attempt=2)
    here.store.documents["run/r"]["approvals"] = {name: vars(asked) for name, asked in question.items()}
    assert not (await here.another().tool(attempt=2))["isError"]
    assert here.head.approvals == {}
    assert len(booking.asked) == 1


async def test_a_decision_and_a_suspend_that_come_while_the_call_is_about_to_wait_are_both_seen(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    await here.tool()
    changed = here.store.update

    async def in_between(key, change, *, known=None):
        here.store.update = changed
        await here.change(lambda head: head.suspend(1.0))
        await _decide(here, "approved")
        return await changed(key, change, known=known)

    here.store.update = in_between
    assert await here.tool() == {"key": "r/1/0", "control": "suspend"}
    assert booking.asked == []
    await here.change(lambda head: head.resume())
    assert not (await here.tool(attempt=2))["isError"]


async def test_nobody_is_asked_for_longer_than_the_run_can_last(desk, booking):
    here = await desk(booking, ROME, tools=_approving())
    answer = await here.tool(left=60.0)
    asked = here.head.approvals["1/0"]
    assert 55 < asked.until - time.time() <= 60
    assert answer["waiting"]["until"] == asked.until


async def test_the_log_knows_a_question_and_its_end_once_each_and_no_arguments(desk, booking, caplog):
    caplog.set_level("INFO")
    here = await desk(booking, ROME, tools=_approving(timeoutSeconds=0.05))
    await here.tool()
    await here.tool(attempt=2)
    await asyncio.sleep(0.06)
    await here.tool(attempt=3)
    lines = [(line.message, line.step, line.tool) for line in caplog.records if line.levelname == "INFO"]
    told = ("waits for a person", "decided", "not called")
    assert lines == [(message, "r/1/0", "book") for message in told]
    [asked] = [line for line in caplog.records if line.message == "waits for a person"]
    assert (asked.run, asked.on_timeout, asked.until[-1]) == ("r", "reject", "Z")
    assert "Rome" not in caplog.text + str([vars(line) for line in caplog.records])
