"""Agents that call each other, on real sidecars with mTLS and the access control that the operator makes."""

import asyncio

import pytest

from tests.agent.families import agent_tool, child_run

pytestmark = [pytest.mark.dapr, pytest.mark.timeout(240)]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def ask(tool, task):
    return {"toolCalls": [{"name": tool, "arguments": {"task": task}}]}


def told(task, tool, sub, answer="done", **more):
    """Rules of a task that an agent hands on by a tool."""
    return {"task": f"^{task}$", "turns": [ask(tool, sub), {"answer": answer, **more}]}


async def output(agent, run):
    """What the model read of its first call."""
    return next(step for step in await agent.steps(run) if step["kind"] == "tool")


async def test_agents_call_each_other_once_and_only_those_that_may(family):
    script = {
        "rules": [
            told("plan", "critic", "judge the plan", "planned"),
            {"task": "^judge the plan$", "turns": [{"answer": "a good plan"}]},
            told("peek", "critic", "judge a peek"),
            told("round", "critic", "go round"),
            told("go round", "planner", "plan"),
            told("nobody", "absent", "anything"),
            told("patience", "hasty", "think long 1"),
            told("give up", "critic", "think long 2"),
            told("fails", "critic", "loop"),
            {"task": "^loop$", "turns": [{"toolCalls": [{"name": "none"}], "repeat": 9}]},
            {"task": "^think long", "turns": [{"latency": "9s", "answer": "thought"}]},
        ]
    }
    once = {"max_attempts": 1}
    hasty = agent_tool("critic", timeout_seconds=2.0).model_copy(update={"name": "hasty"})
    absent = agent_tool("absent", retries=once)
    house = await family(
        script,
        planner={"tools": (agent_tool("critic"), absent, hasty), "callers": ("critic",)},
        critic={"tools": (agent_tool("planner"),), "callers": ("planner",), "limits": {"max_iterations": 3}},
        stranger={"tools": (agent_tool("critic"),)},
    )
    planner, critic, stranger = house["planner"], house["critic"], house["stranger"]

    async def begin(agent, task, run):
        return await agent.call("POST", "/run", json={"task": task, "id": run}, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})

    for task in ("plan", "round", "nobody", "patience", "give-up", "fails"):
        assert (await begin(planner, task.replace("-", " "), task))[0] == 202
    assert (await begin(stranger, "peek", "peek"))[0] == 202

    await planner.until(lambda: house.at_work("think long 2"), within=60.0)
    status, _ = await planner.call("POST", "/runs/give-up/cancel", json={"reason": "changed my mind"})
    assert status == 200
    ended = dict(
        zip(
            ("plan", "round", "nobody", "patience", "give-up", "fails"),
            await asyncio.gather(*(planner.ended(run, within=90.0) for run in ("plan", "round", "nobody", "patience", "give-up", "fails"))),
            strict=True,
        )
    )
    assert {run: view["status"] for run, view in ended.items()} == dict.fromkeys(ended, "COMPLETED") | {"give-up": "CANCELED"}

    # The run at the other agent: whose it is, how long it may take, whose trace it is in.
    judged = await critic.run(await child_run(planner, "planner", "plan"))
    assert (judged["result"], judged["callers"]) == ("a good plan", ["planner"])
    assert judged["deadline"] < ended["plan"]["deadline"]
    assert any(TRACE in line and judged["id"] in line for line in critic.log.read_text().splitlines())
    step = await output(planner, "plan")
    assert (step["output"], step["child_run"]) == ("a good plan", judged["id"])

    # Refused, absent, slow and failing agents cost the call; the model reads why.
    assert (await stranger.ended("peek"))["status"] == "COMPLETED"
    denied = await output(stranger, "peek")
    assert denied["status"] == "failed"
    assert "access denied" in denied["output"]
    assert "spec.access.callers of 'critic'" in denied["output"]
    assert "'absent' cannot be reached" in (await output(planner, "nobody"))["output"]
    slow = await output(planner, "patience")
    assert "no answer of the agent within 2 s" in slow["output"]
    assert slow["status"] == "unknown"
    assert "LimitExceeded: limits.maxIterations is 3" in (await output(planner, "fails"))["output"]
    circle = await output(critic, await child_run(planner, "planner", "round"))
    assert "circle: planner -> critic -> planner" in circle["output"]

    # A cancel reaches the run that was begun.
    assert (await critic.ended(await child_run(planner, "planner", "give-up")))["status"] == "CANCELED"
    assert (await critic.ended(await child_run(planner, "planner", "patience")))["status"] in ("CANCELED", "FAILED")

    # Access control: who may call, and what.
    members = house.members
    assert await members["stranger"].invoke("critic", "GET", "/runs") == 403
    assert await members["stranger"].invoke("critic", "POST", "/run") == 403
    assert await members["planner"].invoke("critic", "POST", "/run") == 422
    for path, status in {
        "/runs": 200,
        "/runs/none": 404,
        "/sessions/none": 404,
        "/triggers": 200,
        "/openapi.json": 200,
        "/.well-known/agent-card.json": 200,
        "/metrics": 403,
        "/healthz": 403,
        "/runs/../metrics": 403,
    }.items():
        assert (path, await members["planner"].invoke("critic", "GET", path)) == (path, status)
    for path in ("/events/topic", "/events/triggers/x", "/openapi.json"):
        assert (path, await members["planner"].invoke("critic", "POST", path)) == (path, 403)
    assert (await house.ledger("model"))["summary"]["model"]["repeated"] == 0


async def test_a_call_outlives_kills_of_both_agents(family):
    script = {
        "rules": [
            told("plan", "critic", "judge", "planned"),
            {"task": "^judge$", "turns": [{"latency": "4s", "toolCalls": [{"name": "none"}]}, {"latency": "4s", "answer": "judged"}]},
        ]
    }
    house = await family(script, planner={"tools": (agent_tool("critic"),)}, critic={"callers": ("planner",)})
    planner, critic = house["planner"], house["critic"]
    run = await planner.begin("plan")
    await planner.until(lambda: house.at_work("judge"), within=60.0)
    await critic.kill()
    await planner.kill()
    await asyncio.gather(critic.start(), planner.start())
    ended = await planner.ended(run, within=120.0)
    assert (ended["status"], ended["result"]) == ("COMPLETED", "planned"), await planner.steps(run)
    assert (await output(planner, run))["output"] == "judged"

    async def listed():
        status, page = await critic.call("GET", "/runs")
        return status == 200 and [found["id"] for found in page["runs"]]

    assert await critic.until(listed, within=60.0) == [await child_run(planner, "planner", run)]
