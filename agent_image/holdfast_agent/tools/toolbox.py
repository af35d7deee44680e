"""All tools of one AgentConfig behind one `call`."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import chain
from typing import Any, Final

import aiohttp

from holdfast_agent import scope
from holdfast_agent.outcome import Failure
from holdfast_agent.tools.agent import AgentTool
from holdfast_agent.tools.agents import open_agents
from holdfast_agent.tools.http import HttpTool, secret_headers
from holdfast_agent.tools.python import open_python_tools
from holdfast_agent.tools.redaction import secrets_of
from holdfast_agent.tools.sources import Health, Source, find
from holdfast_agent.tools.spec import Pending, Tool, ToolboxError, ToolResult, ToolSpec
from holdfast_api.config import AgentConfig, ToolConfig
from holdfast_api.names import canonical

log = logging.getLogger(__name__)
_NAMES: Final = 32


class Toolbox:
    """The tools of one revision. Open it once, call it from many tasks, close it."""

    def __init__(self, tools: Mapping[str, Tool | Source], resources: AsyncExitStack) -> None:
        """Keep what `open` made."""
        self._tools, self._resources = tools, resources
        self._sources = [tool for tool in tools.values() if isinstance(tool, Source)]
        self._shown: tuple[ToolSpec, ...] = ()

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model sees now: the same object as long as nothing of it changes."""
        shown = tuple(chain.from_iterable(tool.specs if isinstance(tool, Source) else (tool.spec,) for tool in self._tools.values()))
        if [*map(id, shown)] != [*map(id, self._shown)]:
            self._shown = shown
        return self._shown

    @property
    def health(self) -> tuple[Health, ...]:
        """How those stand whose tools are not known beforehand."""
        return tuple(source.health for source in self._sources)

    @property
    def missing(self) -> list[str]:
        """Those of them, by their names in the configuration, that have nothing to offer because they cannot be reached."""
        return [source.name for source in self._sources if not source.health.up and not source.specs]

    async def settled(self) -> None:
        """Return once all of those were asked for their tools, or have had their time for that."""
        for source in self._sources:
            await source.settled()

    async def spec(self, name: str) -> ToolSpec | Failure:
        """What a tool looks like, or why that is not known."""
        tool = find(self._tools, name)
        if isinstance(tool, Source):
            return await tool.spec(name)
        return tool.spec if tool else self._unknown(name)

    @classmethod
    async def open(cls, config: AgentConfig, *, environ: Mapping[str, str]) -> "Toolbox":
        """Make every tool ready.

        Args:
            config: what the tools are.
            environ: variables that secret headers come from.

        Raises:
            ToolboxError: a tool cannot be offered; the message names the tool, the problem and the fix.
        """
        async with AsyncExitStack() as stack:
            _check_kinds(config)
            made: dict[str, Tool | Source] = {}
            for kind, open_kind in _KINDS.items():
                if of_kind := [tool for tool in config.tools if getattr(tool, kind)]:
                    made |= await open_kind(of_kind, environ, stack)
            agents = await open_agents(config, environ, stack)
            made |= agents
            return cls({tool.name: made.pop(tool.name) for tool in config.tools} | made, stack.pop_all())

    def longest(self, name: str) -> float:
        """Seconds that a call of that tool may take at most."""
        tool = self._tool(name)
        return tool.longest if tool else 0.0

    async def check(self, name: str, arguments: Mapping[str, Any]) -> Failure | None:
        """What is wrong with a call before it is made, so that nobody is asked about one that cannot be made; None: nothing.

        Args:
            name: as in `specs`.
            arguments: what the model gave.
        """
        tool = self._tool(name)
        return await tool.check(arguments) if tool else self._unknown(name)

    def agent(self, name: str) -> AgentTool | None:
        """The tool of that name if it reaches other agents."""
        tool = self._tools.get(name)
        return tool if isinstance(tool, AgentTool) else None

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> ToolResult | Failure | Pending:
        """Call a tool once, bounded by its time limit.

        Args:
            name: as in `specs`.
            arguments: what the model gave, unchecked.
            key: the call's idempotency key: equal for every attempt of the same call.
        """
        tool = self._tool(name)
        if tool is None:
            return self._unknown(name)
        if not isinstance(arguments, Mapping):
            return Failure("permanent", "invalid arguments: they must be a JSON object", reach="unsent")
        try:
            with scope.operation(scope.EXECUTE_TOOL, name, **self._facts(name)) as done:
                done.content["gen_ai.tool.call.arguments"] = lambda: canonical(dict(arguments))
                result = await tool.call(arguments, key=key)
                done.came_to(result)
                done.content["gen_ai.tool.call.result"] = lambda: result.content if isinstance(result, ToolResult) else result.message
        except Exception:
            # A defect of ours must end as an answer too: a raised error would be retried without end.
            log.exception("tool %s failed in an unforeseen way, key %s", name, key)
            return Failure("permanent", f"the tool {name!r} failed inside the agent; its log has the details", reach="lost")
        return result

    def stored(self, name: str, *, key: str) -> None:
        """What a call came to is stored: what is kept of it elsewhere, for a call that is repeated, can go."""
        found = find(self._tools, name)
        if isinstance(found, Source):
            found.stored(key)

    def _tool(self, name: str) -> Tool | None:
        found = find(self._tools, name)
        return found.function(name) if isinstance(found, Source) else found

    def _facts(self, name: str) -> dict[str, Any]:
        found = find(self._tools, name)
        return found.facts if isinstance(found, Source) else {}

    def _unknown(self, name: str) -> Failure:
        have = ", ".join(spec.name for spec in self.specs[:_NAMES]) or "none"
        return Failure("permanent", f"there is no tool {name!r}; there are: {have}", reach="unsent")

    async def close(self) -> None:
        """End connections and processes. Calls still running end with a failure."""
        await self._resources.aclose()


def _check_kinds(config: AgentConfig) -> None:
    seen = set()
    for tool in config.tools:
        if tool.name in seen:
            raise ToolboxError(f"tool {tool.name!r} is there twice: rename one of them")
        seen.add(tool.name)
        if sum(getattr(tool, kind) is not None for kind in (*_KINDS, "agent")) != 1:
            raise ToolboxError(f"tool {tool.name!r} is of a kind that this image does not know: use an image as new as the operator")


async def _open_http(tools: Sequence[ToolConfig], environ: Mapping[str, str], stack: AsyncExitStack) -> Mapping[str, Tool]:
    session = await stack.enter_async_context(_session())
    made = {}
    for tool in tools:
        if tool.http:
            headers = secret_headers(tool, tool.http, environ)
            made[tool.name] = HttpTool(tool, tool.http, headers, session, secrets_of(tool.http, environ))
    return made


async def _open_python(tools: Sequence[ToolConfig], environ: Mapping[str, str], stack: AsyncExitStack) -> Mapping[str, Tool]:
    pool, functions = await open_python_tools(tools, environ)
    stack.push_async_callback(pool.close)
    return dict(functions)


async def _open_mcp(tools: Sequence[ToolConfig], environ: Mapping[str, str], stack: AsyncExitStack) -> dict[str, Source]:
    from holdfast_agent.tools.mcp.opening import open_servers  # noqa: PLC0415 - for those who have such a tool

    session = await stack.enter_async_context(_session())
    return {server.name: server for server in await open_servers(tools, environ, session, stack)}


def _session() -> aiohttp.ClientSession:
    """One session for all tools: no cookies from one call to the next, proxies as the environment says."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"User-Agent": "holdfast-agent"},
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=64),
    )


Opener = Callable[[Sequence[ToolConfig], Mapping[str, str], AsyncExitStack], Awaitable[Mapping[str, Tool] | Mapping[str, Source]]]

_KINDS: Final[dict[str, Opener]] = {
    "http": _open_http,
    "python": _open_python,
    "mcp": _open_mcp,
}
"""The kinds of tools, by the field of `ToolConfig` that makes a tool one of them. What is opened is closed by the stack."""
