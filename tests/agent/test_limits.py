"""Limits on a real Dapr: exact whatever dies, and what a run comes to that meets one."""

import pytest

from holdfast_api.config import LimitsConfig, ModelConfig, RetriesConfig

pytestmark = pytest.mark.dapr

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}
ENDLESS = {
    "rules": [{"turns": [{"toolCalls": [SEARCH], "usage": {"input": 40, "output": 10}, "repeat": 1000}]}],
    "tools": {"search": {"latency": "300ms"}},
}


async def _killed_in(here, kind, count):
    """Kill -9 and start again in the middle of the call of that number."""

    async def begun():
        calls = (await here.ledger(kind))["calls"]
        return len(calls) >= count and calls[count - 1]["finished"] is None

    await here.agent.until(begun)
    await here.agent.kill()
    await here.agent.start()


async def test_the_limit_of_tool_calls_is_exact_across_kill_9(stage):
    here = await stage(ENDLESS, "search", limits=LimitsConfig(max_tool_calls=3))
    run = await here.agent.begin("go", id="trip")
    await _killed_in(here, "tool", 2)
    view = await here.agent.ended(run)
    assert view["error"]["type"] == "LimitExceeded"
    assert "limits.maxToolCalls is 3" in view["error"]["message"]
    ledger = await here.ledger()
    assert {call["key"] for call in ledger["calls"] if call["kind"] == "tool"} == {"trip/1/0", "trip/2/0", "trip/3/0"}
    assert ledger["summary"]["model"]["requests"] == 4


async def test_the_limit_of_tokens_is_counted_from_what_is_recorded_across_kill_9(stage):
    here = await stage(ENDLESS, "search", limits=LimitsConfig(max_tokens=120))
    run = await here.agent.begin("go")
    await _killed_in(here, "tool", 1)
    await _killed_in(here, "tool", 3)
    view = await here.agent.ended(run)
    assert "limits.maxTokens is 120 and the run has used 150" in view["error"]["message"]
    assert view["tokens"] == {"input": 120, "output": 30}
    assert (await here.ledger())["summary"]["model"]["requests"] == 3


async def test_the_same_call_again_and_again_is_stopped_as_a_loop(stage):
    here = await stage(ENDLESS, "search", limits=LimitsConfig(max_repeated_calls=2))
    view = await here.agent.ask("go")
    assert view["error"]["type"] == "LimitExceeded"
    assert "the tool 'search' was called 3 times with the same arguments and the same result" in view["error"]["message"]
    assert (await here.ledger())["summary"]["tool"]["requests"] == 3


async def test_a_run_that_meets_a_limit_can_be_made_to_answer(stage):
    rules = [{"messages": "limit", "turns": [{"answer": "as far as I got"}]}, *ENDLESS["rules"]]
    here = await stage(ENDLESS | {"rules": rules}, "search", limits=LimitsConfig(max_tool_calls=1, on_exceeded="answer"))
    view = await here.agent.ask("go")
    assert (view["status"], view["result"], view["exceeded"]) == ("COMPLETED", "as far as I got", "maxToolCalls")
    assert (await here.ledger())["summary"]["tool"]["requests"] == 1


async def test_a_run_that_meets_a_limit_in_a_long_turn_can_be_made_to_answer_too(stage):
    rules = [
        {"system": "sum up the work on a task", "turns": [{"answer": "Paris was searched.", "repeat": 9}]},
        {"messages": "limit", "turns": [{"answer": "as far as I got"}]},
        {"turns": [{"toolCalls": [SEARCH, SEARCH], "usage": {"input": 3000, "output": 10}}]},
    ]
    model = ModelConfig(component="llm", label="openai/scripted", timeout_seconds=30, context_tokens=2000)
    limits = LimitsConfig(max_tool_calls=1, on_exceeded="answer")
    here = await stage(ENDLESS | {"rules": rules}, "search", limits=limits, model=model)
    view = await here.agent.ask("go")
    assert (view["status"], view.get("result"), view.get("exceeded")) == ("COMPLETED", "as far as I got", "maxToolCalls"), view


async def test_more_runs_than_may_be_at_work_are_refused_until_one_ends_or_waits(stage):
    script = {
        "rules": [{"turns": [{"toolCalls": [SEARCH]}, {"answer": "done"}]}],
        "tools": {"search": {"latency": "1s", "faults": [{"status": 503, "times": 1}]}},
    }
    slow = {"search": {"retries": RetriesConfig(initial_seconds=6, max_seconds=600)}}
    here = await stage(script, "search", limits=LimitsConfig(max_concurrent_runs=1), changed=slow)
    await here.agent.begin("one", id="one")
    status, problem = await here.agent.call("POST", "/run", json={"task": "two", "id": "two"})
    assert (status, "maxConcurrentRuns" in problem["detail"]) == (429, True)
    assert (await here.agent.call("POST", "/run", json={"task": "one", "id": "one"}))[0] == 202

    async def taken():
        return (await here.agent.call("POST", "/run", json={"task": "two", "id": "two"}))[0] == 202

    await here.agent.until(taken)
    assert (await here.agent.run("one"))["status"] == "RUNNING"
    for run in ("one", "two"):
        assert (await here.agent.ended(run))["result"] == "done"
