"""Begins runs for events. An event is taken when its run is stored, and not before; daprd delivers it again until then."""

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from holdfast_agent.admission import BusyError
from holdfast_agent.documents import Head
from holdfast_agent.metrics import Metrics
from holdfast_agent.publishing import Publication, PublishError
from holdfast_agent.runs import ConflictError, Runs
from holdfast_agent.store import StoreError
from holdfast_agent.triggers import event as events
from holdfast_agent.triggers.event import Asked, Event, MalformedError
from holdfast_agent.triggers.ownership import Own, is_own, settled
from holdfast_api.config import AgentConfig

_LOG = logging.getLogger(__name__)
Status = Literal["SUCCESS", "RETRY", "DROP"]
"""What daprd understands."""
TOPIC: Final = "topic"
BROADCAST: Final = "broadcast"
REFUSED_TYPE: Final = "dev.holdfast.event.refused"
_SHOWN_BYTES: Final = 64 * 1024
_DIGITS: Final = 20
_SAID_CHARACTERS: Final = 256

Ask = Callable[[Event, "Route"], Asked]
"""What is to be begun; raises MalformedError."""
Publish = Callable[[Publication], Awaitable[None]]
"""Raises PublishError."""


@dataclass(frozen=True)
class Route:
    """Where events come from, and what is to be done with them.

    Attributes:
        name: in ids of runs, metrics and the log.
        path: what daprd calls.
        task: None: the event says it.
        dead_letter: the topic for events that no run can be begun for; None: they are only logged.
    """

    name: str
    path: str
    component: str
    topic: str
    task: str | None = None
    dead_letter: str | None = None


def routes(config: AgentConfig) -> tuple[Route, ...]:
    """All that an agent listens to."""
    found, pubsub = [], config.pubsub
    if pubsub and pubsub.topic:
        found.append(Route(TOPIC, "/events/topic", pubsub.component, pubsub.topic))
    if pubsub and pubsub.broadcast:
        found.append(Route(BROADCAST, "/events/broadcast", pubsub.component, pubsub.broadcast))
    for trigger in config.triggers:
        if topic := trigger.topic:
            path = f"/events/triggers/{trigger.name}"
            found.append(Route(trigger.name, path, topic.component, topic.name, trigger.task, topic.dead_letter))
    return tuple(found)


class Intake:
    """Takes events. Lives on the program's event loop."""

    def __init__(self, *, runs: Runs, ask: Ask, publish: Publish, metrics: Metrics) -> None:
        """Keep the parts.

        Args:
            runs: begins them.
            ask: reads what an event asks for.
            publish: for events that are refused.
            metrics: counts what becomes of events.
        """
        self._runs, self._ask, self._publish, self._metrics = runs, ask, publish, metrics

    async def take(self, route: Route, body: bytes) -> Status:
        """Begin the run of an event, or find the one that it began before.

        Args:
            route: that it came by.
            body: what daprd delivered.
        """
        try:
            event = events.read(body)
            if event.expires is not None and event.expires <= time.time():
                if run := await self._resumed(route, event):
                    _LOG.info("an event came again", extra={"route": route.name, "run": run} | _named(event))
                    return self._status(route, "repeated", "SUCCESS")
                _LOG.warning("an event came too late: its publisher let it expire", extra={"route": route.name} | _named(event))
                return self._status(route, "expired", "SUCCESS")
            return await self._begin(route, event, self._ask(event, route))
        except MalformedError as error:
            return await self.refuse(route, body, str(error))
        except (UnicodeEncodeError, RecursionError) as error:  # as it would be at every delivery
            return await self.refuse(route, body, f"the event cannot be read or stored: {error}")
        except (BusyError, StoreError) as error:
            _LOG.warning("an event cannot be taken now, it will come again: %s", error, extra={"route": route.name})
            return self._status(route, "postponed", "RETRY")

    async def _begin(self, route: Route, event: Event, asked: Asked) -> Status:
        run, known = await self._settled(route, asked)
        head: Head | None
        try:
            head = await self._runs.accept(asked.task, run, session=asked.session, trace=event.trace, trigger=_origin(route, event))
        except ConflictError as error:
            if asked.chosen:
                raise MalformedError(f"the id {asked.run!r} is that of a run that another request began: use a new id, or none") from error
            # The same event, told in other words: the trigger's task was another one when it came first.
            head = await self._runs.resume(run) or known
        if head and not asked.chosen and not is_own(head, _of(route)):
            raise StoreError("somebody else has just begun a run under its id")
        told = {"route": route.name, "run": run} | _named(event)
        if known:
            _LOG.info("an event came again", extra=told)
            return self._status(route, "repeated", "SUCCESS")
        _LOG.info("event", extra=told)
        return self._status(route, "accepted", "SUCCESS")

    async def _settled(self, route: Route, asked: Asked) -> tuple[str, Head | None]:
        """The id that an event's run has or is to get, and its head if it is there. Raises StoreError."""
        if asked.chosen:
            return asked.run, await self._runs.find(asked.run)
        return await settled(self._runs, asked.run, _of(route), trigger=route.name)

    async def _resumed(self, route: Route, event: Event) -> str | None:
        """The run of an event that nobody wants any more, if it was stored in time: then it is carried out, or was."""
        try:
            run, _ = await self._settled(route, self._ask(event, route))
        except MalformedError:
            return None
        return run if await self._runs.resume(run) else None

    async def refuse(self, route: Route, body: bytes, why: str) -> Status:
        """Never take an event: it is told in the log, and published where somebody may look at it. Until then it is not let go.

        Args:
            route: that it came by.
            body: what daprd delivered.
            why: for people.
        """
        told = {"route": route.name, "topic": route.topic}
        _LOG.error("an event was refused: %s", why, extra=told | ({"dead_letter": route.dead_letter} if route.dead_letter else {}))
        if route.dead_letter:
            sent = events.payload(body)
            text = sent[:_SHOWN_BYTES].decode(errors="replace")
            data = {"reason": why, "pubsub": route.component, "topic": route.topic, "event": text}
            name = f"refused-{hashlib.sha256(sent).hexdigest()[:_DIGITS]}"
            try:
                await self._publish(Publication(route.component, route.dead_letter, data, name, REFUSED_TYPE))
            except PublishError as error:
                _LOG.warning("a refused event cannot be published: %s", error, extra=told)
                return self._status(route, "postponed", "RETRY")
        return self._status(route, "refused", "SUCCESS" if route.dead_letter else "DROP")

    def _status(self, route: Route, outcome: str, status: Status) -> Status:
        self._metrics.event(route.name, outcome)
        return status


def _of(route: Route) -> Own:
    return lambda origin: (origin.get("kind"), origin.get("name")) == ("topic", route.name)


def _origin(route: Route, event: Event) -> dict[str, str]:
    """What the head of a run says of the event that began it."""
    where = {"kind": "topic", "name": route.name, "component": route.component, "topic": route.topic}
    return where | {name: said[:_SAID_CHARACTERS] for name, said in _named(event).items()}


def _named(event: Event) -> dict[str, str]:
    return {f"event_{name}": event.said[name] for name in ("id", "source") if name in event.said}
