"""What a way to an MCP server has to offer, and what all ways over HTTP have in common."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Protocol

import aiohttp
from yarl import URL

from holdfast_agent.outcome import Failure
from holdfast_agent.tools import reply
from holdfast_agent.tools.mcp.wire import MAX_MESSAGE_BYTES, McpError, Message, short, unusable

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
MAX_REDIRECTS: Final = 5
MAX_ERROR_BYTES: Final = 64 * 1024
MAX_ASKED: Final = 32
"""What a server may ask of us in one stream."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD: Final = frozenset({307, 308})
_NO_CREDENTIALS: Final = frozenset({401, 403})
_CLIENT_ERROR: Final = 400

Sent = Callable[[], None]
"""Called right before a request leaves, after which nobody can say that it did not."""


class Transport(Protocol):
    """A way to one server."""

    async def exchange(self, message: Message, headers: Mapping[str, str], sent: Sent) -> Message:
        """Send a request, and wait for the message that answers it.

        Raises:
            McpError: there is none. SessionLostError: it was not carried out, because the session is over.
        """
        ...

    async def notify(self, message: Message, headers: Mapping[str, str]) -> None:
        """Send a message that nobody answers. Raises McpError."""
        ...

    async def reset(self) -> None:
        """Forget the session."""
        ...

    async def close(self) -> None:
        """End the session, and tell the server so if it can be done at once."""
        ...


class Http:
    """Requests to one origin, bounded in what is read and where they are led."""

    def __init__(self, session: aiohttp.ClientSession, headers: Mapping[str, str]) -> None:
        """Keep the session, and the headers that go to that origin alone."""
        self._session, self._headers = session, dict(headers)

    @asynccontextmanager
    async def ask(
        self, method: str, url: URL, headers: Mapping[str, str], *, body: Message | None = None, sent: Sent
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a request. Redirects are followed if they lead to the same origin and change nothing else.

        Raises:
            McpError: the server cannot be reached, breaks off, or redirects elsewhere.
        """
        hop = 0
        try:
            while True:
                sent()
                async with self._session.request(
                    method, url, headers={**self._headers, **headers}, json=body, allow_redirects=False
                ) as got:
                    if got.status not in _REDIRECTS or not (target := got.headers.get("Location")):
                        yield got
                        return
                    following = _followed(url, target, got.status if method != "GET" else min(_SAME_METHOD))
                hop += 1
                if hop > MAX_REDIRECTS:
                    raise McpError(unusable(f"more than {MAX_REDIRECTS} redirects"))
                url = following
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(url, error, reach="lost" if hop else "unsent") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreachable(url, error, reach="lost") from error


def _followed(url: URL, target: str, status: int) -> URL:
    """Where a redirect leads. Whoever redirects may have done what was asked before.

    Raises:
        McpError: it is not followed.
    """
    try:
        following = url.join(URL(target))
        elsewhere = following.origin() != url.origin()
    except ValueError:
        raise McpError(unusable("redirected to what is no URL")) from None
    if elsewhere:
        raise McpError(
            unusable(
                f"redirected to {short(str(following.origin()))}, which is not followed: set url to where it leads",
                "redirected to another origin",
            )
        )
    if status not in _SAME_METHOD:
        raise McpError(unusable(f"POST was redirected with {status}, after which servers disagree: set url to where it leads"))
    return following


def _unreachable(url: URL, error: Exception, *, reach: str) -> McpError:
    told = f"cannot reach {url.host}: {str(error) or type(error).__name__}"
    failure = Failure("transient", told, public=f"no connection: {type(error).__name__}")
    return McpError(replace(failure, reach="unsent" if reach == "unsent" else "lost"))


async def body(response: aiohttp.ClientResponse, most: int = MAX_MESSAGE_BYTES) -> bytes:
    """The whole body.

    Raises:
        McpError: it is too long.
    """
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > most:
            response.close()
            raise McpError(unusable(f"the answer is longer than {most // 1024} KiB"))
    return bytes(found)


def kind(response: aiohttp.ClientResponse) -> str:
    """The media type."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def refused(response: aiohttp.ClientResponse) -> bool:
    """Whether the status says no."""
    return response.status >= _CLIENT_ERROR


def refusal(response: aiohttp.ClientResponse, said: bytes) -> McpError:
    """What a status that says no comes to."""
    found = reply.meaning(response.status, response.headers, said, charset=response.charset, now=datetime.now(UTC))
    assert isinstance(found, Failure)
    hint = ": the server does not accept the credentials, see headersFrom" if response.status in _NO_CREDENTIALS else ""
    return McpError(replace(found, message=f"{found.message}{hint}", public=f"HTTP {response.status}"))
