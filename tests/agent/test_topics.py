"""Events of a real broker begin runs, each one once, whatever dies; and the ends of runs are published."""

import asyncio

import pytest

from holdfast_agent.local.ports import free_ports
from holdfast_agent.outbox import TYPE
from holdfast_api.config import LimitsConfig, PubsubConfig, TopicConfig, TriggerConfig
from holdfast_api.dapr import api_spec
from holdfast_api.subscriptions import subscription, subscriptions
from tests.agent.agents import agent_process, model_component, second_replica
from tests.agent.brokers import BROKER, Streams, redis_broker

pytestmark = pytest.mark.dapr

ANSWERS = {"rules": [{"turns": [{"answer": "done"}]}]}
ORDERS = TriggerConfig(name="orders", task="Look at the order", topic=TopicConfig(component=BROKER, name="orders.new", dead_letter="dead"))
EAGER = """
import asyncio, os, sys
from holdfast_agent import outbox
from holdfast_agent.triggers import brokers
from holdfast_agent.program import Program
from holdfast_agent.settings import Settings
outbox._SETTLE_SECONDS = 1.0
brokers._LOOK_SECONDS, brokers._FIRST_SECONDS = 0.5, 2.0
asyncio.run(Program(Settings.read(os.environ, host="127.0.0.1", port=int(sys.argv[1])), tidy_seconds=0.5).run())
"""
TOPICS = PubsubConfig(component=BROKER, topic="agent.topic", broadcast="all", publish_results="results")


async def _runs(agent):
    status, page = await agent.call("GET", "/runs?limit=500")
    assert status == 200, page
    return {run["id"]: run for run in page["runs"]}


async def _metrics(agent):
    headers = {"Authorization": "Bearer token-of-the-app"}
    async with agent.session.get(f"{agent.url}/metrics", headers=headers) as response:
        return await response.text()


async def _all_taken(streams, *topics):
    return not [topic for topic in topics or ("all",) if await streams.unacknowledged(topic)]


def _ended(agent, count):
    async def probe():
        runs = await _runs(agent)
        return runs if len(runs) >= count and all(run["status"] == "COMPLETED" for run in runs.values()) else None

    return probe


async def test_every_form_of_event_is_one_run_and_what_can_be_none_is_refused(redis_server, stage):
    store, broker = redis_server.component, redis_broker(redis_server.port)
    here = await stage(ANSWERS, store=store, resources=[broker], pubsub=TOPICS, triggers=(ORDERS,))
    streams = Streams(redis_server.port)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for _ in range(2):
        await streams.event("agent.topic", {"task": "own"}, name="1", traceparent=trace)
        await streams.publish("agent.topic", '{"task": "raw", "id": "chosen", "session_id": "s"}')
        await streams.event("all", {"task": "everybody"}, name="1")
        await streams.event("orders.new", {"order": 7}, name="1")
        await streams.publish("orders.new", "just text")
        await streams.publish("orders.new", b"\xff\xfe")
        await streams.publish("agent.topic", "no task")
        await streams.event("agent.topic", {"task": "too late"}, name="2", expiration="2026-01-01T00:00:00Z")
        # Two of one event at the same moment are one run, too, and which of them came first nobody can say.
        await here.agent.until(_ended(here.agent, 5), within=60)
    await here.agent.until(lambda: _all_taken(streams, "agent.topic", "all", "orders.new"), within=60)
    runs = await _runs(here.agent)
    assert len(runs) == 5
    assert runs["chosen"]["session_id"] == "s"
    assert sorted(run["task"].partition("\n")[0] for run in runs.values()) == [
        "Look at the order",
        "Look at the order",
        "everybody",
        "own",
        "raw",
    ]
    origins = {run["task"].partition("\n")[0]: run["trigger"] for run in runs.values()}
    assert origins["own"] == {
        "kind": "topic",
        "name": "topic",
        "component": "broker",
        "topic": "agent.topic",
        "event_id": "1",
        "event_source": "shop",
    }
    assert (origins["everybody"]["name"], origins["Look at the order"]["topic"]) == ("broadcast", "orders.new")
    assert "event_id" not in origins["raw"]
    assert (await here.agent.run("chosen"))["trigger"] == origins["raw"]
    dead = await streams.events("dead")
    assert {(event["id"], event["data"]["topic"], event["data"]["reason"]) for event in dead} == {
        (dead[0]["id"], "orders.new", "the event is neither JSON nor text in UTF-8")
    }
    told = {event["data"]["run"]: event for event in await streams.events("results")}
    assert told.keys() == runs.keys()
    assert {(event["source"], event["type"], event["data"]["status"], event["data"]["result"]) for event in told.values()} == {
        ("agent", TYPE, "COMPLETED", "done")
    }
    assert len({event["id"] for event in await streams.events("results")}) == 5
    metrics = await _metrics(here.agent)
    for outcome in ("accepted", "repeated", "refused", "expired"):
        assert f'holdfast_events_total{{outcome="{outcome}",route="topic"}} 0.0' not in metrics
    assert 'holdfast_results_published_total{outcome="published"} 5.0' in metrics
    status, listed = await here.agent.call("GET", "/triggers")
    assert (status, [one["name"] for one in listed["triggers"]]) == (200, ["topic", "broadcast", "orders"])
    for headers in ({}, {"dapr-api-token": "wrong"}, {"dapr-api-token": "token-of-the-app", "dapr-caller-app-id": "other"}):
        status, _ = await here.agent.call("POST", "/events/topic", json={"task": "go"}, headers=headers)
        assert status == 403


async def test_a_broadcast_is_one_run_in_each_agent(redis_server, stage, start_dapr, tmp_path):
    store, broker = redis_server.component, redis_broker(redis_server.port)
    here = await stage(ANSWERS, store=store, resources=[broker], pubsub=TOPICS)
    (port,) = free_ports(1)
    config = here.config.model_copy(update={"name": "other"})
    made = [store, broker, model_component(here.script_url)]
    made += [subscription(name, spec, app_id="other") for name, spec in subscriptions(config).items()]
    dapr = await start_dapr(made, app_id="other", app_port=port, configuration={"api": api_spec(config)})
    other = agent_process(dapr.app_environ, config, tmp_path / "other", here.agent.session, port=port)
    streams = Streams(redis_server.port)
    try:
        await other.start()
        for _ in range(2):
            await streams.event("all", {"task": "everybody"}, name="1")
        for agent in (here.agent, other):
            await agent.until(_ended(agent, 1), within=60)
        await here.agent.until(lambda: _all_taken(streams), within=60)
        assert [len(await _runs(agent)) for agent in (here.agent, other)] == [1, 1]
        assert {event["data"]["agent"] for event in await streams.events("results")} == {"agent", "other"}
    finally:
        await other.process.stop(grace=10.0)


@pytest.mark.timeout(240)
async def test_events_that_come_while_everything_is_killed_are_one_run_each_and_every_end_is_told(redis_server, stage, tmp_path):
    script = {"rules": [{"turns": [{"answer": "done", "latency": "300ms"}]}]}
    store, broker = redis_server.component, redis_broker(redis_server.port)
    here = await stage(script, store=store, resources=[broker], pubsub=TOPICS)
    streams, names = Streams(redis_server.port), [str(number) for number in range(24)]

    async def publish():
        for name in names:
            await streams.event("agent.topic", {"task": f"task {name}"}, name=name)
            await asyncio.sleep(0.1)

    publishing = asyncio.create_task(publish())
    async with second_replica(here, tmp_path) as (other, daprd):
        for victim in ("agent", "daprd", "pair"):
            await asyncio.sleep(0.7)
            if victim == "agent":
                await here.agent.kill()
                await here.agent.start()
            elif victim == "daprd":
                await here.dapr.kill("daprd")
                await here.dapr.restart("daprd", wait=False)
            else:
                await asyncio.gather(other.kill(), daprd.kill())
        await publishing
        await here.agent.until(_ended(here.agent, len(names)), within=90)
    runs = await _runs(here.agent)
    assert sorted(run["task"] for run in runs.values()) == sorted(f"task {name}" for name in names)

    async def told():
        return {event["data"]["run"] for event in await streams.events("results")} == runs.keys()

    await here.agent.until(told, within=90)
    ids = [event["id"] for event in await streams.events("results")]
    assert len(set(ids)) == len(names)


async def test_what_cannot_be_taken_now_is_taken_later_and_a_broker_that_is_away_keeps_no_run_from_beginning_or_ending(redis_server, stage):
    script = {"rules": [{"turns": [{"answer": "done", "latency": "300ms"}]}]}
    limits = LimitsConfig(max_concurrent_runs=1)
    await redis_server.kill()  # so the sidecar does not find it when it starts
    here = await stage(script, resources=[redis_broker(redis_server.port)], pubsub=TOPICS, limits=limits, program=EAGER)
    streams = Streams(redis_server.port)
    first = await here.agent.ask("without a broker")
    assert (first["result"], "trigger" in first) == ("done", False)

    async def refused():
        return (await here.agent.run(first["id"]))["publishing"].get("message")

    assert "change spec.pubsub" in await here.agent.until(refused, within=60)
    await redis_server.start()
    for number in range(4):
        await streams.event("agent.topic", {"task": "go"}, name=str(number))
    runs = await here.agent.until(_ended(here.agent, 5), within=90)
    assert len(runs) == 5
    assert 'holdfast_events_total{outcome="postponed",route="topic"} 0.0' not in await _metrics(here.agent)
    await redis_server.kill()
    run = (await here.agent.ask("nobody hears", wait="60s"))["id"]
    await here.agent.kill()
    await redis_server.start()
    assert run not in {event["data"]["run"] for event in await streams.events("results")}
    await here.agent.start()

    async def told():
        return run in {event["data"]["run"] for event in await streams.events("results")}

    await here.agent.until(told, within=60)
    assert (await here.agent.run(run))["status"] == "COMPLETED"
