"""A suspended run makes no tool calls on a real Dapr, whatever it waited for when it was suspended. The tools' own ledger counts."""

import json

import pytest

from holdfast_api.config import ApprovalConfig, RetriesConfig

pytestmark = pytest.mark.dapr

BOOK = {"name": "book", "arguments": {"city": "Paris"}}


def _script(*faults):
    return {"rules": [{"turns": [{"toolCalls": [BOOK]}, {"answer": "done"}]}], "tools": {"book": {"faults": list(faults)}}}


async def _control(agent, run, verb, **body):
    status, view = await agent.call("POST", f"/runs/{run}/{verb}", json=body)
    assert status == 200, view
    return view


async def _waits(here, run, how):
    """Until the call waits in that way."""

    async def seen():
        pending = (await here.agent.run(run)).get("pending", ())
        return [(step["kind"], step["status"]) for step in pending] == [("tool", how)]

    await here.agent.until(seen, within=30)


async def _booked(here):
    return len((await here.ledger("tool"))["calls"])


async def test_an_approval_of_a_suspended_run_is_kept_and_its_call_made_once_it_is_resumed(stage):
    here = await stage(_script(), "book", changed={"book": {"approval": ApprovalConfig()}})
    run = await here.agent.begin("go")
    await _waits(here, run, "awaiting_approval")
    await _control(here.agent, run, "suspend")
    await _control(here.agent, run, "approvals/1.0", approved=True)
    await _waits(here, run, "suspended")
    assert await _booked(here) == 0
    await here.agent.kill()
    await here.agent.start()
    assert (await here.agent.run(run))["status"] == "SUSPENDED"
    assert await _booked(here) == 0
    await _control(here.agent, run, "resume")
    assert (await here.agent.ended(run))["result"] == "done"
    assert await _booked(here) == 1


async def test_a_retry_that_comes_due_in_a_suspended_run_waits_and_is_no_attempt(stage):
    retries = RetriesConfig(max_attempts=2, initial_seconds=1, max_seconds=1)
    here = await stage(_script({"status": 503, "times": 1}), "book", changed={"book": {"retries": retries}})
    run = await here.agent.begin("go")
    await _waits(here, run, "retrying")
    await _control(here.agent, run, "suspend")
    await _waits(here, run, "suspended")
    assert await _booked(here) == 1
    await _control(here.agent, run, "resume")
    assert (await here.agent.ended(run))["result"] == "done"
    assert await _booked(here) == 2
    [step] = [step for step in await here.agent.steps(run) if step["kind"] == "tool"]
    assert (step["status"], step["attempt"]) == ("completed", 2)


async def test_a_question_whose_time_runs_out_in_a_suspended_run_makes_no_call_until_it_is_resumed(stage):
    here = await stage(_script(), "book", changed={"book": {"approval": ApprovalConfig(timeout_seconds=2, on_timeout="approve")}})
    run = await here.agent.begin("go")
    await _waits(here, run, "awaiting_approval")
    await _control(here.agent, run, "suspend")
    await _waits(here, run, "suspended")
    assert await _booked(here) == 0
    await _control(here.agent, run, "resume")
    assert (await here.agent.ended(run))["result"] == "done"
    assert await _booked(here) == 1


async def test_the_models_turn_that_a_suspended_run_waited_with_was_its_first_attempt_and_the_log_tells_the_story(stage):
    script = _script()
    script["tools"]["book"]["latency"] = "1s"
    here = await stage(script, "book")
    run = await here.agent.begin("go")
    await here.agent.until(lambda: here.underway("tool"))
    for _ in range(2):
        await _control(here.agent, run, "suspend")

    async def held():
        return [step["status"] for step in (await here.agent.run(run))["pending"]] == ["suspended"]

    await here.agent.until(held)
    await _control(here.agent, run, "resume")
    assert (await here.agent.ended(run))["result"] == "done"
    assert [step["attempt"] for step in await here.agent.steps(run)] == [1, 1, 1]
    lines = [json.loads(line) for line in here.agent.log.read_text().splitlines() if line.startswith("{")]
    told = [line["message"] for line in lines if line.get("run") == run and line["level"] == "info"]
    assert [message for message in told if message in ("suspended", "resumed")] == ["suspended", "resumed"]
