"""Tells the topic of `pubsub.publishResults` how runs ended: at least once, and nearly always once.

The head is the outbox. It says from the run's beginning where its end is to be told (`publish`), and later that it was (`published`).
Whoever ends a run tells it at once, after those who wait for the run know; a process that dies in between is followed by one that carries
the run's last step out again and finds it untold. While the broker is away, the run's entry stays in the index of open runs, and the
janitor tries again, ever more seldom (`postponed`). A subscriber that is told twice, because the second write could not be made, can
tell: the event's id is the run's.
"""

import logging
import time
from typing import Any, Final

from holdfast_agent import documents
from holdfast_agent.documents import Document, Head
from holdfast_agent.logs import moment
from holdfast_agent.metrics import Metrics
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.postponed import Postponed, Postponements, Target
from holdfast_agent.publishing import Publication, PublishError, publish
from holdfast_agent.sidecar import Sidecar
from holdfast_agent.store import Store, StoreError

_LOG = logging.getLogger(__name__)
TYPE: Final = "dev.holdfast.run.ended"
_RESULT_BYTES: Final = 256 * 1024
_SETTLE_SECONDS: Final = 15.0
"""How long whoever ended a run has it to itself to tell so."""


class Outbox:
    """Ends of runs that are to be told. Lives on the program's event loop."""

    def __init__(self, *, agent: str, sidecar: Sidecar, store: Store, index: OpenRuns, metrics: Metrics) -> None:
        """Keep the parts.

        Args:
            agent: its name.
            sidecar: publishes.
            store: where heads are.
            index: leads to what could not be told.
            metrics: counts it.
        """
        self._agent, self._sidecar, self._store, self._index, self._metrics = agent, sidecar, store, index, metrics
        # By the id of the event: an id of a run may be used again.
        self._telling: set[str] = set()
        self._told: set[str] = set()
        self._postponed = Postponements()
        metrics.watches_outbox(self._postponed.tally)

    async def tell(self, head: Head) -> bool:
        """Tell of the end of a run, unless that was done.

        Returns:
            Whether nothing is left to do. If something is, the run's entry in the index is stored.

        Raises:
            StoreError: it cannot be written down what is left to do.
        """
        event = event_id(head)
        if not head.untold:
            self._told.discard(event)
            self._postponed.settled(event)
            return True
        if event in self._telling:
            return False
        self._telling.add(event)
        try:
            return await self._tell(head, event)
        finally:
            self._telling.discard(event)

    async def tell_later(self, head: Head) -> bool:
        """As `tell`, of a run that somebody else ended: not before that one has had the time to."""
        settled = head.ended is None or head.ended + _SETTLE_SECONDS < time.time()
        due = settled and self._postponed.due(event_id(head), time.time())
        return (due or not head.untold) and await self.tell(head)

    def postponed(self, head: Head) -> Postponed | None:
        """Why the end of a run is not told yet, as far as this process knows; None: it is, or nothing is known against it."""
        return self._postponed.of(event_id(head)) if head.untold else None

    async def _tell(self, head: Head, event: str) -> bool:
        assert head.publish is not None
        target = head.publish["component"], head.publish["topic"]
        try:
            if event not in self._told:
                await publish(self._sidecar, Publication(*target, ending(head, self._agent), event, TYPE))
                self._taken(event, target)
        except PublishError as error:
            self._refused(head, event, target, error)
            await self._index.waits(head.id)
            return False
        try:
            now = time.time()
            stands = await self._store.update(documents.head_key(head.id), lambda document: _published(document, event, now))
        except StoreError:
            await self._index.waits(head.id)
            raise
        self._told.discard(event)
        if stands and event_id(Head.load(stands)) == event:  # else the entry is of a newer run with this id, or goes by itself
            self._index.drop(head.id)
        return True

    def _taken(self, event: str, target: Target) -> None:
        self._told.add(event)
        self._metrics.published("published")
        failed_before = self._postponed.of(event)
        self._postponed.taken(event, target, time.time())
        if failed_before:
            _LOG.info(
                "the end of a run is published after all", extra={"run": event.partition("/")[0], "attempts": failed_before.failed + 1}
            )

    def _refused(self, head: Head, event: str, target: Target, error: PublishError) -> None:
        self._metrics.published("failed")
        told = logging.WARNING if self._postponed.failed(event, target, error, time.time()) else logging.DEBUG
        _LOG.log(told, "the end of a run cannot be published yet, it is tried again ever more seldom: %s", error, extra={"run": head.id})


def event_id(head: Head) -> str:
    """The id of the event: the run's, and when it was accepted, because an id may be used again once its run is erased."""
    return f"{head.id}/{round(head.created * 1000)}"


def ending(head: Head, agent: str) -> dict[str, Any]:
    """What is told of a run: JSON-ready. A result that is too long for a broker is cut off, and says so."""
    told: dict[str, Any] = {"agent": agent, "run": head.id, "status": head.status}
    told |= {"session_id": head.session} if head.session is not None else {}
    if head.result is not None:
        kept = head.result.encode(errors="replace")[:_RESULT_BYTES].decode(errors="ignore")
        told |= {"result": kept} | ({"truncated": True} if kept != head.result else {})
    told |= {"error": head.error} if head.error is not None else {}
    told["usage"] = head.usage.dump()
    return told | {"created": moment(head.created)} | ({"ended": moment(head.ended)} if head.ended is not None else {})


def _published(document: Document | None, event: str, now: float) -> Document | None:
    """The head with that written down, unless it is erased, or another run has its id now."""
    return {**document, "published": now} if document and event_id(Head.load(document)) == event else None
