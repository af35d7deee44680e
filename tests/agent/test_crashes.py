"""What dies in the middle of a run is carried on: nothing finished is paid for twice, nothing interrupted is lost.

The scripted server keeps the account (which calls came, under which key, and whether somebody was there to hear the answer), and it is
never killed.
"""

import asyncio
import signal

import aiohttp
import pytest

from holdfast_api.config import HeaderFromEnv, LimitsConfig
from tests.agent.agents import agent_config

pytestmark = pytest.mark.dapr

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}


def _script(*, model="1ms", tool="1ms"):
    return {
        "rules": [{"turns": [{"toolCalls": [SEARCH]}, {"answer": "done", "latency": model}]}],
        "tools": {"search": {"latency": tool, "result": "sunny"}},
    }


async def _began(here, kind, *, count=1):
    await here.agent.until(lambda: here.underway(kind, count))


async def test_a_tool_interrupted_by_kill_9_runs_again_under_its_key_and_nothing_else_does(stage):
    here = await stage(_script(tool="1s"), "search")
    run = await here.agent.begin("go", id="trip")
    await _began(here, "tool")
    await here.agent.kill()
    await here.agent.start()
    assert (await here.agent.ended(run))["result"] == "done"
    ledger = await here.ledger()
    assert ledger["summary"]["model"]["requests"] == 2
    assert [call["key"] for call in ledger["calls"] if call["kind"] == "tool"] == ["trip/1/0", "trip/1/0"]


async def test_a_model_call_interrupted_by_kill_9_is_the_only_one_asked_again(stage):
    here = await stage(_script(model="1s"), "search")
    run = await here.agent.begin("go")

    async def second_turn():
        return [call for call in (await here.ledger("model"))["calls"] if call["detail"]["turn"] == 1]

    await here.agent.until(second_turn)
    await here.agent.kill()
    await here.agent.start()
    assert (await here.agent.ended(run))["result"] == "done"
    ledger = await here.ledger()
    assert ledger["summary"]["tool"]["requests"] == 1
    assert [call["detail"]["turn"] for call in ledger["calls"] if call["kind"] == "model"] == [0, 1, 1]


async def test_a_sidecar_killed_during_a_tool_call_leaves_the_call_running_and_its_second_execution_joins_it(stage):
    here = await stage(_script(tool="6s"), "search")
    run = await here.agent.begin("go")
    await _began(here, "tool")
    await here.dapr.kill("daprd")
    await here.dapr.restart("daprd")
    assert (await here.agent.ended(run))["result"] == "done"
    assert "joined a call in flight" in here.agent.log.read_text()
    ledger = await here.ledger()
    assert ledger["summary"]["tool"]["requests"] == 1
    assert ledger["summary"]["model"]["requests"] == 2


async def test_sigterm_lets_the_call_in_the_air_come_down_and_hands_the_run_on(stage):
    here = await stage(_script(tool="2s"), "search")
    run = await here.agent.begin("go")
    await _began(here, "tool")
    await here.agent.terminate()
    assert here.agent.process.exit_code == 0
    assert not await here.underway("tool")
    await here.agent.start()
    assert (await here.agent.ended(run))["result"] == "done"
    summary = (await here.ledger())["summary"]
    assert (summary["model"]["requests"], summary["tool"]["requests"]) == (2, 1)


async def test_while_it_stops_the_agent_takes_no_new_run_but_shows_those_it_has(stage):
    here = await stage(_script(tool="2s"), "search")
    run = await here.agent.begin("go")
    await _began(here, "tool")
    here.agent.process.signal(signal.SIGTERM)

    async def refuses():
        status, _ = await here.agent.call("GET", "/readyz", token=None)
        return status == 503

    await here.agent.until(refuses)
    status, problem = await here.agent.call("POST", "/run", json={"task": "go"})
    assert (status, problem["detail"]) == (503, "the agent is stopping")
    assert (await here.agent.run(run))["status"] == "RUNNING"


async def test_an_agent_that_still_waits_for_its_sidecar_ends_at_once_when_asked(stage):
    here = await stage(_script(), "search")
    await here.agent.kill()
    await here.dapr.kill("daprd")
    here.agent.process.start()

    async def listens():
        try:
            return (await here.agent.call("GET", "/healthz", token=None))[0] == 200
        except aiohttp.ClientError:
            return False

    await here.agent.until(listens)
    here.agent.process.signal(signal.SIGTERM)
    assert await here.agent.process.ended(within=5) == 0


async def test_a_second_signal_ends_the_agent_at_once(stage):
    here = await stage(_script(tool="20s"), "search")
    await here.agent.begin("go")
    await _began(here, "tool")
    here.agent.process.signal(signal.SIGINT)
    await asyncio.sleep(0.2)
    assert here.agent.process.running
    here.agent.process.signal(signal.SIGINT)
    assert await here.agent.process.ended(within=5) == 130


async def test_kills_at_any_moment_of_a_run_repeat_no_finished_call(stage):
    turns, kills = 8, 6
    script = {
        "rules": [{"turns": [{"toolCalls": [SEARCH, SEARCH], "repeat": turns, "latency": "100ms"}, {"answer": "done"}]}],
        "tools": {"search": {"latency": "100ms"}},
    }
    here = await stage(script, "search", limits=LimitsConfig(max_iterations=50))
    run = await here.agent.begin("go")
    for number in range(kills):
        await asyncio.sleep(0.13 * (number + 1) % 0.5 + 0.05)
        await here.agent.kill()
        await here.agent.start()
    assert (await here.agent.ended(run))["result"] == "done"
    ledger = await here.ledger()
    model, tool = ledger["summary"]["model"], ledger["summary"]["tool"]
    assert (model["distinct"], tool["distinct"]) == (turns + 1, 2 * turns)
    # A kill can meet one call of the model, or the two tools of a turn, before what they answered is stored.
    assert model["requests"] <= turns + 1 + kills
    assert tool["requests"] <= 2 * turns + 2 * kills
    assert model["requests"] - turns - 1 + (tool["requests"] - 2 * turns) / 2 <= kills
    assert {call["key"] for call in ledger["calls"] if call["kind"] == "tool"} == {
        f"{run}/{turn + 1}/{call}" for turn in range(turns) for call in range(2)
    }


async def test_a_long_run_that_loses_its_process_is_read_again_from_segments_and_the_turns_after_them(stage):
    turns, before = 30, 24
    script = {
        "rules": [{"turns": [{"toolCalls": [SEARCH], "repeat": turns, "latency": "20ms"}, {"answer": "done"}]}],
        "tools": {"search": {"result": "x" * 2000}},
    }
    here = await stage(script, "search", limits=LimitsConfig(max_iterations=50))
    run = await here.agent.begin("go")

    async def far():
        return len((await here.ledger("model"))["calls"]) > before

    await here.agent.until(far, within=30)
    await here.agent.kill()
    await here.agent.start()
    assert (await here.agent.ended(run))["result"] == "done"
    asked = [call["detail"]["turn"] for call in (await here.ledger("model"))["calls"]]
    assert sorted(set(asked)) == list(range(turns + 1))
    assert len(asked) <= turns + 2


async def test_a_run_keeps_its_prompt_tools_and_model_when_the_agent_is_changed_under_it(stage):
    script = {
        "rules": [{"turns": [{"toolCalls": [SEARCH]}, {"toolCalls": [SEARCH]}, {"answer": "done"}]}],
        "tools": {"search": {"latency": "1s"}, "other": {}},
    }
    here = await stage(script, "search")
    run = await here.agent.begin("go")
    before = (await here.agent.run(run))["revision"]
    await _began(here, "tool")
    await here.agent.kill()
    changed = agent_config(here.script_url, "other", system_prompt="Another prompt.")
    here.agent.configure(changed)
    await here.agent.start()
    view = await here.agent.ended(run)
    assert (view["result"], view["revision"]) == ("done", before)
    tools = [call for call in (await here.ledger("tool"))["calls"] if call["outcome"] in ("result", "replay")]
    assert {call["name"] for call in tools} == {"search"}
    fresh = await here.agent.ask("new")
    assert fresh["revision"] == changed.revision != before


async def test_a_run_whose_revision_cannot_be_opened_here_says_so_and_goes_on_once_it_can(stage):
    here = await stage(_script(tool="1s"), "search")
    secret = HeaderFromEnv(name="Authorization", env="PATH")
    tool = here.config.tools[0]
    pinned = here.config.model_copy(
        update={"tools": (tool.model_copy(update={"http": tool.http.model_copy(update={"headers_from": (secret,)})}),)}
    )
    await here.agent.kill()
    here.agent.configure(pinned)
    await here.agent.start()
    run = await here.agent.begin("go")
    await _began(here, "tool")
    await here.agent.kill()
    here.agent.configure(here.config)
    path = here.agent.process._env.pop("PATH")
    await here.agent.start()

    async def told():
        return (await here.agent.run(run)).get("retrying")

    assert "search" in (await here.agent.until(told))["message"]
    await here.agent.kill()
    here.agent.process._env["PATH"] = path
    await here.agent.start()
    assert (await here.agent.ended(run))["result"] == "done"


async def test_a_redis_that_dies_and_comes_back_costs_no_call(stage, redis_server):
    here = await stage(_script(tool="1s"), "search", store=redis_server.component)
    run = await here.agent.begin("go")
    await _began(here, "tool")
    await redis_server.kill()
    await asyncio.sleep(2)
    await redis_server.start()
    assert (await here.agent.ended(run))["result"] == "done"
    summary = (await here.ledger())["summary"]
    assert (summary["model"]["requests"], summary["tool"]["requests"]) == (2, 1)


async def test_whoever_waits_is_answered_when_the_agent_stops(stage):
    here = await stage(_script(tool="3s"), "search")
    waiting = asyncio.create_task(here.agent.call("POST", "/run?wait=30s", json={"task": "go"}))
    await _began(here, "tool")
    here.agent.process.signal(signal.SIGTERM)
    status, answer = await asyncio.wait_for(waiting, 2)
    assert (status, set(answer)) == (202, {"instance_id", "status_url"})
    assert await here.agent.process.ended(within=20) == 0


async def test_an_agent_whose_worker_has_died_ends_so_that_it_is_started_again(stage):
    program = """
import asyncio, os, sys
from holdfast_agent import engine, logs
from holdfast_agent.__main__ import main
class Dying(engine.Engine):
    @property
    def alive(self):
        self._worker.stop()
        return super().alive
engine.Engine = Dying
sys.exit(main(["serve", "--host", "127.0.0.1", "--port", sys.argv[1]]))
"""
    with pytest.raises(AssertionError, match="the workflow worker has ended by itself"):
        await stage(_script(), program=program)
