"""What begins runs by itself: the list of it, and the paths that daprd delivers events to.

Those paths are no part of the API that callers use, and of no OpenAPI document: daprd alone may call them. It says so by its address and
its token, and does not say that it speaks for somebody else, as it does when it passes on a service invocation.
"""

import hmac
import ipaddress
import time
from typing import Any, Final

from aiohttp import web

from holdfast_agent.http import requests
from holdfast_agent.http.problems import Handler
from holdfast_agent.http.site import Site, answer
from holdfast_agent.http.steps import View
from holdfast_agent.http.steps import time as moment
from holdfast_agent.triggers.intake import Route, routes
from holdfast_agent.triggers.schedule import State
from holdfast_api.config import TriggerConfig

PATHS: Final = ("/events/topic", "/events/broadcast", "/events/triggers/{name}")
_TOKEN: Final = "dapr-api-token"  # noqa: S105 - the name of a header
_ON_BEHALF: Final = "dapr-caller-app-id"


class TriggerRoutes:
    """Code of the operations on triggers, and of deliveries."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {"triggers": self._triggers}

    async def deliver(self, request: web.Request) -> web.Response:
        """Take an event, and tell daprd what became of it.

        A path that nothing listens to here is not answered 404, by which daprd would drop the event: in a roll-out another pod may know it.
        """
        parts = self._site.open()
        route = next((route for route in routes(parts.config) if route.path == request.path), None)
        if route is None:
            return answer({"status": "RETRY"})
        try:
            status = await parts.intake.take(route, await request.read())
        except web.HTTPRequestEntityTooLarge:
            status = await parts.intake.refuse(route, b"", f"the event has more than {request.client_max_size} bytes as it is delivered")
        return answer({"status": status})

    async def _triggers(self, request: web.Request) -> web.Response:
        requests.query(request, ())
        parts, now = self._site.connected(), time.time()
        states = await parts.ticker.states()
        found: list[View] = []
        for trigger in parts.config.triggers:
            if trigger.schedule:
                following = parts.ticker.next_tick(trigger.name, now)
                found.append(_scheduled(trigger, states.get(trigger.name, State("", now)), following))
        found += [_listening(route) for route in routes(parts.config)]
        return answer({"triggers": found})


def from_sidecar(request: web.Request, token: str | None) -> bool:
    """Whether a request is the sidecar's own.

    Args:
        request: see there.
        token: what the sidecar sends; None: it has not been given one.
    """
    if _ON_BEHALF in request.headers or not _loopback(request.remote):
        return False
    return token is None or hmac.compare_digest(request.headers.get(_TOKEN, "").encode(errors="surrogateescape"), token.encode())


def _loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def _scheduled(trigger: TriggerConfig, state: State, following: int | None) -> View:
    schedule = trigger.schedule
    assert schedule is not None
    said: dict[str, Any] = {
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "suspend": schedule.suspend,
        "concurrency_policy": schedule.concurrency_policy,
    }
    view: View = {"name": trigger.name, "schedule": said}
    view |= {"next_tick": moment(following)} if following is not None else {}
    view |= {"last_tick": moment(state.tick), "last_run": state.run} if state.tick is not None else {}
    view |= {"owed_tick": moment(state.owed)} if state.owed is not None else {}
    return view | {"begun": state.begun, "missed": state.missed, "skipped": state.skipped}


def _listening(route: Route) -> View:
    topic = {"component": route.component, "name": route.topic} | ({"dead_letter": route.dead_letter} if route.dead_letter else {})
    return {"name": route.name, "topic": topic}
