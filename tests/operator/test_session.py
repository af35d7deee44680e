"""What Kopf hears of an API server that fails: never anything that ends it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from holdfast_operator import cluster
from holdfast_operator.backoff import Backoffs
from holdfast_operator.credentials import Credentials
from holdfast_operator.session import connect

AGENTS = "/apis/holdfast.dev/v1alpha1/agents"
EVENT = b'{"type":"ADDED","object":{"kind":"Agent","metadata":{"name":"a"}}}\n'
FAILED = b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcdserver: no leader"}}\n'

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Told:
    """What the session said to the operator."""

    def __init__(self) -> None:
        self.listed, self.vanished, self.tokens = 0, 0, 0

    def hear_list(self) -> None:
        self.listed += 1

    def hear_vanished(self) -> None:
        self.vanished += 1


class Watched:
    """A session to a server of the test."""

    def __init__(self, url: str) -> None:
        self.told = Told()
        self.context = connect(
            Credentials(lambda: self._info(url)),
            listed=self.told.hear_list,
            vanished=self.told.hear_vanished,
        )
        self.session, self.url = self.context.aiohttp_session, url

    def _info(self, url: str) -> kopf.ConnectionInfo:
        self.told.tokens += 1
        return kopf.ConnectionInfo(server=url, token=f"token-{self.told.tokens}")

    async def get(self, path: str) -> aiohttp.ClientResponse:
        return await self.session.get(f"{self.url}{path}")

    async def events(self, path: str = f"{AGENTS}?watch=true&resourceVersion=7") -> bytes:
        answer = await self.get(path)
        return b"".join([chunk async for chunk in answer.content.iter_chunked(2**20)])


Connect = Callable[[Serve], Awaitable[Watched]]


@pytest.fixture
async def connected() -> AsyncIterator[Connect]:
    opened: list[tuple[TestServer, Watched]] = []

    async def start(serve: Serve) -> Watched:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", serve)
        server = TestServer(app)
        await server.start_server()
        opened.append((server, Watched(f"http://127.0.0.1:{server.port}")))
        return opened[-1][1]

    yield start
    for server, watched in opened:
        await watched.session.close()
        await server.close()


def stream(*parts: bytes) -> Serve:
    async def serve(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for part in parts:
            await answer.write(part)
            await asyncio.sleep(0.01)
        return answer

    return serve


async def test_a_410_in_place_of_a_watch_becomes_a_watch_of_everything(connected: Connect) -> None:
    asked: list[str | None] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("resourceVersion"))
        if request.query.get("resourceVersion"):
            return web.json_response({"kind": "Status", "code": 410}, status=410)
        return await stream(EVENT)(request)

    watched = await connected(serve)

    assert await watched.events() == EVENT
    assert asked == ["7", None]
    assert watched.told.listed == 1


async def test_the_rest_of_a_list_that_is_too_old_becomes_its_beginning(connected: Connect) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        if request.query.get("continue") == "old":
            return web.json_response({"kind": "Status", "code": 410}, status=410)
        return web.json_response({"items": [{"limit": request.query["limit"]}], "metadata": {"continue": "new"}})

    watched = await connected(serve)
    answer = await watched.get(f"{AGENTS}?limit=100&continue=old")

    assert await answer.json() == {"items": [{"limit": "100"}], "metadata": {"continue": "new"}}


async def test_an_error_in_a_watch_is_told_as_a_410_and_nothing_after_it(connected: Connect) -> None:
    watched = await connected(stream(EVENT, EVENT + FAILED + EVENT))

    lines = (await watched.events()).splitlines()

    assert [json.loads(line)["type"] for line in lines] == ["ADDED", "ADDED", "ERROR"]
    assert json.loads(lines[-1])["object"]["code"] == 410


async def test_events_that_come_in_pieces_are_put_together_and_half_an_event_is_dropped(connected: Connect) -> None:
    watched = await connected(stream(EVENT[:10], EVENT[10:20], EVENT[20:] + EVENT[:5], EVENT[5:] + EVENT[:30]))

    assert await watched.events() == EVENT + EVENT


async def test_an_agent_whose_text_looks_like_an_error_is_an_event(connected: Connect) -> None:
    event = b'{"type":"ADDED","object":{"metadata":{"annotations":{"x":{"type":"ERROR"}}}}}\n'
    watched = await connected(stream(event))

    assert await watched.events() == event


async def test_half_a_list_is_a_failed_connection_and_a_whole_one_is_told(connected: Connect) -> None:
    bodies = [b'{"items":[{"met', b'{"items":[]}']

    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bodies.pop(0), content_type="application/json")

    watched = await connected(serve)

    with pytest.raises(aiohttp.ClientConnectionError, match="half an answer"):
        await watched.get(AGENTS)
    assert watched.told.listed == 0
    answer = await watched.get(AGENTS)
    assert await answer.json() == {"items": []}
    assert watched.told.listed == 1


@pytest.mark.parametrize(
    ("status", "path"), [(400, AGENTS), (403, AGENTS), (405, AGENTS), (410, AGENTS), (422, "/apis"), (500, AGENTS), (503, "/apis")]
)
async def test_an_error_is_a_failed_connection(connected: Connect, status: int, path: str) -> None:
    watched = await connected(_always(status))

    with pytest.raises(aiohttp.ClientConnectionError, match=str(status)):
        await watched.get(path)
    assert watched.told.vanished == 0


@pytest.mark.parametrize("path", ["/apis/dapr.io/v1alpha1", "/api/v1"])
async def test_kinds_that_are_not_there_are_left_to_kopf(connected: Connect, path: str) -> None:
    watched = await connected(_always(404))

    answer = await watched.get(path)

    assert answer.status == 404
    assert watched.told.vanished == watched.told.listed == 0


@pytest.mark.parametrize(
    ("body", "length", "said"),
    [(b"Bad Gateway", 500, "half an answer"), ("Passerelle erronée".encode("latin-1"), 18, "Passerelle")],
    ids=["cut-off", "another-encoding"],
)
async def test_an_error_whose_words_cannot_be_read_is_a_failed_connection(connected: Connect, body: bytes, length: int, said: str) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=502, headers={"Content-Type": "text/html", "Content-Length": str(length)})
        await answer.prepare(request)
        await answer.write(body)
        assert request.transport
        request.transport.close()
        return answer

    watched = await connected(serve)

    with pytest.raises(aiohttp.ClientConnectionError, match=f"502 .* {said}"):
        await watched.get(AGENTS)


@pytest.mark.parametrize(
    "said", ["", "0", "86400", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT"], ids=["nothing", "at-once", "a-day", "for-ever", "a-date"]
)
async def test_whatever_a_busy_server_asks_for_it_is_a_failed_connection_after_a_minute_at_most(
    connected: Connect, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(cluster, "LONGEST_WAIT", 0.2)

    async def serve(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, text="Too many requests", headers={"Retry-After": said} if said else {})

    watched = await connected(serve)

    with pytest.raises(aiohttp.ClientConnectionError, match=r"429 .* Too many requests"):
        await asyncio.wait_for(watched.get(AGENTS), 10)


async def test_a_kind_that_is_not_served_any_more_is_told(connected: Connect) -> None:
    watched = await connected(_always(404))

    with pytest.raises(aiohttp.ClientConnectionError, match="404"):
        await watched.get(AGENTS)
    assert watched.told.vanished == 1


async def test_a_token_that_is_refused_is_read_again(connected: Connect) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        known = request.headers["Authorization"] == "Bearer token-2"
        return web.json_response({"items": []}, status=200 if known else 401)

    watched = await connected(serve)

    with pytest.raises(aiohttp.ClientConnectionError, match="401"):
        await watched.get(AGENTS)
    assert (await watched.get(AGENTS)).status == 200


def test_attempts_go_on_for_ever_a_few_seconds_apart() -> None:
    waits = [wait for wait, _ in zip(Backoffs(), range(50), strict=False)]

    assert max(waits[:1]) < 1
    assert all(3 < wait < 7 for wait in waits[5:])


def _always(status: int) -> Serve:
    async def serve(_: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "code": status}, status=status)

    return serve
