"""Whatever a run can do is on record: its documents verify, and each of its deeds is told without a word of what was said.

The command asks the agent itself, as an auditor would.
"""

import asyncio
import os
import sys

import pytest

from holdfast_api.config import ApprovalConfig, EvaluationConfig, LimitsConfig, ModelConfig
from tests.agent.agents import TOKEN

pytestmark = pytest.mark.dapr

KEY = "key of this test"
UNDOING = {"fly": {"compensate": "cancel_flight"}}
FLY = {"toolCalls": [{"name": "fly", "arguments": {"city": "Rome"}}]}


@pytest.fixture
async def signing(stage):
    async def build(text, *tools, **more):
        return await stage(text, *tools, environ={"HOLDFAST_AUDIT_KEY": KEY}, **more)

    return build


async def verified(here, run):
    """Exit status and output of the command."""
    argv = [sys.executable, "-m", "holdfast_agent", "verify", f"{here.agent.url}/runs/{run}"]
    environ = {"PATH": os.environ["PATH"], "HOLDFAST_AUDIT_KEY": KEY, "APP_API_TOKEN": TOKEN}
    process = await asyncio.create_subprocess_exec(*argv, env=environ, stdout=-1, stderr=-1)
    out, err = await process.communicate()
    return process.returncode, (out + err).decode()


async def intact(here, run):
    status, told = await verified(here, run)
    assert status == 0, told


async def kinds(here, run):
    status, view = await here.agent.call("GET", f"/runs/{run}/audit")
    assert status == 200, view
    assert "Rome" not in str(view)
    return [record["kind"] for record in view["records"]]


async def test_a_canceled_run_with_its_compensations(signing):
    turns = [FLY, {"answer": "booked", "latency": "1s"}]
    here = await signing({"rules": [{"turns": turns}], "tools": {"fly": {}, "cancel_flight": {}}}, "fly", "cancel_flight", changed=UNDOING)
    run = await here.agent.begin("go")

    async def second():
        return len((await here.ledger("model"))["calls"]) == 2

    await here.agent.until(second)
    await here.agent.call("POST", f"/runs/{run}/cancel", json={"reason": "plans changed"})
    assert (await here.agent.ended(run))["status"] == "CANCELED"

    await intact(here, run)
    assert await kinds(here, run) == ["decision", "tool", "decision", "compensation", "cancel", "end"]


async def test_an_approved_call(signing):
    changed = {"fly": {"approval": ApprovalConfig(timeout_seconds=60)}}
    here = await signing({"rules": [{"turns": [FLY, {"answer": "booked"}]}], "tools": {"fly": {}}}, "fly", changed=changed)
    run = await here.agent.begin("go")

    async def asked():
        return (await here.agent.run(run)).get("approvals")

    [approval] = await here.agent.until(asked)
    await here.agent.call("POST", f"/runs/{run}/approvals/{approval['call']}", json={"approved": True, "reason": "fine"})
    await here.agent.ended(run)

    await intact(here, run)
    assert await kinds(here, run) == ["decision", "approval", "tool", "decision", "end"]


async def test_a_run_of_a_session_that_a_critic_sent_back(signing):
    yes, no = '{"accepted": true}', '{"accepted": false, "feedback": "Say it in Italian."}'
    judge = "You judge an answer against criteria"
    rules = [
        {"system": judge, "task": "Buongiorno", "turns": [{"answer": yes}]},
        {"system": judge, "turns": [{"answer": no}]},
        {"task": "sent back:\nSay it in Italian", "turns": [{"answer": "Buongiorno."}]},
        {"turns": [{"answer": "Hello."}]},
    ]
    here = await signing({"rules": rules}, evaluation=EvaluationConfig(criteria="Be Italian."))
    run = (await here.agent.ask("Greet me.", session_id="one"))["id"]

    await intact(here, run)
    assert await kinds(here, run) == ["recall", "decision", "evaluation", "decision", "evaluation", "end"]


async def test_a_run_that_summed_itself_up(signing):
    full = {"usage": {"input": 350, "output": 10}}
    rules = [
        {"system": "sum up the work on a task", "turns": [{"answer": "The code is 4711."}]},
        {"task": r"Find the code\.[\s\S]*The code is 4711", "turns": [{"answer": "It is 4711."}]},
        {"turns": [FLY, FLY | full, {"answer": "I forgot."}]},
    ]
    model = ModelConfig(component="llm", label="openai/scripted", timeout_seconds=30, context_tokens=400)
    here = await signing({"rules": rules, "tools": {"fly": {"result": "x" * 300}}}, "fly", model=model)
    run = (await here.agent.ask("Find the code."))["id"]

    await intact(here, run)
    assert "compaction" in await kinds(here, run)


async def test_a_run_that_a_limit_made_answer_early(signing):
    limits = LimitsConfig(max_tool_calls=1, on_exceeded="answer")
    rules = [{"messages": "limit", "turns": [{"answer": "best"}]}, {"turns": [FLY, FLY, {"answer": "best"}]}]
    here = await signing({"rules": rules, "tools": {"fly": {}}}, "fly", limits=limits)
    view = await here.agent.ask("go")
    assert view["status"] == "COMPLETED", view

    await intact(here, view["id"])
    assert (await kinds(here, view["id"]))[-2:] == ["limit", "end"]


async def test_a_run_that_was_ended_by_force_is_sealed_with_what_there_was(signing):
    here = await signing({"rules": [{"turns": [FLY, {"answer": "booked", "latency": "20s"}]}], "tools": {"fly": {}}}, "fly")
    run = await here.agent.begin("go")

    async def second():
        return len((await here.ledger("model"))["calls"]) == 2

    await here.agent.until(second)
    await here.agent.call("POST", f"/runs/{run}/cancel?force=true", json={"reason": "now"})
    assert (await here.agent.ended(run))["status"] == "CANCELED"
    await here.agent.kill()
    await here.agent.start()

    await intact(here, run)
    assert await kinds(here, run) == ["decision", "tool", "cancel", "end"]


async def test_a_run_that_has_not_ended_is_not_proven(signing):
    here = await signing({"rules": [{"turns": [FLY, {"answer": "booked", "latency": "5s"}]}], "tools": {"fly": {}}}, "fly")
    run = await here.agent.begin("go")
    status, told = await verified(here, run)

    assert status == 1
    assert "has not ended" in told
    await here.agent.ended(run)
    await intact(here, run)
