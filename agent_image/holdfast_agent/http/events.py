"""A run as server-sent events.

`step` events are the settled steps of the timeline, in its order and each once; the id is the step's place, so whoever reconnects with the
last id goes on behind it, on any replica and after any restart. A step that is settled waits for those before it in the timeline. `status`
events tell how the run stands whenever that changes; they have no id and are not repeated. `end` closes the stream; who comes back with
its id gets 204, which tells a browser to stay away.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Final

from aiohttp import web

from holdfast_agent import documents
from holdfast_agent.documents import Head
from holdfast_agent.http import places, requests, views
from holdfast_agent.http.parts import Parts
from holdfast_agent.http.places import Place
from holdfast_agent.http.problems import Handler, Problem
from holdfast_agent.http.site import RETRY_AFTER, Site, run_of
from holdfast_agent.http.steps import OPEN, View, compensations, steps
from holdfast_agent.http.watch import POLL_SECONDS, Look, Watch
from holdfast_agent.store import StoreError
from holdfast_agent.timelines import last_turn

_LOG = logging.getLogger(__name__)
LISTENERS: Final = 256
"""Streams at once in one process. As many cost 9 MiB; when they watch 64 runs, 13 % of a core, and one run, 4 % (on 2 busy cores)."""
HEARTBEAT_SECONDS: Final = 15.0
_SLOW_SECONDS: Final = 30.0
_RETRY_MILLISECONDS: Final = 1000
_HEADERS: Final = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventRoutes:
    """Code of the operation that streams a run."""

    def __init__(self, site: Site) -> None:
        self._site, self._listening = site, 0

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {"events": self._events}

    async def _events(self, request: web.Request) -> web.StreamResponse:
        run, place = run_of(request), _place(request)
        head = await self._site.head(run)
        if place == places.END:
            return web.Response(status=204)
        if request.method == "HEAD":
            return web.Response(headers=_HEADERS)
        if self._listening >= LISTENERS:
            fix = "ask again later, or read /runs/{id}/steps"
            raise Problem(429, f"there are {LISTENERS} streams already", fix=fix, headers=RETRY_AFTER)
        self._listening += 1
        try:
            return await self._stream(request, head, place)
        finally:
            self._listening -= 1

    async def _stream(self, request: web.Request, head: Head, place: Place) -> web.StreamResponse:
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        listener = _Listener(request, response)
        try:
            await listener.send(f"retry: {_RETRY_MILLISECONDS}\n\n")
            await self._follow(listener, head.id, place)
        except (ConnectionError, TimeoutError):
            listener.abort()
        return response

    async def _follow(self, listener: "_Listener", run: str, place: Place) -> None:
        """Until the run has ended, the listener has gone, or this process disconnects."""
        watch, told = self._site.watches.of(run), ""
        while (parts := self._site.parts) and not listener.gone:
            try:
                look = await watch.look(parts)
                async for step in _following(parts, look, place):
                    await listener.event("step", step, id=step["id"])
                    place = places.place(step["id"])
            except StoreError as error:
                _LOG.warning("a stream waits for the store: %s", error, extra={"run": run})
                await self._pause(watch, listener)
                continue
            if look.head is None:
                return
            if look.head.terminal:
                await listener.event("end", views.run(look.head), id=places.END_ID)
                return
            status = views.run(look.head, look.timeline)
            if (text := json.dumps(status)) != told:
                await listener.event("status", status)
                told = text
            await self._pause(watch, listener)

    async def _pause(self, watch: Watch, listener: "_Listener") -> None:
        await listener.beat()
        await watch.wait(POLL_SECONDS)


class _Listener:
    """One client of a stream."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request, self._response, self._sent = request, response, 0.0

    @property
    def gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()

    async def event(self, name: str, document: View, *, id: str | None = None) -> None:  # noqa: A002 - the field's name
        head = f"event: {name}\n" + (f"id: {id}\n" if id is not None else "")
        await self.send(f"{head}data: {json.dumps(document, ensure_ascii=False, separators=(',', ':'))}\n\n")

    async def beat(self) -> None:
        """Something now and then, so that neither side takes a silent connection for a dead one."""
        if asyncio.get_running_loop().time() - self._sent > HEARTBEAT_SECONDS:
            await self.send(": still here\n\n")

    async def send(self, text: str) -> None:
        """Raises TimeoutError if the client does not read, ConnectionError if it has gone."""
        async with asyncio.timeout(_SLOW_SECONDS):
            await self._response.write(text.encode(errors="replace"))
        self._sent = asyncio.get_running_loop().time()

    def abort(self) -> None:
        """Nothing that is still unsent is wanted."""
        if self._request.transport:
            self._request.transport.abort()


async def _following(parts: Parts, look: Look, place: Place) -> AsyncIterator[View]:
    """The settled steps behind a place, in order, up to the first that is not settled.

    Raises:
        StoreError: the store does not answer.
    """
    head = look.head
    if head is None:
        return
    first = int(min(place[0], head.packed + 1))
    for start in range(max(first, 1), head.packed + 1, documents.TURNS_PER_GENERATION):
        last = min(start + documents.TURNS_PER_GENERATION - 1, head.packed)
        for step in _settled(steps(head, await parts.timelines.read(head, start, last), newest=False), place):
            yield step
    recent = steps(head, look.timeline, newest=False)
    for step in _settled(recent, place):
        yield step
    if head.status in ("FAILED", "CANCELED"):
        for step in _settled(compensations(await parts.timelines.undone(head, last_turn(head))), place):
            yield step


def _settled(found: Iterable[View], place: Place) -> Iterable[View]:
    for step in found:
        if step["status"] in OPEN:
            return
        if places.place(step["id"]) > place:
            yield step


def _place(request: web.Request) -> Place:
    asked: Place | None = requests.query(request, (requests.LAST_EVENT,))["last_event_id"]
    sent: Place | None = requests.values(request.headers, (requests.LAST_EVENT_HEADER,))["Last-Event-ID"]
    return sent or asked or places.START
