"""Cancel, suspend and resume on a real Dapr: at every place where a run can be, and whatever dies right after the answer."""

import asyncio
import json

import pytest

from holdfast_api.config import RetriesConfig
from tests.agent.agents import second_replica

pytestmark = pytest.mark.dapr

BOOK = {"name": "book", "arguments": {"city": "Paris"}}
SLOW = RetriesConfig(initial_seconds=120, max_seconds=600)


def _script(*, tool="1ms", model="1ms", faults=()):
    return {
        "rules": [{"turns": [{"toolCalls": [BOOK]}, {"answer": "done", "latency": model}]}],
        "tools": {"book": {"latency": tool, "faults": list(faults), "result": {"booking": "B1"}}, "release": {}},
    }


async def _stage(stage, script, *, retries=None, **more):
    """An agent that can book, and undo that."""
    # A call that another process began is waited for, as long as it can take and ten seconds more, before it is undone.
    book = {"compensate": "release", "timeout_seconds": 3.0} | ({"retries": retries} if retries else {})
    return await stage(script, "book", "release", changed={"book": book}, **more)


async def _began(here, kind, *, count=1):
    await here.agent.until(lambda: here.underway(kind, count))


async def _stands_still(here, run):
    async def seen():
        view = await here.agent.run(run)
        return view["status"] == "SUSPENDED" and [step["kind"] for step in view.get("pending", ())] == ["model"]

    await here.agent.until(seen)


async def _retries(here, run):
    async def seen():
        return "retrying" in await here.agent.run(run)

    await here.agent.until(seen)


async def _control(agent, run, verb, **body):
    return await agent.call("POST", f"/runs/{run}/{verb}", json=body)


async def _keys(here, path):
    return [call["key"] for call in (await here.ledger("tool"))["calls"] if call["name"] == path]


async def test_a_run_canceled_in_a_tool_call_lets_it_settle_and_undoes_it(stage):
    here = await _stage(stage, _script(tool="1s"))
    run = await here.agent.begin("go", id="trip")
    await _began(here, "tool")
    status, view = await _control(here.agent, run, "cancel", reason="not needed")
    assert (status, view["status"]) == (200, "RUNNING")
    view = await here.agent.ended(run)
    assert (view["status"], view["error"]["type"]) == ("CANCELED", "Canceled")
    assert await _keys(here, "book") == ["trip/1/0"]
    assert await _keys(here, "release") == ["trip/1/0/undo"]
    assert (await here.ledger())["summary"]["model"]["requests"] == 1
    log = [json.loads(line) for line in here.agent.log.read_text().splitlines()]
    [ended] = [line for line in log if line["message"] == "run ended"]
    assert (ended["status"], ended["error"]) == ("CANCELED", "Canceled")
    assert not any(line["message"].startswith("run failed") for line in log)


async def test_a_cancel_is_answered_alike_twice_and_with_a_409_after_another_end(stage):
    here = await _stage(stage, _script(tool="1s"))
    run = await here.agent.begin("go")
    await _began(here, "tool")
    answers = [await _control(here.agent, run, "cancel") for _ in range(2)]
    assert [status for status, _ in answers] == [200, 200]
    assert (await here.agent.ended(run))["status"] == "CANCELED"
    for verb in ("suspend", "resume"):
        assert (await _control(here.agent, run, verb))[0] == 409
    done = await here.agent.ask("something else", id="done", wait="30s")
    assert done["status"] == "COMPLETED"
    status, problem = await _control(here.agent, "done", "cancel")
    assert (status, "COMPLETED" in problem["title"] + problem["detail"]) == (409, True)
    assert (await _control(here.agent, "nobody", "cancel"))[0] == 404


async def test_a_cancel_ends_the_wait_for_a_retry_at_once(stage):
    here = await _stage(stage, _script(faults=[{"status": 503, "times": 9}]), retries=SLOW)
    run = await here.agent.begin("go")
    await _retries(here, run)
    await _control(here.agent, run, "cancel")
    assert (await here.agent.ended(run, within=15))["status"] == "CANCELED"
    # The service said that it was not there, but nobody knows whether it had done its work.
    assert await _keys(here, "release") == [f"{run}/1/0/undo"]


async def test_a_cancel_holds_when_the_process_dies_right_after_the_answer(stage):
    here = await _stage(stage, _script(faults=[{"status": 503, "times": 9}]), retries=SLOW)
    run = await here.agent.begin("go")
    await _retries(here, run)
    assert (await _control(here.agent, run, "cancel"))[0] == 200
    await here.agent.kill()
    await here.agent.start()
    assert (await here.agent.ended(run, within=30))["status"] == "CANCELED"


async def test_a_run_whose_cancel_was_acknowledged_does_not_complete_even_if_the_answer_is_there(stage):
    here = await _stage(stage, _script(model="1s"))
    run = await here.agent.begin("go", id="trip")

    async def second_turn():
        return len((await here.ledger("model"))["calls"]) == 2

    await here.agent.until(second_turn)
    assert (await _control(here.agent, run, "cancel"))[0] == 200
    assert (await here.agent.ended(run))["status"] == "CANCELED"
    assert await _keys(here, "release") == ["trip/1/0/undo"]


async def test_a_suspended_run_begins_no_turn_until_it_is_resumed(stage):
    here = await _stage(stage, _script(tool="500ms"))
    run = await here.agent.begin("go")
    await _began(here, "tool")
    assert (await _control(here.agent, run, "suspend"))[0] == 200
    await _stands_still(here, run)
    await here.agent.kill()
    await here.agent.start()
    await asyncio.sleep(1)
    assert (await here.ledger())["summary"]["model"]["requests"] == 1
    assert (await _control(here.agent, run, "suspend"))[0] == 200
    assert (await _control(here.agent, run, "resume"))[0] == 200
    await here.agent.kill()
    await here.agent.start()
    view = await _end(here.agent, run)
    assert (view["status"], view["result"]) == ("COMPLETED", "done")
    assert (await here.ledger())["summary"]["tool"]["requests"] == 1


async def test_a_suspended_run_can_be_canceled(stage):
    here = await _stage(stage, _script(tool="500ms"))
    run = await here.agent.begin("go", id="trip")
    await _began(here, "tool")
    await _control(here.agent, run, "suspend")
    await _stands_still(here, run)
    await _control(here.agent, run, "cancel")
    assert (await _end(here.agent, run))["status"] == "CANCELED"
    assert await _keys(here, "release") == ["trip/1/0/undo"]


async def test_suspended_and_resumed_again_and_again_a_run_goes_on_in_the_end(stage):
    here = await _stage(stage, _script(tool="300ms"))
    run = await here.agent.begin("go")
    await _began(here, "tool")
    for _ in range(5):
        await _control(here.agent, run, "suspend")
        await asyncio.sleep(0.15)
        await _control(here.agent, run, "resume")
    assert (await _end(here.agent, run))["status"] == "COMPLETED"
    assert (await here.ledger())["summary"]["model"]["requests"] == 2


async def test_a_forced_end_undoes_nothing_and_is_an_end(stage):
    here = await _stage(stage, _script(faults=[{"status": 503, "times": 9}]), retries=SLOW)
    run = await here.agent.begin("go")
    await _retries(here, run)
    status, view = await here.agent.call("POST", f"/runs/{run}/cancel?force=true", json={"reason": "stuck"})
    assert (status, view["status"]) == (200, "CANCELED")
    assert "by force" in view["error"]["message"]


async def test_a_rerun_is_another_run_of_the_same_task(stage):
    here = await _stage(stage, _script())
    await here.agent.ask("go", id="first")
    for _ in range(2):
        status, answer = await _control(here.agent, "first", "rerun", id="second")
        assert (status, answer["instance_id"]) == (202, "second")
    view = await here.agent.ended("second")
    assert (view["result"], view["rerun_of"]) == ("done", "first")
    assert sorted(await _keys(here, "book")) == ["first/1/0", "second/1/0"]


async def _end(agent, run, within=30.0):
    async def ended():
        view = await agent.run(run)
        return view if view["status"] in ("COMPLETED", "FAILED", "CANCELED") else None

    return await agent.until(ended, within=within)


async def test_a_control_reaches_a_run_through_whichever_replica_it_is_sent_to(stage, redis_server, tmp_path):
    here = await _stage(stage, _script(faults=[{"status": 503, "times": 99}]), retries=SLOW, store=redis_server.component)
    async with second_replica(here, tmp_path) as (other, _):
        runs = [await here.agent.begin(f"task {number}") for number in range(4)]
        for run in runs:
            await _retries(here, run)
        for run, agent in zip(runs, (here.agent, other) * 2, strict=True):
            assert (await _control(agent, run, "cancel"))[0] == 200
        for run in runs:
            assert (await _end(other, run, within=30))["status"] == "CANCELED"
