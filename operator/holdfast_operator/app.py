"""The parts put together: wait for the Lease, take stock, then watch and work until told to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from typing import NoReturn

import kopf

from holdfast_api import names
from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.credentials import Credentials
from holdfast_operator.dapr import DaprApi
from holdfast_operator.handlers import build_registry, build_settings
from holdfast_operator.health import HealthServer
from holdfast_operator.intake import Intake
from holdfast_operator.inventory import Inventory
from holdfast_operator.kinds import Key
from holdfast_operator.leader import Leadership
from holdfast_operator.memory import Memory
from holdfast_operator.metrics import Metrics
from holdfast_operator.queue import Queue, Retry
from holdfast_operator.reconcile import Reconciler
from holdfast_operator.scopes import Scopes
from holdfast_operator.session import connect
from holdfast_operator.settings import Settings

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 2.0
"""Between two attempts to take stock or to watch."""


class Stopped(Exception):  # noqa: N818 - it is no error
    """Told to stop."""


class LeaseLost(Exception):  # noqa: N818 - the process ends with it
    """Another replica may be working by now."""


class Operator:
    """One replica."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings, self._credentials = settings, credentials
        # Leases are written by those who do not lead, so they go through a door of their own.
        self._election = Cluster(credentials)
        self._cluster = Cluster(credentials, in_flight=settings.workers, may_write=self._leading)
        self._leadership = Leadership(
            self._election,
            namespace=settings.pod_namespace,
            name=settings.lease_name,
            identity=settings.pod_name,
            duration=settings.lease_seconds,
        )
        self._memory, self._queue, self._scopes = Memory(), Queue(self._look, workers=settings.workers), Scopes()
        self._dapr = DaprApi(self._cluster, namespace=settings.dapr_namespace)
        self._metrics = Metrics(
            memory=self._memory, queue=self._queue.sizes, leading=lambda: self._working, unreadable=self._scopes.unreadable
        )
        self._cluster.observer = self._election.observer = self._metrics.requested
        self._reconciler = Reconciler(cluster=self._cluster, memory=self._memory, settings=settings, dapr=self._dapr)
        self._health = HealthServer(
            port=settings.http_port, ready=self._ready, metrics=self._metrics.text, unreadable=self._scopes.unreadable
        )
        self._working = False
        self._watching, self._stop = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT.

        Raises:
            LeaseLost: the process must end at once.
        """
        await self._health.start()
        self._listen()
        try:
            with contextlib.suppress(Stopped):
                await _first_of(self._lead(), self._stopped())
        finally:
            self._working = False
            if self._settings.leader_election:
                await self._leadership.release()
            await self._health.stop()
            await self._cluster.close()
            await self._election.close()

    def _listen(self) -> None:
        """Take the signals, which Kopf has while it runs."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    async def _stopped(self) -> None:
        await self._stop.wait()
        raise Stopped

    def _leading(self) -> bool:
        return not self._settings.leader_election or self._leadership.held()

    def _ready(self) -> bool:
        return self._watching.is_set() or not self._working

    async def _lead(self) -> None:
        if self._settings.leader_election:
            logger.info("standing by for the Lease %s/%s", self._settings.pod_namespace, self._settings.lease_name)
            await self._leadership.acquire()
        self._working = True
        await _first_of(self._work(), *([self._hold()] if self._settings.leader_election else []))

    async def _work(self) -> None:
        """Everything a leader does, until the first part of it ends."""
        intake = Intake(memory=self._memory, dapr=self._dapr, due=self._queue.add, forget=self._forget)
        inventory = Inventory(
            cluster=self._cluster,
            memory=self._memory,
            intake=intake,
            dapr=self._dapr,
            namespaces=self._settings.namespaces,
            scopes=self._scopes,
            secrets=self._settings.watch_secrets,
        )
        await self._take_stock(intake, inventory)
        await _first_of(
            self._kopf(intake, inventory),
            self._queue.run(),
            self._dapr.poll(start_anew),
            inventory.repeat(self._settings.resync_seconds),
            *inventory.watches(start_anew=start_anew),
        )

    async def _take_stock(self, intake: Intake, inventory: Inventory) -> None:
        """Wait for the API server and for our own CRD, then list what exists, without a word to anybody."""
        intake.quiet = True
        while True:
            try:
                if names.PLURAL in await self._cluster.served(names.GROUP, names.VERSION):
                    await self._dapr.check()
                    await inventory.take()
                    break
                fix = "install the chart's CRD, or `kubectl apply -f crds/agents.holdfast.dev.yaml`"
                logger.error("the CRD agents.holdfast.dev is not installed: %s", fix)
            except ApiError as error:
                logger.warning("taking stock failed: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)
        intake.quiet = False

    async def _kopf(self, intake: Intake, inventory: Inventory) -> None:
        registry, namespaces = build_registry(intake), self._settings.namespaces

        @kopf.on.login(registry=registry)
        async def login(**_: object) -> kopf.AiohttpSession:
            return connect(self._credentials, listed=inventory.listed.set, vanished=start_anew)

        try:
            await kopf.operator(
                registry=registry,
                settings=build_settings(),
                clusterwide=not namespaces,
                namespaces=namespaces,
                standalone=True,
                ready_flag=self._watching,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is the same
            # `session` mends what is known to end Kopf as a whole; should something else do it, what is there now is watched anew.
            self._listen()
            logger.warning("Kopf ended: %s", error)
            await asyncio.sleep(PAUSE_SECONDS)
            start_anew()
        # Kopf takes the signals over; when it ends by itself, one has come.
        raise Stopped

    def _forget(self, key: Key) -> None:
        """An Agent is gone, and with it whatever was to be done for it; but its team is to know."""
        self._queue.forget(key)
        self._reconciler.forget(key)
        if self._reconciler.teams.lists(key):
            self._queue.add(key, 0.0)

    async def _look(self, key: Key) -> float | None:
        started, result = time.monotonic(), "error"
        try:
            again = await self._reconciler(key)
            result = "done"
        except Retry:
            result = "retry"
            raise
        finally:
            self._metrics.looked(result, time.monotonic() - started)
        return again

    async def _hold(self) -> None:
        await self._leadership.keep()
        raise LeaseLost("the Lease is lost; another replica takes over")


def start_anew() -> NoReturn:
    """Replace this process by a fresh one of the same replica.

    Kopf looks for kinds only once, a kind that vanishes ends it, and its children went without a word. A restart is what the operator
    is made for: it takes stock, and carries on from wherever it was, in the middle of a write too. The Lease has the same holder.
    """
    logger.warning("starting anew")
    logging.shutdown()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the very program that runs


async def _first_of(*work: Coroutine[None, None, None]) -> None:
    """Run until the first one ends, then end the others and raise what it raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise _innermost(errors) from None


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
