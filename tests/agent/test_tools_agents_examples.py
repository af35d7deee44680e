"""The examples with several agents, as they are: from their YAML to sidecars with the access control that the operator makes."""

from pathlib import Path

import pytest
import yaml

from holdfast_agent.scripted.script import parse
from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import resolve
from holdfast_operator.desired import team as desired
from tests.agent.families import child_run
from tests.agent.otlp import receiving

pytestmark = [pytest.mark.dapr, pytest.mark.timeout(240)]
EXAMPLES = Path(__file__).parents[2] / "examples"
PLAN = "By bus from Pula in 40 minutes, then three nights in the old town for 210.00."
STATE = AgentDefaults.model_validate({"state": {"component": "state"}})


def agents(name):
    """The Agents of an example as the API server has them, by name, and the fields of their configurations."""
    found = {}
    for document in yaml.safe_load_all((EXAMPLES / name).read_text()):
        document["metadata"] |= {"namespace": "default", "uid": document["metadata"]["name"]}
        config = resolve(parse_agent(document), STATE, {}).config
        wanted = ("system_prompt", "description", "team", "callers", "tools", "limits", "capabilities")
        found[config.name] = (document, {field: getattr(config, field) for field in wanted})
    return found


async def _traced(collector, caller, called):
    """Whether the span of the called agent's run is under that of the call, in one trace with the caller's run."""
    spans = {span.id: span for span in collector.spans}
    runs = {span.service: span for span in collector.spans if span.name == f"invoke_agent {span.service}"}
    if not {caller, called} <= runs.keys():
        return False
    above = spans.get(runs[called].parent)
    return above and (above.service, above.name, above.trace) == (caller, "execute_tool judge", runs[caller].trace)


@pytest.fixture
async def collector():
    async with receiving() as receiver:
        yield receiver


async def test_a_team_and_a_critic_answer_as_their_examples_say(family, tmp_path, collector, eventually):
    documents = list(yaml.safe_load_all((EXAMPLES / "scripted-model.yaml").read_text()))
    script = parse(documents[0]["data"]["script.yaml"]).model_dump(by_alias=True)
    planner = next(rule for rule in script["rules"] if rule["task"] and "rovinj$" in rule["task"])
    planner["system"] = r"(?s)- lodging: Knows hotels.*\(can: .*- transport: Knows trains, buses and ferries"
    team, pair = agents("team.yaml"), agents("agents-as-tools.yaml")
    list_ = desired.team("default", "travel", [document for document, _ in team.values()])
    (tmp_path / "members.json").write_text(list_["data"]["members.json"])
    traced = {"environ": {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}}
    house = await family(script, **{name: fields | traced for name, (_, fields) in (team | pair).items()})

    answer = await house["travel-planner"].ask("Plan three days in Rovinj", wait="60s", id="plan")
    assert answer["result"] == PLAN
    steps = [step["output"] for step in await house["travel-planner"].steps("plan") if step["kind"] == "tool"]
    assert steps == ["By bus from Pula, 40 minutes, 8.00.", "A room in the old town, 70.00 a night."]
    child = await child_run(house["travel-planner"], "travel-planner", "plan", 1)
    assert (await house["lodging"].run(child))["callers"] == ["travel-planner"]

    written = await house["writer"].ask("Write a slogan for a kelp farm", wait="60s", id="slogan")
    assert written["result"] == "Hold fast, grow tall."
    assert [step["output"] for step in await house["writer"].steps("slogan") if step["kind"] == "tool"] == [
        "It is dull. Say what kelp does."
    ]
    await eventually(lambda: _traced(collector, "writer", "critic"), within=30.0)
    assert await house.members["writer"].invoke("lodging", "POST", "/run") == 403
    assert await house.members["critic"].invoke("writer", "POST", "/run") == 404
    status, card = await house["lodging"].call("GET", "/.well-known/agent-card.json", token=None)
    assert (status, card["name"], [skill["id"] for skill in card["skills"]]) == (200, "lodging", ["run"])
