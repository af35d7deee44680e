"""MCP as it was before streamable HTTP: one stream of events to us, which also says where requests are POSTed to."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp
from yarl import URL

from holdfast_agent.outcome import Failure
from holdfast_agent.tools.mcp import transport, wire
from holdfast_agent.tools.mcp.events import EventReader
from holdfast_agent.tools.mcp.transport import EVENTS, Http, Sent
from holdfast_agent.tools.mcp.wire import McpError, Message, SessionLostError

_GONE: Final = frozenset({404, 410})
_ENDED: Final = "the server's stream of events ended"


class EventStream:
    """See `Transport`. The session is the connection."""

    def __init__(self, url: str, http: Http, *, heard: Callable[[Message], None]) -> None:
        """Nothing is opened yet; see `StreamableHttp`."""
        self._url, self._http, self._heard = URL(url), http, heard
        self._reading: asyncio.Task[None] | None = None
        self._posts: asyncio.Future[URL] | None = None
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._asked: asyncio.Queue[Message] = asyncio.Queue(transport.MAX_ASKED)

    async def exchange(self, message: Message, headers: Mapping[str, str], sent: Sent) -> Message:
        """Send a request; see `Transport`."""
        if message["method"] == "initialize":
            await self._open(headers)
        if self._reading is None or self._reading.done():
            raise SessionLostError(Failure("transient", _ENDED, reach="unsent", public=_ENDED))
        answer = self._waiting[message["id"]] = asyncio.get_running_loop().create_future()
        try:
            await self._post(message, headers, sent)
            found: Message = await answer
        finally:
            del self._waiting[message["id"]]
        return found

    async def notify(self, message: Message, headers: Mapping[str, str]) -> None:
        """Send a message that nobody answers; see `Transport`."""
        await self._post(message, headers, _nothing)

    async def _post(self, message: Message, headers: Mapping[str, str], sent: Sent) -> None:
        if self._posts is None or not self._posts.done() or self._posts.cancelled():
            raise SessionLostError(Failure("transient", _ENDED, reach="unsent", public=_ENDED))
        async with self._http.ask("POST", self._posts.result(), headers, body=message, sent=sent) as response:
            if transport.refused(response):
                refusal = transport.refusal(response, await transport.body(response, transport.MAX_ERROR_BYTES))
                raise SessionLostError(refusal.failure) if response.status in _GONE else refusal

    async def _open(self, headers: Mapping[str, str]) -> None:
        await self.reset()
        self._posts = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(headers, self._posts))
        await self._posts

    async def _read(self, headers: Mapping[str, str], posts: "asyncio.Future[URL]") -> None:
        """Read until the stream ends; whoever waits is told why."""
        failure = Failure("transient", _ENDED, reach="lost", public=_ENDED)
        try:
            async with self._http.ask("GET", self._url, {**headers, "Accept": EVENTS}, sent=_nothing) as response:
                await _check(response)
                answering = asyncio.create_task(self._answer(headers))
                try:
                    await self._follow(response, posts)
                finally:
                    answering.cancel()
        except McpError as error:
            failure = error.failure
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(McpError(failure))
            if not posts.done():
                posts.set_exception(McpError(failure))
                posts.exception()  # whoever waited may have given up

    async def _follow(self, response: aiohttp.ClientResponse, posts: "asyncio.Future[URL]") -> None:
        reader = EventReader(most=None)
        async for chunk in response.content.iter_any():
            for event in reader.feed(chunk):
                if event.kind == "endpoint" and not posts.done():
                    posts.set_result(self._endpoint(event.data))
                elif event.kind == "message":
                    for message in wire.read(event.data):
                        self._take(message)

    def _take(self, message: Message) -> None:
        if wire.is_request(message):
            with contextlib.suppress(asyncio.QueueFull):
                self._asked.put_nowait(message)
        elif "method" in message:
            self._heard(message)
        else:
            for number, waiting in self._waiting.items():
                if wire.is_answer(message, number) and not waiting.done():
                    waiting.set_result(message)
                    return

    async def _answer(self, headers: Mapping[str, str]) -> None:
        """What a server asks of us is answered one after the other; what it asks beyond that is dropped."""
        while True:
            asked = await self._asked.get()
            with contextlib.suppress(McpError):
                await self._post(wire.answer_to(asked), headers, _nothing)

    def _endpoint(self, told: str) -> URL:
        try:
            found = self._url.join(URL(told))
            elsewhere = found.origin() != self._url.origin()
        except ValueError:
            elsewhere = True
        if elsewhere:
            raise McpError(wire.unusable("the server names another origin to send requests to, which is not followed"))
        return found

    async def reset(self) -> None:
        """Close the stream; see `Transport`."""
        if self._reading:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([self._reading])
        self._reading = self._posts = None

    async def close(self) -> None:
        """Close the stream; see `Transport`."""
        await self.reset()


async def _check(response: aiohttp.ClientResponse) -> None:
    if transport.refused(response):
        raise transport.refusal(response, await transport.body(response, transport.MAX_ERROR_BYTES))
    if transport.kind(response) != EVENTS:
        raise McpError(wire.unusable("the server answers with no stream of events: is transport right?"))


def _nothing() -> None:
    """What leaves here changes nothing."""
