"""One MCP server of an agent: what it lists, whether it can be reached, and calls of its tools.

It is looked at in the background, again and again, so nothing about it keeps the agent from starting: while it is down its tools are
those that it had, or none, and calls of them fail; it is found again by itself. What it lists is never trusted to stay: each call is
checked against the newest list, and against `allow`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from holdfast_agent.failures import backoff
from holdfast_agent.outcome import Failure
from holdfast_agent.tools.mcp import schema
from holdfast_agent.tools.mcp.catalogue import Function, Reader
from holdfast_agent.tools.mcp.client import Flight
from holdfast_agent.tools.mcp.content import meaning
from holdfast_agent.tools.mcp.wire import McpError, Message
from holdfast_agent.tools.redaction import hidden, without
from holdfast_agent.tools.sources import Health, Source
from holdfast_agent.tools.spec import ToolResult, ToolSpec
from holdfast_api.config import ToolConfig

_LOG = logging.getLogger(__name__)
_EACH_SECONDS: Final = 60.0
"""How often the list of a server that answers is read anew."""
_LEAST_SECONDS: Final = 1.0
"""Between two looks, whatever asks for one."""
_LIST_SECONDS: Final = 30.0
_FIRST_SECONDS: Final = 5.0
"""How long the first turns after a start wait for servers to list their tools."""
_NAMES: Final = 20


class Remote(Protocol):
    """A server, however it is reached."""

    @property
    def facts(self) -> dict[str, Any]:
        """What spans say of it."""
        ...

    def pages(self) -> AsyncIterator[list[Any]]:
        """Its tools as it lists them. Raises McpError."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, flight: Flight) -> Message:
        """The result of a call of one of them. Raises McpError."""
        ...

    def stored(self, key: str) -> None:
        """What the call of that key came to is stored."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


class McpServer(Source):
    """See the module's text."""

    def __init__(self, tool: ToolConfig, remote: Remote, secrets: Sequence[str] = ()) -> None:
        """Nothing is asked yet.

        Args:
            tool: the item of the configuration, with an `mcp` part.
            remote: the server.
            secrets: what is sent to it and told to nobody else, should it send it back.
        """
        assert tool.mcp
        self.name, self._tool, self._remote, self._secrets = tool.name, tool, remote, secrets
        self._allow = None if tool.mcp.allow is None else frozenset(tool.mcp.allow)
        self._functions: dict[str, Function] = {}
        self.specs: tuple[ToolSpec, ...] = ()
        self.health = Health(tool.name, None, time.time())
        self._failed = 0
        self._wanted, self._looked = asyncio.Event(), asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._first = 0.0

    def start(self) -> None:
        """Look at it from now on."""
        self._first = asyncio.get_running_loop().time() + _FIRST_SECONDS
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Leave it alone."""
        if self._watching:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._remote.close()

    async def settled(self) -> None:
        """Return once it was asked for its tools, or has had its time for that since the start."""
        if self.health.up is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._first):
                    await self._looked.wait()

    def changed(self, notice: Message) -> None:
        """It says something by itself."""
        if notice.get("method") == "notifications/tools/list_changed":
            self._wanted.set()

    def function(self, name: str) -> "McpFunction":
        """The tool that the model calls by this name, whether there is one or not."""
        return McpFunction(self, name)

    @property
    def longest(self) -> float:
        """Seconds that a call takes at most."""
        return self._tool.timeout_seconds

    @property
    def facts(self) -> dict[str, Any]:
        """What spans say of a call."""
        return {"mcp.method.name": "tools/call", "holdfast.tool": self.name, **self._remote.facts}

    async def spec(self, name: str) -> ToolSpec | Failure:
        """What a tool looks like; see `Source`."""
        try:
            async with asyncio.timeout(self.longest):
                found = await self.find(name)
        except TimeoutError:
            return self._late(Flight())
        return found if isinstance(found, Failure) else found.spec

    def stored(self, key: str) -> None:
        """What a call came to is stored; see `Source`."""
        self._remote.stored(key)

    async def find(self, name: str) -> Function | Failure:
        """What the model calls by this name. A name that is not known may be newer than the list, so that is read anew, once."""
        if name not in self._functions:
            await self._look_soon()
        found = self._functions.get(name)
        if found is None and not self.health.up:
            reason = self.health.reason or "it has not listed its tools yet"
            told = f"the tools of the MCP server {self.name!r} are not known: {reason}"
            return Failure("transient", told, reach="unsent", public="the MCP server's tools are not known")
        if found is None or (self._allow is not None and found.remote not in self._allow):
            have = ", ".join(list(self._functions)[:_NAMES]) or "none"
            return Failure("permanent", f"there is no tool {name!r}; of this server there are: {have}", reach="unsent")
        return found

    async def check(self, name: str, arguments: Mapping[str, Any]) -> Failure | None:
        """Check a call; see `Tool.check`."""
        try:
            async with asyncio.timeout(self.longest):
                found = await self.find(name)
        except TimeoutError:
            return self._late(Flight())
        return found if isinstance(found, Failure) else _misfit(found, arguments)

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> ToolResult | Failure:
        """Call a tool; see `Tool.call`."""
        return without(await self._call(name, arguments, key=key), self._secrets)

    async def _call(self, name: str, arguments: Mapping[str, Any], *, key: str) -> ToolResult | Failure:
        flight = Flight()
        try:
            async with asyncio.timeout(self.longest):
                found = await self.find(name)
                if isinstance(found, Failure):
                    return found
                if wrong := _misfit(found, arguments):
                    return wrong
                return meaning(await self._remote.call(found.remote, arguments, key=key, flight=flight))
        except TimeoutError:
            return self._late(flight)
        except McpError as error:
            self._wanted.set()  # it may be down, or have other tools by now
            return error.failure if flight.sent else replace(error.failure, reach="unsent")

    def _late(self, flight: Flight) -> Failure:
        self._wanted.set()
        message = f"no complete answer within {self.longest:g} s"
        return Failure("transient", message, reach="lost" if flight.sent else "unsent", public=message)

    async def _look_soon(self) -> None:
        looked = self._looked
        self._wanted.set()
        await looked.wait()

    async def _watch(self) -> None:
        while True:
            self._wanted.clear()
            await self._look()
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await asyncio.sleep(_LEAST_SECONDS)
            pause = _EACH_SECONDS if self.health.up else backoff(f"mcp/{self.name}", self._failed)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()

    async def _look(self) -> None:
        reader = Reader(self.name, self._allow, self._tool.description, known=self._functions, secrets=self._secrets)
        try:
            async with asyncio.timeout(_LIST_SECONDS), contextlib.aclosing(self._remote.pages()) as pages:  # type: ignore[type-var]
                async for page in pages:
                    await asyncio.to_thread(_add, reader, page)
                    if reader.enough:
                        break
        except McpError as error:
            self._down(error.failure)
        except TimeoutError:
            told = f"it did not list its tools within {_LIST_SECONDS:g} s"
            self._down(Failure("transient", told, public=told))
        except Exception:  # noqa: BLE001 - a server that nobody thought of costs its tools and nothing else
            _LOG.exception("looking at an MCP server broke", extra={"tool": self.name})
            self._down(Failure("transient", "looking at it broke inside the agent; its log has the details"))
        else:
            self._up(reader)

    def _down(self, failure: Failure) -> None:
        self._failed += 1
        since = time.time() if self.health.up is not False else self.health.since
        told, reason = failure.public or failure.kind, hidden(failure.message, self._secrets)
        if self.health.up is not False or self.health.reason != reason:
            _LOG.warning("an MCP server is down: %s", told, extra={"tool": self.name, "functions": len(self._functions)})
        self.health = replace(self.health, up=False, since=since, reason=reason)

    def _up(self, reader: Reader) -> None:
        if not reader.enough:
            reader.missing()
        self._failed = 0
        was, functions = self.health, reader.functions
        specs = tuple(function.spec for function in functions.values())
        if was.up is not True or specs != self.specs:
            fresh = sorted(name for name, function in functions.items() if self._functions.get(name) != function)
            gone = sorted(self._functions.keys() - functions.keys())
            extra = {"tool": self.name, "functions": len(functions), "changed": fresh[:_NAMES], "gone": gone[:_NAMES]}
            _LOG.info("an MCP server is up", extra=extra)
        if reader.summary() and reader.summary() != was.left_out:
            _LOG.warning("tools of an MCP server are left out: see GET /tools", extra={"tool": self.name})
        if specs != self.specs:
            self.specs = specs
        self._functions = functions
        since = was.since if was.up else time.time()
        self.health = Health(self.name, up=True, since=since, functions=tuple(functions), left_out=reader.summary())


def _add(reader: Reader, page: list[Any]) -> None:
    try:
        reader.add(page)
    except BaseException as error:
        # Native code that panics raises what is no Exception, and would end the looking for good.
        raise RuntimeError("a list cannot be read") from error


def _misfit(function: Function, arguments: Mapping[str, Any]) -> Failure | None:
    wrong = schema.problem(function.check, arguments)
    return Failure("permanent", f"invalid arguments: {wrong}", reach="unsent") if wrong else None


@dataclass(frozen=True)
class McpFunction:
    """One tool of a server; see `Tool`."""

    server: McpServer
    name: str

    @property
    def spec(self) -> ToolSpec:
        """What the model sees, if it is known."""
        return next((spec for spec in self.server.specs if spec.name == self.name), ToolSpec(self.name, "", {"type": "object"}))

    @property
    def longest(self) -> float:
        """See `Tool.longest`."""
        return self.server.longest

    async def check(self, arguments: Mapping[str, Any]) -> Failure | None:
        """Check the arguments; see `Tool.check`."""
        return await self.server.check(self.name, arguments)

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> ToolResult | Failure:
        """Call it; see `Tool.call`."""
        return await self.server.call(self.name, arguments, key=key)
