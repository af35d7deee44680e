"""The HTTP API on port 8001, which is also the port that Dapr sends to. JSON in and out, errors as problem details.

It opens before the sidecar is there (daprd waits for it) and closes last, so that a run can be looked at while the rest stops. Until
the agent is connected, everything but health answers 503.
"""

import contextlib
import hmac
import json
import uuid
from typing import Any, Final

from aiohttp import web

from holdfast_agent import documents
from holdfast_agent.documents import Head
from holdfast_agent.http import requests, views
from holdfast_agent.http.problems import Handler, Problem, as_problems
from holdfast_agent.runs import ConflictError, Runs
from holdfast_agent.store import StoreError

_OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
_PAGE: Final = 100
_MAX_PAGE: Final = 500
_RETRY_AFTER: Final = {"Retry-After": "2"}


class Server:
    """Routes and what they need.

    Attributes:
        runs: set once the agent is connected.
        waiting_for: what keeps it from that, for people.
        stopping: set before it disconnects.
    """

    def __init__(self, *, token: str | None, ready: Any) -> None:  # noqa: ANN401 - a coroutine function to bool
        """Make the application.

        Args:
            token: what callers must send; None admits everybody.
            ready: tells whether the sidecar sends work here.
        """
        self.runs: Runs | None = None
        self.stopping = False
        self.waiting_for = "the program to start"
        self._token, self._ready = token, ready
        self.app = web.Application(middlewares=[as_problems, self._admit], client_max_size=requests.MAX_BODY_BYTES)
        self.app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.post("/run", self._post_run),
                web.get("/v1.0/workflows/dapr/{id}", self._get_dapr),
                web.get("/runs/{id}", self._get_run),
                web.get("/runs/{id}/steps", self._get_steps),
            ]
        )

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _OPEN_PATHS and self._token is not None and not self._knows(request):
            raise Problem(
                401,
                "the token is missing or wrong",
                fix="send `Authorization: Bearer TOKEN` with the token of Secret NAME-app-token",
                headers={"WWW-Authenticate": "Bearer"},
            )
        try:
            return await handler(request)
        except StoreError as error:
            raise Problem(503, str(error), fix="try again in some seconds", headers=_RETRY_AFTER) from error

    def _knows(self, request: web.Request) -> bool:
        """Compared in constant time; a caller learns nothing from how long a refusal takes."""
        assert self._token is not None
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("dapr-api-token", "")
        return hmac.compare_digest(given.encode(errors="surrogateescape"), self._token.encode())

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        if self.stopping:
            raise Problem(503, "the agent is stopping")
        if self.runs is None or not await self._ready():
            raise Problem(503, f"the agent waits for {self.waiting_for}", headers=_RETRY_AFTER)
        return _json({"status": "ready"})

    async def _post_run(self, request: web.Request) -> web.Response:
        wait = requests.wait_seconds(request.query.get("wait"))
        asked = requests.run_request(await request.read())
        if self.stopping:
            raise Problem(503, "the agent is stopping", fix="send it again: another pod or the next one takes it", headers=_RETRY_AFTER)
        runs, run = self._connected(), asked.id or uuid.uuid4().hex
        try:
            head = await runs.accept(asked.task, run)
        except ConflictError as error:
            raise Problem(
                409, "a run with this id was asked for with another body", field="id", value=asked.id, fix="use a new id, or none"
            ) from error
        except StoreError as error:
            raise _unsure(run, error) from error
        if wait:
            with contextlib.suppress(StoreError):  # the run is accepted, and that is what there is to say
                head = await runs.wait(head, wait)
        if wait and head.terminal:
            return _json(views.accepted(head) | views.run(head, [], {}))
        return _json(views.accepted(head), status=202)

    async def _get_dapr(self, request: web.Request) -> web.Response:
        _, head = await self._head(request)
        return _json(views.dapr(head))

    async def _get_run(self, request: web.Request) -> web.Response:
        runs, head = await self._head(request)
        if head.terminal:
            return _json(views.run(head, [], {}))
        turns, outcomes = await runs.turns(head.id, head.packed + 1, head.packed + documents.TURNS_PER_GENERATION)
        if not turns and not head.packed:
            await runs.mend(head)
        return _json(views.run(head, turns, outcomes))

    async def _get_steps(self, request: web.Request) -> web.Response:
        first = requests.number(request.query.get("turn"), field="turn", default=1, most=1_000_000)
        page = requests.number(request.query.get("limit"), field="limit", default=_PAGE, most=_MAX_PAGE)
        runs, head = await self._head(request)
        last, most = first + page - 1, _last_turn(head)
        # The turn before the page tells whether the model is at work on the first of the page.
        turns, outcomes = await runs.turns(head.id, max(1, first - 1), min(last, most))
        newest = last >= most or not turns or turns[-1].number < last
        steps = [step for step in views.steps(head, turns, outcomes, newest=newest) if step["turn"] >= first]
        view = {"id": head.id, "status": head.status, "steps": steps}
        return _json(view if newest else view | {"next": f"/runs/{head.id}/steps?turn={last + 1}&limit={page}"})

    async def _head(self, request: web.Request) -> tuple[Runs, Head]:
        run = requests.run_id(request.match_info["id"], field="id")
        runs = self._connected()
        head = await runs.find(run)
        if head is None:
            raise Problem(404, "there is no such run", field="id", value=run, fix="use the instance_id that POST /run answered with")
        return runs, head

    def _connected(self) -> Runs:
        if self.runs is None:
            raise Problem(503, f"the agent waits for {self.waiting_for}", fix="try again in some seconds", headers=_RETRY_AFTER)
        return self.runs


def _unsure(run: str, error: StoreError) -> Problem:
    """The store may hold the run all the same: without its id, a caller who asks again would begin a second one."""
    fix = "send it again in some seconds with this instance_id as its id: then it is one run, whatever is stored already"
    problem = Problem(503, f"it is not sure that the run is stored: {error}", fix=fix, headers=_RETRY_AFTER)
    problem.document["instance_id"] = run
    return problem


def _last_turn(head: Head) -> int:
    return head.usage.turns if head.terminal else head.packed + documents.TURNS_PER_GENERATION


def _json(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, text=json.dumps(document, ensure_ascii=False), content_type="application/json")
