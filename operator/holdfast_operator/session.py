"""The HTTP session that Kopf watches through: what would end Kopf as a whole is mended here, in place.

Kopf gives up, and every watch with it, at an answer it does not expect: a 410 as the status of a watch, an error in a watch that is no
410, half an event, half a list, an error that it cannot read. All of these happen while an API server, its etcd or a proxy in front of it
is busy or restarted, and all of them mean the same: ask again. So they are told to Kopf as what it knows: a connection that failed, or a
410 in the stream. Only a kind that is not served any more needs more than that (`vanished`).
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import aiohttp
import kopf
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from holdfast_operator.cluster import asked_to_wait
from holdfast_operator.credentials import Credentials

logger = logging.getLogger(__name__)

_PAUSE = (0.5, 1.5)
_LIST_SECONDS = 30.0
_ERROR = b'"type":"ERROR"'
_GONE = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"the watch has failed"}}\n'


class Answer(ClientResponse):
    """An answer whose body is either whole or a failed connection."""

    _parsed: Any = None

    async def start(self, connection: Any) -> ClientResponse:  # noqa: ANN401 - aiohttp's own type is private
        """Read the head; the body of a watch is read by whole events."""
        await super().start(connection)
        if watches(self.url.query) and self.status < HTTPStatus.BAD_REQUEST:
            self.content = _Events(self.content)  # type: ignore[assignment]  # Kopf reads it by `iter_chunked`, nobody else does
        return self

    async def parse(self) -> None:
        """Read and parse the body.

        Raises:
            aiohttp.ClientConnectionError: it is not whole.
        """
        try:
            self._parsed = await super().json(content_type=None)
        except (ValueError, aiohttp.ClientPayloadError) as error:
            raise aiohttp.ClientConnectionError(f"half an answer: {error}") from None

    async def json(self, **options: Any) -> Any:  # noqa: ANN401 - JSON
        """What was parsed already."""
        return await super().json(**options) if self._parsed is None else self._parsed


class _Events:
    """The body of a watch: whole events only, and a 410 in place of any error."""

    def __init__(self, stream: aiohttp.StreamReader) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Chunks that end where an event ends."""
        left: list[bytes] = []
        async for chunk in self._stream.iter_chunked(size):
            head, newline, tail = chunk.rpartition(b"\n")
            if not newline:
                left.append(chunk)
                continue
            events = b"".join((*left, head, newline))
            left = [tail]
            if _ERROR not in events:
                yield events
                continue
            for event in events.splitlines(keepends=True):
                if not event.startswith(b'{"type":"ERROR"'):
                    yield event
                    continue
                logger.info("a watch has failed and starts anew: %s", event.decode(errors="replace").strip())
                await asyncio.sleep(random.uniform(*_PAUSE))  # noqa: S311 - spreads load, guards nothing
                yield _GONE
                return


def watches(query: Any) -> bool:  # noqa: ANN401 - a mapping of yarl
    """Whether a request is for a watch, as opposed to a list."""
    return bool(query.get("watch") == "true")


def connect(credentials: Credentials, *, listed: Callable[[], None], vanished: Callable[[], None]) -> kopf.AiohttpSession:
    """The session.

    Args:
        credentials: asked for each request, so that no watch has to end because a token is renewed.
        listed: called after each list of objects: what was deleted before it is in no event.
        vanished: called when a kind is not served any more.
    """
    info = credentials.current()
    base = URL(info.server).path.rstrip("/")

    async def ask(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        request.headers.update(credentials.current().as_http_headers())
        watching, objects = watches(request.url.query), _of_objects(request.url.path.removeprefix(base))
        answer = await handler(request)
        if answer.status < HTTPStatus.BAD_REQUEST:
            if not watching:
                await _whole(answer)
            if objects and not watching:
                listed()
            return answer
        if answer.status == HTTPStatus.GONE and (watching or "continue" in request.url.query):
            answer.release()
            logger.info("the %s of %s is too old and starts anew", "watch" if watching else "list", request.url.path)
            listed()
            return await _anew(request)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            credentials.renew()
        if answer.status == HTTPStatus.NOT_FOUND:
            if not objects:
                return answer
            vanished()
        raise await _failed(answer)

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        middlewares=(ask,),
        response_class=Answer,
        proxy=info.proxy_url,
        trust_env=info.trust_env,
    )
    return kopf.AiohttpSession(server=info.server, default_namespace=info.default_namespace, aiohttp_session=session)


async def _failed(answer: ClientResponse) -> aiohttp.ClientConnectionError:
    """What Kopf is told of an answer that is an error, in its words as far as they came; a busy server is given its time before.

    Kopf would end itself at words that are cut off or in no known encoding, as a proxy's may be. It would wait as long as Retry-After
    says, be it a day, and end itself at a date.
    """
    try:
        words = (await answer.text(errors="replace"))[:300].strip()
    except aiohttp.ClientPayloadError:
        words = "half an answer"
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        await asyncio.sleep(asked_to_wait(answer.headers) or 0.0)
    return aiohttp.ClientConnectionError(f"{answer.status} for {answer.url.path}: {words}")


async def _anew(request: ClientRequest) -> ClientResponse:
    """Ask without what is too old: a watch then begins with everything that exists, and a list that took too long with its first part.

    Kopf would ask for the rest of that list for ever; told twice, an object is no news.
    """
    url = request.url.without_query_params("resourceVersion", "continue")
    seconds = None if watches(url.query) else _LIST_SECONDS
    return await request.session.get(url, timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=5))


def _of_objects(path: str) -> bool:
    """Whether a path is that of a kind, as opposed to those where the kinds are listed."""
    kinds = {"api": 2, "apis": 3}  # parts of /api/VERSION and of /apis/GROUP/VERSION
    parts = path.strip("/").split("/")
    return len(parts) > kinds.get(parts[0], len(parts))


async def _whole(answer: ClientResponse) -> None:
    assert isinstance(answer, Answer)
    await answer.parse()
