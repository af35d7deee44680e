"""MCP over streamable HTTP: each request is a POST, whose answer is JSON or a stream of events with the answer in it."""

import asyncio
import contextlib
import string
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import aiohttp
from yarl import URL

from holdfast_agent.tools.mcp import transport, wire
from holdfast_agent.tools.mcp.events import EventReader
from holdfast_agent.tools.mcp.transport import EVENTS, JSON, Http, Sent
from holdfast_agent.tools.mcp.wire import McpError, Message, SessionLostError

_ACCEPT: Final = {"Accept": f"{JSON}, {EVENTS}"}
_GONE: Final = 404
_BAD_REQUEST: Final = 400
_VISIBLE: Final = frozenset(string.ascii_letters + string.digits + string.punctuation)
_MAX_SESSION: Final = 1024
_BYE_SECONDS: Final = 1.0
_RESUMES: Final = 8
_RESUME_PAUSE: Final = 1.0


class StreamableHttp:
    """See `Transport`."""

    def __init__(self, url: str, http: Http, *, heard: Callable[[Message], None]) -> None:
        """Nothing is sent yet.

        Args:
            url: of the server.
            http: how to reach it.
            heard: told the notifications that come with answers.
        """
        self._url, self._http, self._heard = URL(url), http, heard
        self._session: str | None = None

    async def exchange(self, message: Message, headers: Mapping[str, str], sent: Sent) -> Message:
        """Send a request; see `Transport`."""
        known = self._session
        async with self._http.ask("POST", self._url, self._with_session(headers, known), body=message, sent=sent) as response:
            if transport.refused(response):
                return await self._refused(response, message, known)
            if message["method"] == "initialize":
                self._session = _session(response.headers.get(wire.SESSION_HEADER))
            if transport.kind(response) == EVENTS:
                reader = EventReader()
                found = await self._among(response, message, headers, reader)
            else:
                return self._only(await transport.body(response), message)
        return found or await self._resumed(message, headers, reader)

    def _only(self, said: bytes, message: Message) -> Message:
        for answer in wire.read(said):
            if wire.is_answer(answer, message["id"]):
                return answer
            self._tell(answer)
        raise McpError(wire.unusable("the server answered without an answer to what was asked"))

    async def _among(
        self, response: aiohttp.ClientResponse, message: Message, headers: Mapping[str, str], reader: EventReader
    ) -> Message | None:
        """The answer among the events; None: they ended without it, but can be had from where they ended."""
        asked = 0
        async for said in _messages(response, reader):
            if wire.is_answer(said, message["id"]):
                response.close()  # a server may keep it open for as long as it likes
                return said
            if wire.is_request(said):
                asked += 1
                if asked > transport.MAX_ASKED:
                    raise McpError(wire.unusable(f"the server asked more than {transport.MAX_ASKED} things of the client"))
                await self.notify(wire.answer_to(said), headers)
            self._tell(said)
        if reader.last_id is None:
            raise McpError(wire.unusable("the server's stream ended without an answer"))
        return None

    async def _resumed(self, message: Message, headers: Mapping[str, str], reader: EventReader) -> Message:
        """The answer from a stream that broke off and is asked for again, as a server may want it that answers late."""
        for _ in range(_RESUMES):
            await asyncio.sleep(_RESUME_PAUSE)
            more = {**self._with_session(headers, self._session), "Accept": EVENTS, "Last-Event-ID": reader.last_id or ""}
            async with self._http.ask("GET", self._url, more, sent=_nothing) as response:
                if transport.refused(response) or transport.kind(response) != EVENTS:
                    break
                if found := await self._among(response, message, headers, reader):
                    return found
        raise McpError(wire.unusable("the server's stream ended without an answer"))

    async def _refused(self, response: aiohttp.ClientResponse, message: Message, known: str | None) -> Message:
        said = await transport.body(response, transport.MAX_ERROR_BYTES)
        lost = response.status == _GONE or (response.status == _BAD_REQUEST and b"session" in said.lower())
        if known and lost:
            raise SessionLostError(transport.refusal(response, said).failure)
        if transport.kind(response) == JSON:
            with contextlib.suppress(McpError):
                found = next((each for each in wire.read(said) if wire.is_answer(each, message["id"])), None)
                if found and response.status < 500:  # noqa: PLR2004 - what may pass is told by the status, with its Retry-After
                    return found
        raise transport.refusal(response, said)

    async def notify(self, message: Message, headers: Mapping[str, str]) -> None:
        """Send a message that nobody answers; see `Transport`."""
        async with self._http.ask("POST", self._url, self._with_session(headers, self._session), body=message, sent=_nothing) as response:
            if transport.refused(response):
                raise transport.refusal(response, await transport.body(response, transport.MAX_ERROR_BYTES))

    async def reset(self) -> None:
        """Forget the session; see `Transport`."""
        self._session = None

    async def close(self) -> None:
        """End the session; see `Transport`."""
        if self._session:
            with contextlib.suppress(McpError, TimeoutError):
                async with (
                    asyncio.timeout(_BYE_SECONDS),
                    self._http.ask("DELETE", self._url, self._with_session({}, self._session), sent=_nothing),
                ):
                    pass
        self._session = None

    def _tell(self, message: Message) -> None:
        if "method" in message and "id" not in message:
            self._heard(message)

    @staticmethod
    def _with_session(headers: Mapping[str, str], session: str | None) -> dict[str, str]:
        return {**_ACCEPT, **headers, **({wire.SESSION_HEADER: session} if session else {})}


async def _messages(response: aiohttp.ClientResponse, reader: EventReader) -> AsyncIterator[Message]:
    async for chunk in response.content.iter_any():
        for event in reader.feed(chunk):
            if event.kind == "message":
                for message in wire.read(event.data):
                    yield message


def _session(given: str | None) -> str | None:
    if given is not None and not (0 < len(given) <= _MAX_SESSION and _VISIBLE.issuperset(given)):
        raise McpError(wire.unusable("the server's session id cannot be sent back"))
    return given


def _nothing() -> None:
    """What leaves here changes nothing."""
