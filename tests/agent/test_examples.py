"""Every example is what it says: valid, and an agent that runs."""

import json
from pathlib import Path

import pytest
import yaml

from holdfast_agent.local.documents import read
from holdfast_agent.scripted.script import parse
from holdfast_api.defaults import AgentDefaults
from holdfast_api.resolve import resolve
from holdfast_api.v1alpha1 import Broker, State
from tests.agent.brokers import Streams, redis_broker
from tests.agent.mcp_servers import ScriptedMcp

EXAMPLES = Path(__file__).parents[2] / "examples"
AGENTS = {
    "assistant.yaml": "Write a haiku",
    "trip-planner.yaml": "Plan a weekend in Zagreb",
    "travel-desk.yaml": "Book two seats to Split",
    "team.yaml": "Plan three days in Rovinj",
    "mcp.yaml": "How far is it by road from Split to Zadar?",
    "agents-as-tools.yaml": "Write a slogan for a kelp farm",
    "nightly.yaml": "Write the morning report.",
    "topics.yaml": "Write a haiku",
}


def _kinds(path):
    return {document["kind"] for document in yaml.safe_load_all(path.read_text())}


def _script():
    documents = yaml.safe_load_all((EXAMPLES / "scripted-model.yaml").read_text())
    return next(document["data"]["script.yaml"] for document in documents if document["kind"] == "ConfigMap")


def test_every_example_with_an_agent_is_known_here():
    found = {path.name for path in EXAMPLES.glob("*.yaml") if "Agent" in _kinds(path)}
    assert found == set(AGENTS)


@pytest.mark.parametrize("name", AGENTS)
def test_an_example_is_a_valid_agent_and_names_only_what_is_beside_it(name):
    agents = [document["metadata"]["name"] for document in yaml.safe_load_all((EXAMPLES / name).read_text()) if document["kind"] == "Agent"]
    for agent in agents:
        documents = read([EXAMPLES / name], name=agent)
        tools = documents.agent.spec.tools
        python = [tool.python for tool in tools if tool.python]
        assert all(ref.config_map_key_ref.key in documents.config_maps[ref.config_map_key_ref.name] for ref in python)
        assert {tool.agent.name for tool in tools if tool.agent} <= set(agents)
        assert set(documents.agent.spec.access.callers) <= set(agents)


def test_the_smallest_agent_has_ten_lines():
    lines = [line for line in (EXAMPLES / "assistant.yaml").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) <= 10


def test_the_scripted_model_of_the_examples_obeys_restricted_pod_security():
    documents = list(yaml.safe_load_all((EXAMPLES / "scripted-model.yaml").read_text()))
    pod = next(document for document in documents if document["kind"] == "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.dapr
async def test_the_assistant_answers(serve_script, command):
    url = await serve_script({"rules": [{"turns": [{"answer": "Holdfast in the tide"}]}]})
    command.write(*yaml.safe_load_all((EXAMPLES / "assistant.yaml").read_text()))
    code, out, err = await command("--task", AGENTS["assistant.yaml"], "--endpoint", f"{url}/v1")
    assert (code, out) == (0, "Holdfast in the tide\n"), err


@pytest.mark.dapr
async def test_the_trip_planner_finds_a_flight_and_holds_a_seat(serve_script, command):
    script = parse(_script()).model_dump(by_alias=True)
    script["tools"]["hold_seat"]["latency"] = "100ms"
    url = await serve_script(script)
    command.write(*yaml.safe_load_all((EXAMPLES / "trip-planner.yaml").read_text()))
    code, out, err = await command("--task", AGENTS["trip-planner.yaml"], "--map", f"http://scripted-model:8080={url}")
    assert (code, out) == (0, "Two seats to Zagreb with Croatia Airlines are held for an hour, 129.00 each.\n"), err
    assert '[{"airline":"Ryanair","price":87.9},{"airline":"Croatia Airlines","price":129.0}' in err
    assert '"reference": "HF-2906"' in err


@pytest.mark.dapr
async def test_the_navigator_asks_an_mcp_server(serve_script, command, serve):
    url, server = await serve_script(parse(_script())), ScriptedMcp()
    command.write(*yaml.safe_load_all((EXAMPLES / "mcp.yaml").read_text()))
    where = ("--map", f"http://scripted-model:8080={url}", "--map", f"http://maps:8000={await serve(server.handle)}")
    code, out, err = await command("--task", AGENTS["mcp.yaml"], *where)
    asked = [message["params"]["arguments"] for message in server.asked if message.get("method") == "tools/call"]
    assert (code, out, asked) == (0, "382.5 km.\n", [{"origin": "Split", "goal": "Zadar"}]), err


@pytest.mark.dapr
async def test_the_travel_desk_books_once_a_person_has_approved_and_remembers_it(serve_script, command):
    script = parse(_script()).model_dump(by_alias=True)
    script["tools"]["send_invoice"]["latency"] = "100ms"
    url = await serve_script(script)
    command.write(*yaml.safe_load_all((EXAMPLES / "travel-desk.yaml").read_text()))
    where = ("--map", f"http://scripted-model:8080={url}")

    code, out, err = await command("--task", AGENTS["travel-desk.yaml"], "--session", "ana", *where)
    assert (code, out) == (3, ""), err
    assert 'call 2.0, book_seats({"train": "IC 520", "passengers": 2}) needs approval' in err
    code, out, err = await command("--resume", "--approve", "2.0", *where)
    assert (code, json.loads(out)) == (0, {"booked": True, "reference": "TD-4411", "total": 58.4}), err

    code, out, err = await command("--task", AGENTS["travel-desk.yaml"], "--new", "--reject", "all", *where)
    assert (code, json.loads(out)) == (0, {"booked": False, "reference": None, "total": 0}), err
    assert "send_invoice" not in err

    code, out, err = await command("--task", "The same seats again", "--session", "ana", *where)
    assert (code, json.loads(out)["reference"]) == (0, "TD-4411"), err
    code, out, err = await command("--task", "The same seats again", "--session", "ivo", *where)
    assert (code, json.loads(out)["reference"]) == (0, None), err


@pytest.mark.dapr
async def test_the_clock_and_the_topics_of_the_examples_begin_runs(redis_server, stage):
    defaults = AgentDefaults(state=State(type="state.in-memory"), pubsub=Broker(type="pubsub.redis"))
    clock, listener = (resolve(read([EXAMPLES / name]).agent, defaults, {}).config for name in ("nightly.yaml", "topics.yaml"))
    here = await stage(
        parse(_script()).model_dump(by_alias=True),
        resources=[redis_broker(redis_server.port, name=listener.pubsub.component)],
        pubsub=listener.pubsub,
        triggers=clock.triggers + listener.triggers,
    )
    streams = Streams(redis_server.port)
    await streams.publish("assistant.topic", json.dumps({"task": AGENTS["topics.yaml"], "id": "haiku"}))
    await streams.publish("orders.new", json.dumps({"id": "order-7", "items": ["pears"]}))

    async def told():
        found = {event["data"]["run"]: event["data"]["result"] for event in await streams.events("assistant.results")}
        return found if len(found) == 2 else None

    results = await here.agent.until(told, within=60)
    assert results.pop("haiku") == "The holdfast lets go of nothing."
    ((run, result),) = results.items()
    assert (run.partition("-")[0], result) == ("orders", "The order has no address.")
    status, view = await here.agent.call("GET", "/triggers")
    assert (status, [one["name"] for one in view["triggers"]]) == (200, ["report", "queue", "topic", "broadcast", "orders"])
    assert all(one["next_tick"][14:16] in ("00", "15", "30", "45") for one in view["triggers"][:2])
