"""The HTTP API on port 8001, which is also the port that Dapr sends to. JSON in and out, errors as problem details.

It opens before the sidecar is there (daprd waits for it) and closes last, so that a run can be looked at while the rest stops. Until
the agent is connected, everything but health answers 503.
"""

import hmac
from typing import Any, Final

from aiohttp import web

from holdfast_agent.http import openapi, requests
from holdfast_agent.http.audits import AuditRoutes
from holdfast_agent.http.card import CardRoutes
from holdfast_agent.http.controls import ControlRoutes
from holdfast_agent.http.events import EventRoutes
from holdfast_agent.http.operations import OPERATIONS
from holdfast_agent.http.problems import Handler, Problem, as_problems
from holdfast_agent.http.runs import RunRoutes
from holdfast_agent.http.sessions import SessionRoutes
from holdfast_agent.http.site import RETRY_AFTER, Site, answer
from holdfast_agent.http.tools import ToolRoutes
from holdfast_agent.http.triggers import PATHS, TriggerRoutes, from_sidecar
from holdfast_agent.store import StoreError

_OPEN_PATHS: Final = frozenset(operation.path for operation in OPERATIONS if operation.open)


class Server(Site):
    """The application: who gets in, and which code carries out which operation."""

    def __init__(
        self,
        name: str,
        *,
        token: str | None,
        ready: Any,  # noqa: ANN401 - a coroutine function to bool
        sidecar_token: str | None = None,
        former_token: str | None = None,
    ) -> None:
        """Make the application.

        Args:
            name: of the agent.
            token: what callers must send; None admits everybody.
            ready: tells whether the sidecar sends work here.
            sidecar_token: what the sidecar sends with events, where it has been given one.
            former_token: what callers may send as well, while the token is being replaced.
        """
        super().__init__()
        self._name, self._token, self._ready, self._sidecar_token = name, token, ready, sidecar_token
        self._admitted = [known.encode() for known in (token, former_token) if known]
        self.app = web.Application(middlewares=[as_problems, self._admit], client_max_size=requests.MAX_BODY_BYTES)
        handlers: dict[str, Handler] = {"healthz": self._healthz, "readyz": self._readyz, "openapi": self._openapi}
        triggers = TriggerRoutes(self)
        others = (RunRoutes(self), EventRoutes(self), ControlRoutes(self), SessionRoutes(self), AuditRoutes(self), ToolRoutes(self))
        for routes in (*others, triggers, CardRoutes(self, self._knows)):
            handlers |= routes.handlers()
        for operation in OPERATIONS:
            self.app.router.add_route(operation.method, operation.path, handlers[operation.id])
            if operation.method == "GET":
                self.app.router.add_route("HEAD", operation.path, handlers[operation.id])
        for path in PATHS:
            self.app.router.add_route("POST", path, triggers.deliver)
        self.app.on_response_prepare.append(_unnamed)

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _OPEN_PATHS and self._token is not None and not self._knows(request):
            raise self._refusal(request)
        event = request.path.startswith("/events/") and request.match_info.http_exception is None
        if event and not from_sidecar(request, self._sidecar_token):
            raise Problem(403, "only the Dapr sidecar delivers events", fix="publish to the topic, or send the task to POST /run")
        try:
            return await handler(request)
        except StoreError as error:
            raise Problem(503, str(error), fix="try again in some seconds", headers=RETRY_AFTER) from error

    def _refusal(self, request: web.Request) -> Problem:
        """What was sent is not repeated: it may be somebody's token."""
        sent = _sent(request)
        return Problem(
            401,
            "the token is wrong" if sent else "the token is missing",
            field="Authorization",
            value="…" if sent else None,
            fix=f"send `Authorization: Bearer TOKEN`: it is in Secret {self._name}-app-token, or, without a cluster, in the file app.token",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _knows(self, request: web.Request) -> bool:
        """Compared in constant time; a caller learns nothing from how long a refusal takes."""
        sent = _sent(request).encode(errors="surrogateescape")
        return any([hmac.compare_digest(sent, known) for known in self._admitted])  # noqa: C419 - each is compared, always

    async def _healthz(self, _: web.Request) -> web.Response:
        return answer({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        if self.stopping:
            raise Problem(503, "the agent is stopping", fix="ask another pod, or the next one", headers=RETRY_AFTER)
        if self.parts is None or not await self._ready():
            raise Problem(503, f"the agent waits for {self.waiting_for}", fix="try again in some seconds", headers=RETRY_AFTER)
        return answer({"status": "ready"})

    async def _openapi(self, _: web.Request) -> web.Response:
        return answer(openapi.document(self._name, token=self._token is not None))


def _sent(request: web.Request) -> str:
    """The token in a request; empty if there is none."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else request.headers.get("dapr-api-token", "")


async def _unnamed(_: web.Request, response: web.StreamResponse) -> None:
    """Versions of what serves are nobody's business."""
    response.headers.pop("Server", None)
