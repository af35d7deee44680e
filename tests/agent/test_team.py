"""A team as one of its members sees it: read anew, and only who lets it call."""

import json

import pytest

from holdfast_agent.outcome import Failure
from holdfast_agent.revisions import Revision
from holdfast_agent.tools import Toolbox, ToolboxError
from holdfast_api import names
from tests.agent.agents import agent_config, http_tool

MEMBERS = [
    {"name": "planner", "description": "Plans", "callers": []},
    {"name": "flights", "description": "Finds\nflights", "capabilities": ["search", "book"], "callers": ["planner"], "later": 1},
    {"name": "closed", "callers": ["desk"]},
]


def config(**more):
    return agent_config("http://nowhere", **{"name": "planner", "team": "travel", **more})


@pytest.fixture
def listed(tmp_path):
    """`listed(MEMBERS)` writes the list as Kubernetes does; gives the environment that says where it is."""

    def write(members):
        fresh = tmp_path / "fresh.json"
        fresh.write_text(members if isinstance(members, str) else json.dumps(members))
        fresh.rename(tmp_path / "members.json")
        return {names.ENV_TEAM: str(tmp_path / "members.json")}

    return write


async def opened(environ, **more):
    return await Revision.open(config(**more), environ)


def prompt(revision):
    [message] = revision.preamble
    return message.of_system.content[0].text


async def test_the_prompt_tells_of_members_that_may_be_asked_as_they_come_and_go(listed):
    revision = await opened(listed(MEMBERS))
    try:
        first = prompt(revision)
        assert first.startswith("You are the prompt that must not leak.\n\nYou belong to the team 'travel'.")
        assert "- flights: Finds flights (can: search; book)" in first
        assert "closed" not in first
        listed([*MEMBERS, {"name": "hotels", "callers": ["planner"]}])
        assert prompt(revision).endswith("- hotels")
        listed("no JSON")
        assert prompt(revision).endswith("- hotels")
        listed([MEMBERS[0]])
        assert "No other member can be asked" in prompt(revision)
    finally:
        await revision.toolbox.close()


async def test_a_team_whose_list_is_not_there_yet_keeps_nobody_from_working(tmp_path):
    revision = await opened({names.ENV_TEAM: str(tmp_path / "none.json")})
    assert "No other member can be asked" in prompt(revision)
    await revision.toolbox.close()


async def test_who_has_no_team_is_told_nothing_of_one_and_has_no_tool_for_it():
    revision = await opened({}, team=None)
    assert prompt(revision) == "You are the prompt that must not leak."
    assert revision.toolbox.specs == ()
    await revision.toolbox.close()


async def test_whoever_is_not_in_the_team_cannot_be_asked(listed):
    toolbox = await Toolbox.open(config(), environ=listed(MEMBERS))
    try:
        assert [spec.name for spec in toolbox.specs] == [names.TEAM_TOOL]
        assert await toolbox.check(names.TEAM_TOOL, {"name": "flights", "task": "go"}) is None
        for name in ("stranger", "planner", "../flights"):
            wrong = await toolbox.check(names.TEAM_TOOL, {"name": name, "task": "go"})
            assert isinstance(wrong, Failure)
            assert "there is: flights" in wrong.message
        missing = await toolbox.check(names.TEAM_TOOL, {"name": "flights"})
        assert missing
        assert "'task' is a required property" in missing.message
    finally:
        await toolbox.close()


async def test_a_tool_of_the_teams_name_is_refused(listed):
    with pytest.raises(ToolboxError, match="rename this one"):
        await Toolbox.open(config(tools=(http_tool("http://nowhere", names.TEAM_TOOL),)), environ=listed(MEMBERS))
