"""The life of one agent process: what starts in which order, and what stops in which.

Start: the HTTP port first, because daprd waits for it; then the tools beside the waiting for the sidecar; then the revision is written
down; then the workflow worker, and only with it the agent is ready. Stop: in a pod, nothing changes for some seconds, because callers are
still sent here; then no new requests, no new effects, the effects in the air come down, the worker disconnects, HTTP last. The sidecar
outlives all of this (a native sidecar does), or results could not be handed over.
"""

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from typing import Any, Final

from aiohttp import web

from holdfast_agent import starved
from holdfast_agent.assembly import Ground, assemble
from holdfast_agent.engine import Engine, EngineError
from holdfast_agent.flights import Flights
from holdfast_agent.http.app import Server
from holdfast_agent.janitor import Janitor
from holdfast_agent.observer import Observer
from holdfast_agent.revisions import Revision, Revisions
from holdfast_agent.settings import Settings
from holdfast_agent.sidecar import Sidecar
from holdfast_agent.store import Store, StoreError
from holdfast_agent.telemetry import Telemetry
from holdfast_agent.triggers import brokers

_LOG = logging.getLogger(__name__)
_WATCH_SECONDS: Final = 0.5
_THOROUGH_EACH: Final = 10
_HTTP_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0
_TIDY_AGAIN_SECONDS: Final = 5.0


class Program:
    """One agent, from start to stop."""

    def __init__(self, settings: Settings, *, tidy_seconds: float = 60.0, overdue_seconds: float = 30.0) -> None:
        """Nothing is started yet.

        Args:
            settings: what to serve.
            tidy_seconds: how often open runs are looked after.
            overdue_seconds: how late a durable timer must be to count as lost.
        """
        self._settings, self._tidy_seconds, self._overdue_seconds = settings, tidy_seconds, overdue_seconds
        self._engine: Engine | None = None
        self._flights = Flights(landed=self._landed)
        self._server = Server(
            settings.config.name,
            token=settings.token,
            ready=self._ready,
            sidecar_token=settings.sidecar_token,
            former_token=settings.former_token,
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop in order. A second signal ends the process at once.

        Raises:
            ToolboxError: a tool of the configuration cannot be offered.
            OSError: the port is taken.
            EngineError: the workflow worker ended by itself.
        """
        stop = _stop_signal()
        async with AsyncExitStack() as stack:
            await self._listen(stack)
            working = asyncio.create_task(self._work(stack))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            await self._linger(working)
            failure = working.exception() if working.done() else None
            await self._come_down(working, stopping)
        if failure:
            raise failure
        _LOG.info("stopped")

    async def _linger(self, working: "asyncio.Task[None]") -> None:
        if self._settings.linger_seconds and not working.done():
            _LOG.info("asked to end: going on for %.0f s, since callers are still sent here", self._settings.linger_seconds)
            await asyncio.wait([working], timeout=self._settings.linger_seconds)

    async def _come_down(self, *tasks: "asyncio.Task[Any]") -> None:
        self._server.stopping = True
        if self._server.parts:
            self._server.parts.runs.release()
        _LOG.info("stopping: %d calls in flight", self._flights.count)
        await self._flights.drain()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._server.parts, self._server.waiting_for = None, "its end: it is stopping"
        if self._engine:
            await self._engine.stop()

    async def _listen(self, stack: AsyncExitStack) -> None:
        runner = web.AppRunner(self._server.app, access_log=None, shutdown_timeout=_HTTP_SECONDS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, self._settings.host, self._settings.port).start()
        _LOG.info("listening on port %d", self._settings.port)

    async def _work(self, stack: AsyncExitStack) -> None:
        settings = self._settings
        sidecar, server = Sidecar(), self._server
        server.waiting_for = "the Dapr sidecar"
        stack.push_async_callback(sidecar.close)
        observer = Observer(
            telemetry=Telemetry.open(settings.config.name, pod=settings.pod, revision=settings.config.revision, environ=os.environ)
        )
        stack.push_async_callback(asyncio.to_thread, observer.telemetry.close)
        _, current = await asyncio.gather(sidecar.wait_healthy(), Revision.open(settings.config, os.environ))
        store = Store(sidecar, settings.config.memory_component)
        revisions = Revisions(current, store, os.environ)
        stack.push_async_callback(revisions.close)
        await self._publish(revisions)
        ground = Ground(sidecar, store, revisions, self._flights, observer)
        made = assemble(settings, ground, stack, overdue_seconds=self._overdue_seconds)
        self._engine = made.engine
        server.waiting_for = "the workflow worker to connect to the Dapr sidecar"
        await made.engine.start()
        server.parts = made.parts
        told = {"signed": settings.auditor.key is not None, "traced": observer.telemetry.own}
        _LOG.info("ready", extra={"revision": current.name, "tools": len(current.toolbox.specs), **told})
        await asyncio.gather(
            _look_after(made.janitor, made.engine, every=self._tidy_seconds),
            made.sweeper.run(every=self._tidy_seconds),
            starved.guard(made.engine, sidecar),
            made.ticker.run(),
            brokers.watch(sidecar, brokers.brokers(settings.config), observer.metrics),
        )

    def _landed(self, key: str) -> None:
        self._server.watches.notice(key.partition("/")[0])

    async def _publish(self, revisions: Revisions) -> None:
        while True:
            try:
                return await revisions.publish()
            except StoreError as error:
                _LOG.warning("the revision cannot be stored yet: %s", error)
                # Anybody may read it on /readyz: what the store says, names of hosts say, is for the log.
                component = self._settings.config.memory_component
                self._server.waiting_for = f"the state store {component!r}, which does not take the revision yet: see the agent's log"
                await asyncio.sleep(_RETRY_SECONDS)

    async def _ready(self) -> bool:
        return self._engine is not None and await self._engine.ready()


async def _look_after(janitor: Janitor, engine: Engine, *, every: float) -> None:
    """Tidy up regularly, and each time that the worker has connected anew."""
    loop = asyncio.get_running_loop()
    due, connected, times, owed = 0.0, False, 0, True
    while True:
        if not engine.alive:
            raise EngineError("the workflow worker has ended by itself; the agent has to be started again")
        streaming = engine.streaming
        if streaming and (not connected or loop.time() >= due):
            owed = owed or not connected or times % _THOROUGH_EACH == 0
            pause = min(every, _TIDY_AGAIN_SECONDS)
            try:
                await janitor.tidy(thorough=owed)
                owed, pause = False, every
            except (StoreError, EngineError) as error:
                _LOG.warning("looking after open runs: %s", error)
            except Exception:  # noqa: BLE001 - the one who looks after others must not fall
                _LOG.exception("looking after open runs broke")
            due, times = loop.time() + pause, times + 1
        connected = streaming
        await asyncio.sleep(_WATCH_SECONDS)


def _stop_signal() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def received(number: int) -> None:
        if stop.is_set():
            _LOG.warning("stopped at once by a second signal")
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)
    return stop
