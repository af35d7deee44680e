"""Beginning runs and looking at them."""

import contextlib
import uuid

from aiohttp import web

from holdfast_agent import documents
from holdfast_agent.documents import Head
from holdfast_agent.http import requests, views
from holdfast_agent.http.problems import Handler, Problem
from holdfast_agent.http.site import RETRY_AFTER, Site, answer, run_of
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
        return {"begin": self._begin, "run": self._run, "steps": self._steps, "dapr": self._dapr}

    async def _begin(self, request: web.Request) -> web.Response:
        wait = requests.query(request, (requests.WAIT,))["wait"] or 0.0
        asked = await requests.body(request, (requests.TASK, requests.SESSION, requests.NEW_ID))
        runs, run = self._site.open().runs, asked["id"] or uuid.uuid4().hex
        try:
            head = await runs.accept(asked["task"], run)
        except ConflictError as error:
            raise Problem(
                409, "a run with this id was asked for with another body", field="id", value=run, fix="use a new id, or none"
            ) from error
        except StoreError as error:
            raise unsure(run, error) from error
        if wait:
            with contextlib.suppress(StoreError):  # the run is accepted, and that is what there is to say
                head = await runs.wait(head, wait)
        if wait and head.terminal:
            return answer(views.accepted(head) | views.run(head))
        return answer(views.accepted(head), status=202)

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


async def run_view(site: Site, run: str) -> View:
    """A run as it stands.

    Raises:
        Problem: there is no such run, or the agent is not connected.
        StoreError: the store does not answer.
    """
    head = await site.head(run)
    if head.terminal:
        return views.run(head)
    parts = site.connected()
    timeline = await parts.timelines.read(head, head.packed + 1, head.packed + documents.TURNS_PER_GENERATION)
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
