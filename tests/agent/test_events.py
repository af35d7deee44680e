"""A run is told as it happens, each step once and in order, whatever breaks between it and who listens."""

import asyncio
import contextlib

import aiohttp
import pytest

from holdfast_agent.http.events import LISTENERS
from holdfast_api.config import LimitsConfig
from tests.agent.agents import TOKEN, second_replica
from tests.agent.streams import Stream

pytestmark = pytest.mark.dapr

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}


def _script(turns=1, *, tool="1ms", model="1ms"):
    called = [{"toolCalls": [SEARCH, SEARCH], "latency": model}] * turns
    return {
        "rules": [{"turns": [*called, {"answer": "done", "latency": model}]}],
        "tools": {"search": {"latency": tool, "result": "sunny"}},
    }


def _ids(turns):
    return [f"{turn}.{step}" for turn in range(1, turns + 1) for step in (1, 2, 3)] + [f"{turns + 1}.1"]


async def test_a_run_is_told_step_by_step_while_it_happens_and_then_its_end(stage):
    here = await stage(_script(tool="700ms"), "search")
    run = await here.agent.begin("go")
    stream = Stream(here.agent, run)
    listening = asyncio.create_task(stream.connect())

    async def model_told():
        return stream.ids == ["1.1"]

    await here.agent.until(model_told)
    assert (await here.agent.run(run))["status"] == "RUNNING"
    await listening
    assert stream.ids == _ids(1)
    assert [step["status"] for step in stream.steps] == ["completed"] * 4
    assert stream.steps == (await here.agent.steps(run))
    assert stream.end == await here.agent.run(run)
    assert stream.last == "end"
    assert ["tool", "tool"] in [[step["kind"] for step in status.get("pending", ())] for status in stream.statuses]


async def test_whoever_comes_back_with_an_id_gets_what_is_behind_it_also_long_after_the_end(stage):
    here = await stage(_script(24), "search", limits=LimitsConfig(max_iterations=50))
    run = (await here.agent.ask("go"))["id"]
    everything = Stream(here.agent, run)
    await everything.connect()
    assert everything.ids == _ids(24)
    for seen in (1, 2, 3, 59, 60, 61, 63, len(everything.ids)):
        again = Stream(here.agent, run, last=everything.ids[seen - 1])
        await again.connect()
        assert (again.steps, again.end) == (everything.steps[seen:], everything.end)
    assert await Stream(here.agent, run, last="end").connect() == 204


async def test_a_long_run_is_told_across_its_generations_without_a_gap(stage):
    here = await stage(_script(24), "search", limits=LimitsConfig(max_iterations=50))
    stream = Stream(here.agent, await here.agent.begin("go"))
    await stream.connect()
    assert stream.ids == _ids(24)


async def test_a_kill_9_of_the_agent_costs_the_listener_a_connection_and_no_event(stage):
    here = await stage(_script(4, tool="300ms"), "search")
    run = await here.agent.begin("go")
    stream = Stream(here.agent, run)
    listening = asyncio.create_task(stream.follow())
    for told in (2, 7):

        async def so_far(told=told):
            return len(stream.ids) >= told

        await here.agent.until(so_far, within=60)
        await here.agent.kill()
        await here.agent.start()
    await asyncio.wait_for(listening, 60)
    assert stream.ids == _ids(4)


async def test_any_replica_tells_of_a_run_that_another_one_carries_out_and_goes_on_where_that_one_left_off(stage, redis_server, tmp_path):
    here = await stage(_script(3, tool="400ms"), "search", store=redis_server.component)
    async with second_replica(here, tmp_path) as (other, _):
        run = await here.agent.begin("go")
        first = Stream(here.agent, run)
        listening = asyncio.create_task(first.connect())

        async def some():
            return len(first.ids) >= 2

        await here.agent.until(some)
        listening.cancel()
        second = Stream(other, run, last=first.last)
        await second.connect()
        assert first.ids + second.ids == _ids(3)


async def test_an_id_can_come_in_the_query_and_one_that_is_none_is_refused(stage):
    here = await stage(_script(), "search")
    run = (await here.agent.ask("go"))["id"]
    status, _ = await here.agent.call("GET", f"/runs/{run}/events?last_event_id=end")
    assert status == 204
    for path, sent, name in (
        (f"/runs/{run}/events?last_event_id=7", {}, "last_event_id"),
        (f"/runs/{run}/events", {"Last-Event-ID": "1.x"}, "Last-Event-ID"),
        (f"/runs/{run}/events?since=1", {}, "since"),
    ):
        status, problem = await here.agent.call("GET", path, headers=sent)
        assert (status, problem["field"]) == (422, name)
    status, problem = await here.agent.call("GET", "/runs/unknown/events")
    assert (status, problem["field"]) == (404, "id")


async def test_listeners_are_bounded_and_those_who_have_gone_do_not_count(stage):
    here = await stage(_script(tool="20s"), "search")
    run = await here.agent.begin("go")
    url, headers = f"{here.agent.url}/runs/{run}/events", {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as crowd:
        streams = await asyncio.gather(*(crowd.get(url) for _ in range(LISTENERS)))
        assert {stream.status for stream in streams} == {200}
        status, problem = await here.agent.call("GET", f"/runs/{run}/events")
        assert (status, bool(problem["fix"])) == (429, True)

    async def room():
        async with here.agent.session.get(url, headers=headers) as stream:
            return stream.status == 200

    await here.agent.until(room)


async def test_the_agent_stops_in_time_though_somebody_listens(stage):
    here = await stage(_script(model="30s"), "search")
    stream = Stream(here.agent, await here.agent.begin("go"))
    listening = asyncio.create_task(stream.connect())
    await asyncio.wait_for(stream.seen.wait(), 10)
    await here.agent.kill()
    with contextlib.suppress(aiohttp.ClientError):
        await asyncio.wait_for(listening, 10)
    assert stream.end is None
