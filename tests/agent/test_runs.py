"""A run on a real Dapr: from the request to the answer, and what is kept of it."""

import asyncio
import base64
import sqlite3

import pytest

from holdfast_api.config import LimitsConfig

pytestmark = pytest.mark.dapr

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}
FLIGHTS = {
    "rules": [{"turns": [{"toolCalls": [SEARCH, {"name": "search", "arguments": {"city": "Rome"}}]}, {"answer": "Take the train."}]}],
    "tools": {"search": {"result": {"flights": ["the-tool-output-that-must-not-leak"]}}},
}


def _turns(*turns, tools=None):
    return {"rules": [{"turns": list(turns)}], "tools": tools or {}}


def _workflow_state(database):
    """Everything that Dapr's workflow engine keeps, decoded."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select key, value, is_binary from state where key like '%dapr.internal%'").fetchall()
    return b"\n".join(key.encode() + b" " + (base64.b64decode(value) if binary else str(value).encode()) for key, value, binary in rows)


async def test_a_run_gets_its_answer_through_model_and_tools(stage):
    here = await stage(FLIGHTS, "search")
    answer = await here.agent.ask("Where to?", id="trip-1")
    assert answer["result"] == "Take the train."
    assert answer["status"] == "COMPLETED"
    assert answer["instance_id"] == "trip-1"
    assert answer["status_url"] == "/v1.0/workflows/dapr/trip-1"
    assert (answer["turn"], answer["tool_calls"]) == (2, 2)
    assert answer["tokens"]["input"] > 0


async def test_the_timeline_shows_each_step_with_its_key(stage):
    here = await stage(FLIGHTS, "search")
    await here.agent.ask("Where to?", id="trip-1")
    steps = await here.agent.steps("trip-1")
    assert [(step["kind"], step["turn"], step["key"], step["status"]) for step in steps] == [
        ("model", 1, "trip-1/1/model", "completed"),
        ("tool", 1, "trip-1/1/0", "completed"),
        ("tool", 1, "trip-1/1/1", "completed"),
        ("model", 2, "trip-1/2/model", "completed"),
    ]
    assert steps[0]["calls"] == ["search", "search"]
    assert "must-not-leak" in steps[1]["output"]
    assert {call["key"] for call in (await here.ledger("tool"))["calls"]} == {"trip-1/1/0", "trip-1/1/1"}


async def test_a_run_is_read_in_daprs_shape_under_daprs_path(stage):
    here = await stage(FLIGHTS, "search")
    await here.agent.ask("Where to?", id="trip-1")
    status, view = await here.agent.call("GET", "/v1.0/workflows/dapr/trip-1")
    assert status == 200
    assert (view["instanceID"], view["workflowName"], view["runtimeStatus"]) == ("trip-1", "agent", "COMPLETED")
    assert view["properties"] == {"dapr.workflow.input": '{"task": "Where to?"}', "dapr.workflow.output": '"Take the train."'}


async def test_daprs_history_holds_no_message(stage, tmp_path):
    here = await stage(FLIGHTS, "search")
    await here.agent.ask("the-task-that-must-not-leak", id="trip-1")
    state = _workflow_state(tmp_path / "state.db")
    assert b"trip-1" in state
    assert b"search" in state
    for text in (b"must not leak", b"must-not-leak", b"Take the train", b"Paris"):
        assert text not in state


async def test_calls_of_one_turn_run_side_by_side(stage):
    both = _turns({"toolCalls": [SEARCH, SEARCH, SEARCH]}, {"answer": "done"}, tools={"search": {"latency": "500ms"}})
    here = await stage(both, "search")
    run = await here.agent.begin("go")
    await here.agent.until(lambda: here.underway("tool", 3))
    view = await here.agent.run(run)
    assert [step["key"] for step in view["pending"]] == [f"{run}/1/{call}" for call in range(3)]
    assert (view["turn"], view["tool_calls"]) == (1, 3)
    assert (await here.agent.ended(run))["result"] == "done"


async def test_the_same_request_is_the_same_run_also_after_it_ended(stage):
    here = await stage(FLIGHTS, "search")
    first, second = await asyncio.gather(here.agent.ask("Where to?", id="once"), here.agent.ask("Where to?", id="once"))
    third = await here.agent.ask("Where to?", id="once")
    assert first == second == third
    assert (await here.ledger())["summary"]["model"]["requests"] == 2


async def test_the_same_id_with_another_task_is_a_conflict(stage):
    here = await stage(FLIGHTS, "search")
    await here.agent.ask("Where to?", id="once")
    status, problem = await here.agent.call("POST", "/run", json={"task": "Where else?", "id": "once"})
    assert status == 409
    assert (problem["field"], problem["value"]) == ("id", "once")
    assert (await here.agent.run("once"))["result"] == "Take the train."


async def test_a_model_that_never_stops_is_stopped_by_max_iterations(stage):
    endless = _turns({"toolCalls": [SEARCH], "repeat": 1000}, tools={"search": {}})
    here = await stage(endless, "search", limits=LimitsConfig(max_iterations=3))
    answer = await here.agent.ask("go")
    assert answer["status"] == "FAILED"
    assert answer["error"]["type"] == "LimitExceeded"
    assert "limits.maxIterations is 3" in answer["error"]["message"]
    assert (await here.ledger())["summary"]["model"]["requests"] == 3
    status, view = await here.agent.call("GET", answer["status_url"])
    assert (status, view["runtimeStatus"]) == (200, "FAILED")


async def test_a_run_out_of_time_lets_its_call_settle_and_then_fails(stage):
    slow = _turns({"toolCalls": [SEARCH]}, {"answer": "late"}, tools={"search": {"latency": "2s"}})
    here = await stage(slow, "search", limits=LimitsConfig(run_timeout_seconds=1.0))
    answer = await here.agent.ask("go")
    assert (answer["status"], answer["error"]["type"]) == ("FAILED", "RunTimeout")
    steps = await here.agent.steps(answer["id"])
    assert [step["status"] for step in steps] == ["completed", "completed"]


async def test_a_run_whose_time_passed_while_nobody_served_it_asks_no_more(stage):
    here = await stage(
        _turns({"toolCalls": [SEARCH]}, {"answer": "late"}, tools={"search": {"latency": "500ms"}}),
        "search",
        limits=LimitsConfig(run_timeout_seconds=2.0),
    )
    run = await here.agent.begin("go")
    await here.agent.until(lambda: here.underway("tool"))
    await here.agent.kill()
    await asyncio.sleep(2)
    await here.agent.start()
    view = await here.agent.ended(run)
    assert (view["status"], view["error"]["type"]) == ("FAILED", "RunTimeout")
    assert (await here.ledger())["summary"]["tool"]["requests"] == 1


async def test_a_transient_model_error_is_retried_and_shown_meanwhile(stage):
    here = await stage(_turns({"answer": "at last", "faults": [{"status": 503, "times": 2}]}))
    run = await here.agent.begin("go")

    async def retrying():
        return (await here.agent.run(run)).get("retrying")

    told = await here.agent.until(retrying)
    assert told["key"] == f"{run}/1/model"
    assert "503" in told["message"]
    assert (await here.agent.ended(run))["result"] == "at last"
    assert (await here.agent.steps(run))[0]["attempt"] == 3


async def test_a_permanent_model_error_ends_the_run_with_its_reason(stage):
    here = await stage(_turns({"answer": "never", "faults": [{"status": 401, "times": 9}]}))
    answer = await here.agent.ask("go")
    assert (answer["status"], answer["error"]["type"]) == ("FAILED", "ModelFailed")
    assert "401" in answer["error"]["message"]
    assert (await here.ledger())["summary"]["model"]["requests"] == 1


async def test_an_answer_that_no_store_takes_ends_the_run_and_is_not_asked_for_again(stage):
    # As JSON it is twice as long, and then longer than a message to the sidecar may be.
    here = await stage(_turns({"answer": '"' * 9_000_000}))
    answer = await here.agent.ask("go")
    assert (answer["status"], answer["error"]["type"]) == ("FAILED", "StoreFailed")
    assert (await here.ledger())["summary"]["model"]["requests"] == 1


async def test_a_tool_that_asks_for_more_time_than_the_run_has_is_told_to_the_model(stage):
    busy = {"search": {"faults": [{"status": 429, "retryAfter": 600, "times": 9}]}}
    here = await stage(
        _turns({"toolCalls": [SEARCH]}, {"answer": "too busy"}, tools=busy), "search", limits=LimitsConfig(run_timeout_seconds=60.0)
    )
    answer = await here.agent.ask("go")
    assert (answer["status"], answer["result"]) == ("COMPLETED", "too busy")
    assert "429" in (await here.agent.steps(answer["id"]))[1]["output"]
    assert (await here.ledger())["summary"]["tool"]["requests"] == 1


async def test_a_transient_tool_error_is_retried_under_the_same_key(stage):
    flaky = _turns({"toolCalls": [SEARCH]}, {"answer": "done"}, tools={"search": {"faults": [{"status": 503}]}})
    here = await stage(flaky, "search")
    answer = await here.agent.ask("go", id="flaky")
    assert answer["result"] == "done"
    assert [call["key"] for call in (await here.ledger("tool"))["calls"]] == ["flaky/1/0", "flaky/1/0"]


async def test_the_model_is_told_what_a_tool_cannot_do(stage):
    wrong = _turns(
        {"toolCalls": [{"name": "nowhere", "arguments": {}}, {"name": "search", "arguments": {"town": "Paris"}}, SEARCH]},
        {"answer": "I see"},
        tools={"search": {"faults": [{"status": 404, "times": 9}]}},
    )
    here = await stage(wrong, "search")
    answer = await here.agent.ask("go")
    assert answer["result"] == "I see"
    tools = [step for step in await here.agent.steps(answer["id"]) if step["kind"] == "tool"]
    assert [step["status"] for step in tools] == ["failed", "failed", "failed"]
    assert "nowhere" in tools[0]["output"]
    assert "city" in tools[1]["output"]
    assert "404" in tools[2]["output"]


async def test_a_page_of_the_timeline_after_the_present_is_empty(stage):
    here = await stage(_turns({"toolCalls": [SEARCH]}, {"answer": "done", "latency": "3s"}, tools={"search": {}}), "search")
    run = await here.agent.begin("go")

    async def second_turn():
        return len((await here.ledger("model"))["calls"]) == 2

    await here.agent.until(second_turn)
    shown = {}
    for turn in (1, 2, 3):
        _, view = await here.agent.call("GET", f"/runs/{run}/steps?turn={turn}")
        shown[turn] = [step["key"] for step in view["steps"]]
    assert shown == {1: [f"{run}/1/model", f"{run}/1/0", f"{run}/2/model"], 2: [f"{run}/2/model"], 3: []}


async def test_a_long_run_continues_as_new_and_keeps_its_whole_conversation(stage):
    turns = 45
    here = await stage(
        _turns({"toolCalls": [SEARCH], "repeat": turns}, {"answer": "finished"}, tools={"search": {"result": "x" * 1000}}),
        "search",
        limits=LimitsConfig(max_iterations=100),
    )
    run = await here.agent.begin("go")
    assert (await here.agent.ended(run))["result"] == "finished"
    calls = (await here.ledger("model"))["calls"]
    assert [call["detail"]["turn"] for call in calls] == list(range(turns + 1))
    assert len(await here.agent.steps(run)) == 2 * turns + 1
    status, page = await here.agent.call("GET", f"/runs/{run}/steps?turn=11&limit=10")
    assert (status, len(page["steps"]), page["next"]) == (200, 20, f"/runs/{run}/steps?turn=21&limit=10")
