"""Beginning runs and looking at them."""

import contextlib
import math
import uuid
from collections.abc import Awaitable

from aiohttp import web

from holdfast_agent import documents, lineage
from holdfast_agent.admission import BusyError
from holdfast_agent.cursors import CursorError
from holdfast_agent.documents import Head
from holdfast_agent.http import requests, views
from holdfast_agent.http.lists import listed
from holdfast_agent.http.problems import Handler, Problem
from holdfast_agent.http.site import RETRY_AFTER, Site, answer, run_of, unknown_cursor
from holdfast_agent.http.steps import View, compensations, steps
from holdfast_agent.runs import ConflictError
from holdfast_agent.store import StoreError
from holdfast_agent.timelines import last_turn


class RunRoutes:
    """Code of the operations on runs that only begin or read them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {"begin": self._begin, "runs": self._runs, "run": self._run, "steps": self._steps, "dapr": self._dapr}

    async def _begin(self, request: web.Request) -> web.Response:
        wait = requests.query(request, (requests.WAIT,))["wait"] or 0.0
        asked = await requests.body(request, (requests.TASK, requests.SESSION, requests.NEW_ID))
        sent = requests.values(request.headers, (requests.TRACEPARENT, requests.CALLERS, requests.TIME_LEFT))
        runs, run = self._site.open().runs, asked["id"] or uuid.uuid4().hex
        callers = lineage.callers_of(sent[lineage.CALLERS] or (), request.headers.get(lineage.DAPR_CALLER))
        if wrong := lineage.refusal(runs.config.name, callers, runs.config.limits.max_depth):
            fix = "call another agent, or raise limits.maxDepth if the row is meant to be that long"
            raise Problem(422, wrong, field=lineage.CALLERS, value=", ".join(callers), fix=fix)
        accepting = runs.accept(
            asked["task"],
            run,
            session=asked["session_id"],
            trace=sent["traceparent"],
            callers=callers,
            seconds=sent[lineage.TIME_LEFT] or math.inf,
        )
        head = await begun(accepting, run)
        if wait:
            with contextlib.suppress(StoreError):  # the run is accepted, and that is what there is to say
                head = await runs.wait(head, wait)
        if wait and head.terminal:
            return answer(views.accepted(head) | views.run(head))
        return answer(views.accepted(head), status=202)

    async def _runs(self, request: web.Request) -> web.Response:
        asked = requests.query(request, (requests.CURSOR, requests.LIMIT, requests.STATUS, requests.WAITING_FOR, requests.OF_SESSION))
        limit = asked["limit"] or requests.DEFAULT_PAGE
        wanted = {name: asked[name] for name in ("status", "waiting_for", "session_id")}
        try:
            heads, cursor = await listed(self._site.connected(), asked["cursor"], limit, wanted)
        except CursorError as error:
            raise unknown_cursor(asked["cursor"]) from error
        following = requests.path("/runs", cursor=cursor, limit=limit, **wanted)
        return answer({"runs": [views.summary(head) for head in heads]} | ({"next": following} if cursor else {}))

    async def _dapr(self, request: web.Request) -> web.Response:
        return answer(views.dapr(await self._site.head(run_of(request))))

    async def _run(self, request: web.Request) -> web.Response:
        requests.query(request, ())
        return answer(await run_view(self._site, run_of(request)))

    async def _steps(self, request: web.Request) -> web.Response:
        run, asked = run_of(request), requests.query(request, (requests.TURN, requests.LIMIT))
        first, size = asked["turn"] or 1, asked["limit"] or requests.DEFAULT_PAGE
        head = await self._site.head(run)
        found, following = await page(self._site, head, first, size)
        view = {"id": head.id, "status": views.status(head), "steps": found}
        return answer(view if following is None else view | {"next": f"/runs/{head.id}/steps?turn={following}&limit={size}"})


async def begun(accepting: Awaitable[Head], run: str) -> Head:
    """The head of a run that is being begun.

    Raises:
        Problem: it is not begun, or nobody knows.
    """
    try:
        return await accepting
    except ConflictError as error:
        fix = "use a new id, or none"
        raise Problem(409, "this id is that of a run that another request began", field="id", value=run, fix=fix) from error
    except BusyError as error:
        fix = "send it again later, run more replicas, or raise limits.maxConcurrentRuns"
        raise Problem(429, str(error), fix=fix, headers={"Retry-After": str(math.ceil(error.retry_after))}) from error
    except StoreError as error:
        raise unsure(run, error) from error


async def run_view(site: Site, run: str) -> View:
    """A run as it stands.

    Raises:
        Problem: there is no such run, or the agent is not connected.
        StoreError: the store does not answer.
    """
    head, parts = await site.head(run), site.connected()
    if head.terminal:
        outbox = parts.runs.outbox
        return views.run(head) | views.publishing(head, outbox.postponed(head) if outbox else None)
    timeline = await parts.timelines.read(head, head.packed + 1, head.packed + documents.UNPACKED)
    if not timeline.turns and not head.packed:
        await parts.runs.mend(head)
    return views.run(head, timeline)


async def page(site: Site, head: Head, first: int, size: int) -> tuple[list[View], int | None]:
    """The steps of some turns, and the turn of the next page if there may be one.

    Raises:
        StoreError: the store does not answer.
    """
    timelines, last, most = site.connected().timelines, first + size - 1, last_turn(head)
    # The turn before the page tells whether the model is at work on the first of the page.
    timeline = await timelines.read(head, max(1, first - 1), min(last, most))
    newest = last >= most or not timeline.turns or timeline.turns[-1].number < last
    found = [step for step in steps(head, timeline, newest=newest) if step["turn"] >= first or first == 1]
    if newest and (head.ending or head.status in ("FAILED", "CANCELED")):
        found += compensations(await timelines.undone(head, most))
    return found, None if newest else last + 1


def unsure(run: str, error: StoreError) -> Problem:
    """The store may hold the run all the same: without its id, a caller who asks again would begin a second one."""
    fix = "send it again in some seconds with this instance_id as its id: then it is one run, whatever is stored already"
    problem = Problem(503, f"it is not sure that the run is stored: {error}", fix=fix, headers=RETRY_AFTER)
    problem.document["instance_id"] = run
    return problem
