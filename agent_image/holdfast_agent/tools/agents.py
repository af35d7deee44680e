"""The tools of one agent that reach other agents: one for each `agent` tool, and one for its whole team."""

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import aiohttp

from holdfast_agent.outcome import Failure
from holdfast_agent.team import Team
from holdfast_agent.tools.agent import TASK, Address, AgentTool
from holdfast_agent.tools.invocation import Invoker
from holdfast_agent.tools.spec import ToolboxError, ToolSpec
from holdfast_api import names
from holdfast_api.config import AgentConfig, ToolConfig

_NAME: Final = re.compile(names.AGENT_NAME)


async def open_agents(config: AgentConfig, environ: Mapping[str, str], stack: AsyncExitStack) -> dict[str, AgentTool]:
    """Make them ready.

    Args:
        config: the agent that calls.
        environ: says where its sidecar and its team's list are.
        stack: closes what is opened.

    Raises:
        ToolboxError: a tool names what cannot be an agent, or has the name of the team's tool.
    """
    tools = [tool for tool in config.tools if tool.agent]
    if config.team and any(tool.name == names.TEAM_TOOL for tool in config.tools):
        raise ToolboxError(f"tool {names.TEAM_TOOL!r}: members of a team have a tool of that name by themselves: rename this one")
    if not tools and not config.team:
        return {}
    session = await stack.enter_async_context(
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0))
    )
    invoker = Invoker(session, environ)

    def made(tool: ToolConfig, spec: ToolSpec, address: Address) -> AgentTool:
        return AgentTool(spec, tool, address, invoker, agent=config.name, max_depth=config.limits.max_depth)

    found = {tool.name: made(tool, _spec(tool), _fixed(tool)) for tool in tools}
    if config.team and (tool := config.tool(names.TEAM_TOOL)):
        found[tool.name] = made(tool, team_spec(config.team), Team.of(config, environ).address)
    return found


def team_spec(team: str) -> ToolSpec:
    """What the model sees of the tool by which it asks its team. Who is in it stands in the prompt, because that changes."""
    description = (
        f"Ask another member of your team {team!r} to do something and wait for the answer. The members and what they can do are in your "
        "instructions. Members that do not depend on each other's answers can be asked in the same turn."
    )
    member = {"type": "string", "minLength": 1, "maxLength": 63, "description": "Name of the member, as your instructions have it."}
    schema = {"type": "object", "properties": {"name": member, "task": TASK}, "required": ["name", "task"], "additionalProperties": False}
    return ToolSpec(names.TEAM_TOOL, description, schema)


def _spec(tool: ToolConfig) -> ToolSpec:
    assert tool.agent
    description = tool.description or f"Ask the agent {tool.agent.name!r} to do something and wait for its answer."
    schema = {"type": "object", "properties": {"task": TASK}, "required": ["task"], "additionalProperties": False}
    return ToolSpec(tool.name, description, schema)


def _fixed(tool: ToolConfig) -> Address:
    target = (tool.agent and tool.agent.name) or ""
    if not _NAME.fullmatch(target):
        raise ToolboxError(f"tool {tool.name!r}: agent.name is {target!r}, which is no name of an Agent: use that of one in this namespace")

    def address(arguments: Mapping[str, Any], *, begun: bool) -> str | Failure:  # noqa: ARG001 - it is the same agent always
        return target

    return address
