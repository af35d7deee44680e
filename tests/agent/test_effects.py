"""Calls that must not be made twice: who may make them, and what is said of one whose maker was lost."""

import asyncio
import time

import pytest
from aiohttp import web

from holdfast_agent.activities import delivery
from holdfast_agent.attempts import Pursuit
from holdfast_agent.loop import Step
from holdfast_agent.store import StoreError
from tests.agent.desks import TOOL
from tests.agent.driving import error

ONCE = {"pay": {"delivery": "atMostOnce", "timeoutSeconds": 0.2}}
PAY = ("pay", {"city": "Rome"})


@pytest.fixture
def till():
    """A tool's server: it remembers what it was asked, waits until it is let go, and answers as it is told."""
    asked, arrived, go = [], asyncio.Event(), asyncio.Event()

    async def handler(request):
        asked.append(request.headers["Idempotency-Key"])
        arrived.set()
        await go.wait()
        return web.Response(status=handler.status, text='"paid"')

    handler.asked, handler.arrived, handler.go, handler.status = asked, arrived, go, 200
    go.set()
    return handler


def _intent(here):
    return here.store.documents.get("run/r/1/0/intent")


async def test_the_intent_is_stored_before_the_call_leaves(desk):
    async def handler(_):
        intents.append(_intent(here))
        return web.Response(text="paid")

    intents = []
    here = await desk(handler, PAY, tools=ONCE)
    assert not (await here.tool())["isError"]
    [intent] = intents
    assert intent["process"]
    assert intent["deadline"] - intent["started"] == pytest.approx(0.2)


async def test_a_tool_that_promises_nothing_of_the_kind_writes_no_intent(desk, till):
    here = await desk(till, ("search", {}), tools={"search": {}})
    before = here.store.writes
    await here.tool()
    assert here.store.writes - before == 1


async def test_the_same_process_joins_its_own_call(desk, till):
    till.go.clear()
    here = await desk(till, PAY, tools={"pay": {"delivery": "atMostOnce"}})
    calls = [asyncio.create_task(here.tool()) for _ in range(3)]
    await asyncio.sleep(0.05)
    till.go.set()
    first, second, third = await asyncio.gather(*calls)
    assert first == second == third
    assert till.asked == ["r/1/0"]


async def test_another_process_waits_until_the_call_must_be_over_and_then_says_that_nobody_knows(desk, till):
    here = await desk(till, PAY, tools=ONCE)
    there = here.another()
    await there.steps.intents.claim("r/1/0", 0.2)
    answer = await here.tool()
    intent = _intent(here)
    assert answer["waiting"] == {"until": intent["deadline"] + 10, "kind": "unknown"}
    assert here.head.trouble.kind == "unknown"
    here.store.documents["run/r/1/0/intent"] |= {"started": time.time() - 60, "deadline": time.time() - 11}
    assert (await here.tool(attempt=2))["isError"]
    assert here.outcome().outcome == "unknown"
    assert "may or may not have taken effect" in here.outcome().content
    assert till.asked == []


async def test_the_process_that_began_it_and_never_heard_knows_at_once(desk, till):
    here = await desk(till, PAY, tools=ONCE)
    await here.steps.intents.claim("r/1/0", 600)
    await here.tool()
    assert here.outcome().outcome == "unknown"
    assert till.asked == []


async def test_an_answer_that_comes_after_the_call_was_given_up_is_kept_beside_the_outcome(desk, till):
    till.go.clear()
    here = await desk(till, PAY, tools={"pay": {"delivery": "atMostOnce", "timeoutSeconds": 5}})
    slow = asyncio.create_task(here.tool())
    await till.arrived.wait()
    here.store.documents["run/r/1/0/intent"]["deadline"] = time.time() - 60
    gave_up = await here.another().tool()
    till.go.set()
    assert await slow == gave_up
    assert here.outcome().outcome == "unknown"
    late = here.store.documents["run/r/1/0/late"]
    assert (late["outcome"], late["content"]) == ("completed", '"paid"')
    assert till.asked == ["r/1/0"]


@pytest.mark.parametrize(("status", "outcome"), [(503, "failed"), (429, "failed"), (400, "failed")])
async def test_a_call_that_left_is_not_made_again_whatever_came_back(desk, till, status, outcome):
    till.status = status
    here = await desk(till, PAY, tools=ONCE)
    assert (await here.tool())["isError"]
    assert here.outcome().outcome == outcome
    assert ("delivery is atMostOnce" in here.outcome().content) == (status != 400)
    await here.tool(attempt=2)
    assert till.asked == ["r/1/0"]


async def test_a_call_that_left_and_was_never_answered_has_an_unknown_outcome(desk, till):
    till.go.clear()
    here = await desk(till, PAY, tools=ONCE)
    assert (await here.tool())["isError"]
    assert here.outcome().outcome == "unknown"
    assert "no complete answer within 0.2 s. It was not made again" in here.outcome().content
    till.go.set()


async def test_a_call_that_surely_never_left_is_made_again_by_whichever_process(desk, till, serve):
    here = await desk("http://127.0.0.1:9", PAY, tools=ONCE)
    assert (await here.tool())["error"]["class"] == "transient"
    assert _intent(here)["unsent"]
    there = here.another()
    tool = next(iter(there.steps.revisions.current.toolbox._tools.values()))
    url = await serve(till)
    tool._template = type(tool._template).parse(f"{url}/pay", set())
    assert not (await there.tool(attempt=2, failed=1))["isError"]
    assert "unsent" not in _intent(here)
    assert till.asked == ["r/1/0"]


async def test_an_intent_whose_writing_was_never_confirmed_is_taken_up_by_the_process_that_wrote_it(desk, till):
    here = await desk(till, PAY, tools=ONCE)
    changed = here.store.update

    async def reply_lost(key, change, *, known=None):
        here.store.update = changed
        await changed(key, change, known=known)
        here.store.away = True
        return await changed(key, change, known=known)

    here.store.update = reply_lost
    assert (await here.tool())["error"]["cause"] == "store"
    here.store.away = False
    assert not (await here.tool(attempt=2))["isError"]
    assert till.asked == ["r/1/0"]


@pytest.mark.parametrize("left", [600.0, -1.0])
async def test_the_end_of_a_run_waits_for_a_call_that_another_process_may_be_at_and_then_tells_of_it(desk, till, left):
    here = await desk(till, PAY, tools={"pay": {"compensate": "refund"}, "refund": {}})
    await here.another().steps.intents.claim("r/1/0", 600)
    if left > 0:
        await here.change(lambda head: head.canceled(1.0, ""))
    assert (await here.tool(left=left))["waiting"] == {"until": _intent(here)["deadline"] + 10, "kind": "unknown"}
    assert (here.outcome(), here.head.trouble.kind) == (None, "unknown")
    here.store.documents["run/r/1/0/intent"] |= {"deadline": time.time() - 11}
    answer = await here.tool(attempt=2, left=left)
    assert (answer["undo"], here.outcome().outcome) == (True, "unknown")
    assert till.asked == []


async def test_a_cancel_that_lands_while_a_call_turns_out_to_be_another_process_s_loses_nothing(desk, till, monkeypatch):
    tools = {"pay": {"delivery": "atMostOnce", "compensate": "refund"}, "refund": {}}
    here = await desk(till, PAY, tools=tools)
    await here.another().steps.intents.claim("r/1/0", 600)
    claim = here.steps.intents.claim

    async def canceled(key, longest, **more):
        await here.change(lambda head: head.canceled(1.0, ""))
        return await claim(key, longest, **more)

    monkeypatch.setattr(here.steps.intents, "claim", canceled)
    assert (await here.tool())["waiting"]["kind"] == "unknown"


async def test_a_cancel_that_lands_while_a_call_fails_undoes_it(desk, till):
    here = await desk(till, PAY, tools={"pay": {"compensate": "refund", "timeoutSeconds": 0.2}, "refund": {}})
    till.go.clear()
    calling = asyncio.create_task(here.tool())
    await till.arrived.wait()
    await here.change(lambda head: head.canceled(1.0, ""))
    answer = await calling
    assert (answer["undo"], here.outcome().outcome) == (True, "unknown")
    till.go.set()


async def test_a_call_of_a_run_that_ends_by_another_step_is_not_begun(desk, till):
    here = await desk(till, PAY, tools={"pay": {"compensate": "refund"}, "refund": {}})
    call = {"run": "r", "turn": 1, "revision": here.steps.revisions.current.name, "deadline": time.time() + 600, "call": 0}
    answer = await here.steps.once(TOOL, call | {"attempt": 2, "failed": 0, "ends": True})
    assert answer == {"key": "r/1/0", "dropped": True}
    assert till.asked == []


@pytest.mark.parametrize("lost", ["answer", "process"])
@pytest.mark.parametrize("status", [409, 503])
async def test_a_refusal_does_not_tell_what_an_attempt_before_it_did(desk, till, lost, status):
    tools = {"pay": {"compensate": "refund", "timeoutSeconds": 0.2, "retries": {"maxAttempts": 2}}, "refund": {}}
    here = await desk(till, PAY, tools=tools)
    till.status = status
    if lost == "answer":
        till.go.clear()
        assert (await here.tool())["undo"]
        till.go.set()
    else:
        await here.another().steps.intents.claim("r/1/0", 0.2)
    answer = await here.tool(attempt=2, failed=1)
    assert (answer["undo"], here.outcome().outcome) == (True, "unknown")
    assert "An attempt before may have taken effect" in here.outcome().content
    assert await here.another().tool(attempt=3, failed=1) == answer


async def test_the_intent_of_a_call_that_is_made_again_tells_until_when_that_lasts(desk, till):
    here = await desk(till, PAY, tools={"pay": {"compensate": "refund", "timeoutSeconds": 5}, "refund": {}})
    await here.another().steps.intents.claim("r/1/0", 0.0)
    here.store.documents["run/r/1/0/intent"] |= {"started": time.time() - 60, "deadline": time.time() - 59}
    till.go.clear()
    again = asyncio.create_task(here.tool())
    await till.arrived.wait()
    await here.change(lambda head: head.canceled(1.0, ""))
    assert (await here.another().tool())["waiting"]["kind"] == "unknown"
    till.go.set()
    assert (await again)["undo"]


async def test_a_defect_of_ours_is_told_apart_from_the_failures_of_a_tool(desk, till, monkeypatch):
    here = await desk(till, PAY, tools={"pay": {}})

    async def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(here.steps, "persist", broken)
    assert (await here.tool())["error"]["cause"] == "defect"
    call = {"run": "r", "turn": 1, "revision": "gone", "deadline": time.time() + 600, "call": 0, "attempt": 1, "failed": 0}
    assert (await here.steps.once(TOOL, call))["error"]["cause"] == "revision"
    await here.change(lambda head: head.canceled(1.0, ""))
    assert (await here.steps.once(TOOL, call))["error"]["cause"] == "revision"


async def test_a_call_that_may_have_had_its_effect_before_its_run_was_canceled_is_undone(desk, till):
    till.go.clear()
    here = await desk(till, PAY, tools={"pay": {"compensate": "refund", "timeoutSeconds": 0.1}, "refund": {}})
    answer = await here.tool()
    assert (answer["error"]["class"], answer["undo"]) == ("transient", True)
    await here.change(lambda head: head.canceled(1.0, ""))
    assert (await here.tool(attempt=2, failed=1))["undo"]
    till.go.set()


@pytest.mark.parametrize("end", ["drop", "expire"])
def test_a_call_that_waits_for_its_next_attempt_when_the_run_ends_is_undone_if_it_may_have_happened(end):
    for undo in (True, False):
        pursuit = Pursuit(Step("tool", "r/1/0", 5, {}))
        pursuit.take(error("r/1/0") | ({"undo": True} if undo else {}), 100.0)
        pursuit.take(error("r/1/0"), 101.0)
        pursuit.drop() if end == "drop" else pursuit.expire(200.0, 200.0)
        assert pursuit.result.get("undo", False) == undo


async def test_a_call_whose_outcome_cannot_be_stored_is_undone_all_the_same(desk, till, monkeypatch):
    here = await desk(till, PAY, tools={"pay": {"compensate": "refund"}, "refund": {}})

    async def refused(key, value):
        raise StoreError("too large", hopeless=True)

    monkeypatch.setattr(here.store, "create", refused)
    answer = await here.tool()
    assert (answer["error"]["class"], answer["error"]["cause"], answer["undo"]) == ("fatal", "unstored", True)


@pytest.mark.parametrize(("status", "undo"), [(200, True), (400, False)])
async def test_only_what_happened_has_to_be_undone(desk, till, status, undo):
    till.status = status
    here = await desk(till, PAY, tools={"pay": {"compensate": "refund"}, "refund": {}})
    assert (await here.tool()).get("undo", False) == undo


async def test_a_call_is_over_when_its_intent_says_so_whatever_it_waits_for(desk, till, monkeypatch):
    here = await desk(till, PAY, tools={"pay": {"delivery": "atMostOnce", "timeoutSeconds": 0.1}})

    async def stuck(name, arguments, *, key):
        await asyncio.sleep(60)

    monkeypatch.setattr(delivery, "_SLACK", 0.1)
    monkeypatch.setattr(here.steps.revisions.current.toolbox, "call", stuck)
    assert (await here.tool())["isError"]
    assert (here.outcome().outcome, "no result within 0.1 s" in here.outcome().content) == ("unknown", True)


async def test_a_call_begun_before_its_run_was_suspended_comes_to_its_outcome(desk, till):
    here = await desk(till, PAY, tools=ONCE)
    await here.steps.intents.claim("r/1/0", 600)
    await here.change(lambda head: head.suspend(1.0))
    await here.tool()
    assert here.outcome().outcome == "unknown"
    assert till.asked == []


async def test_in_a_suspended_run_an_intent_that_was_never_acted_on_begins_nothing(desk, till):
    here = await desk(till, PAY, tools=ONCE)
    changed = here.store.update

    async def reply_lost(key, change, *, known=None):
        here.store.update = changed
        await changed(key, change, known=known)
        here.store.away = True
        return await changed(key, change, known=known)

    here.store.update = reply_lost
    assert (await here.tool())["error"]["cause"] == "store"
    here.store.away = False
    await here.change(lambda head: head.suspend(1.0))
    assert (await here.tool(attempt=2))["control"] == "suspend"
    assert till.asked == []


async def test_a_call_that_may_be_made_again_is_not_in_a_suspended_run(desk, till):
    here = await desk(till, PAY, tools={"pay": {"compensate": "refund"}, "refund": {}})
    await here.another().steps.intents.claim("r/1/0", -60)
    await here.change(lambda head: head.suspend(1.0))
    assert await here.tool(attempt=2) == {"key": "r/1/0", "control": "suspend", "undo": True}
    assert here.head.trouble.kind == "suspend"
    assert till.asked == []
