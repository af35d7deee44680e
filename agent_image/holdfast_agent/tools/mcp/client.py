"""A client of one server: the session, the list of tools, a call. How messages travel is the transport's."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from holdfast_agent import scope
from holdfast_agent.outcome import Failure
from holdfast_agent.tools.http import IDEMPOTENCY_KEY
from holdfast_agent.tools.mcp import wire
from holdfast_agent.tools.mcp.transport import Transport
from holdfast_agent.tools.mcp.wire import McpError, Message, SessionLostError

CONNECT_SECONDS: Final = 15.0
"""Longest that the beginning of a session may take; a call that waits for it has its own limit besides."""
MAX_PAGES: Final = 64
_OF_ANOTHER_TIME: Final = frozenset({wire.UNSUPPORTED_VERSION, wire.METHOD_NOT_FOUND})


@dataclass
class Flight:
    """How far a call has got.

    Attributes:
        sent: it may have reached the server.
    """

    sent: bool = False

    def leaves(self) -> None:
        """It leaves now."""
        self.sent = True


class Client:
    """See `Remote`."""

    def __init__(self, transport: Transport, *, host: str) -> None:
        """Nothing is sent yet.

        Args:
            transport: the way to the server.
            host: of the server, for spans.
        """
        self._transport, self._host = transport, host
        self._numbers = itertools.count(1)
        self._version: str | None = None
        self._sessions = 0
        self._beginning = asyncio.Lock()

    @property
    def facts(self) -> dict[str, Any]:
        """What spans say of the server."""
        return {"server.address": self._host, "mcp.protocol.version": self._version}

    async def pages(self) -> AsyncIterator[list[Any]]:
        """The server's tools as it lists them, page by page.

        Raises:
            McpError: it does not.
        """
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            found = await self._request("tools/list", {"cursor": cursor} if cursor else {}, {}, Flight())
            tools = found.get("tools")
            if not isinstance(tools, list):
                raise McpError(wire.unusable("the server's list of tools is none"))
            yield tools
            following = found.get("nextCursor")
            if not isinstance(following, str) or following in ("", cursor):
                return
            cursor = following

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, flight: Flight) -> Message:
        """Call a tool; see `Remote`."""
        meta = {wire.KEY: key, **scope.headers()}
        params = {"name": name, "arguments": dict(arguments), "_meta": meta}
        return await self._request("tools/call", params, {IDEMPOTENCY_KEY: quote(key, safe="/-_.:~"), **scope.headers()}, flight)

    def stored(self, key: str) -> None:
        """Nothing is kept here of a call."""

    async def close(self) -> None:
        """End the session."""
        await self._transport.close()

    async def _request(self, method: str, params: Message, headers: Mapping[str, str], flight: Flight) -> Message:
        for last in (False, True):
            await self._begun()
            session = self._sessions
            try:
                return await self._exchange(method, params, headers, flight)
            except SessionLostError as error:
                flight.sent = False
                if session == self._sessions:
                    self._version = None
                if last:
                    raise McpError(replace(error.failure, reach="unsent")) from error
        raise AssertionError  # the second round returns or raises

    async def _exchange(self, method: str, params: Message, headers: Mapping[str, str], flight: Flight) -> Message:
        assert self._version
        more = {wire.VERSION_HEADER: self._version}
        if self._version == wire.STATELESS:
            params = params | {"_meta": {**params.get("_meta", {}), **wire.stateless_meta()}}
            more |= {"Mcp-Method": method} | ({"Mcp-Name": wire.header_value(params["name"])} if "name" in params else {})
        message = wire.request(next(self._numbers), method, params)
        try:
            return wire.result(await self._transport.exchange(message, {**headers, **more}, flight.leaves))
        except asyncio.CancelledError:
            if flight.sent and self._version != wire.STATELESS:
                self._call_off(message["id"], more)
            raise

    def _call_off(self, number: int, headers: Mapping[str, str]) -> None:
        """Tell the server that nobody waits any more; it may heed it or not."""

        async def tell() -> None:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._transport.notify(wire.notification("notifications/cancelled", {"requestId": number}), headers)
            except (McpError, TimeoutError, RuntimeError):
                pass  # the last: the agent is closing, and so is its connection

        _TOLD.add(task := asyncio.get_running_loop().create_task(tell()))
        task.add_done_callback(_TOLD.discard)

    async def _begun(self) -> None:
        """Have a session. What keeps it from beginning happens before a call is sent."""
        async with self._beginning:
            if self._version is not None:
                return
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    self._version = await self._begin()
            except McpError as error:
                raise McpError(replace(error.failure, reach="unsent"), code=error.code) from error
            except TimeoutError:
                told = f"the server did not begin a session within {CONNECT_SECONDS:g} s"
                raise McpError(Failure("transient", told, reach="unsent", public=told)) from None
            self._sessions += 1

    async def _begin(self) -> str:
        await self._transport.reset()
        message = wire.request(next(self._numbers), "initialize", wire.initialize())
        try:
            found = wire.result(await self._transport.exchange(message, {}, Flight().leaves))
        except McpError as error:
            if error.code in _OF_ANOTHER_TIME:
                return wire.STATELESS  # the next request shows whether it is
            raise
        version = found.get("protocolVersion")
        if version not in wire.VERSIONS:
            raise McpError(Failure("permanent", f"the server speaks version {wire.short(str(version))} of MCP, which is not known here"))
        await self._transport.notify(wire.notification("notifications/initialized"), {wire.VERSION_HEADER: str(version)})
        return str(version)


_TOLD: set["asyncio.Task[None]"] = set()
"""Tasks that are nobody's, held here so that they are not collected."""
