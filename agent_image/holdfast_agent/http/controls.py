"""What people do to a run: end it, hold it, let it go on, decide about its calls, do it over again.

Each answers with the run as it stands once the control is stored, so the same request sent twice gets the same kind of answer. Nothing is
acknowledged before it is durable: whoever gets a 503 sends it again.
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from holdfast_agent.controls import EndedRun, UnknownCall, UnknownRun
from holdfast_agent.http import fields, requests, views
from holdfast_agent.http.problems import Handler, Problem
from holdfast_agent.http.runs import begun, run_view
from holdfast_agent.http.site import Site, answer, run_of, uncertain, unknown_run
from holdfast_agent.runs import ConflictError
from holdfast_agent.store import StoreError

_BODY: Final = (requests.REASON, requests.BY)
_CALLER: Final = "dapr-caller-app-id"


class ControlRoutes:
    """Code of the operations that change a run."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {
            "cancel": self._cancel,
            "suspend": self._suspend,
            "resume": self._resume,
            "approve": self._approve,
            "rerun": self._rerun,
        }

    async def _cancel(self, request: web.Request) -> web.Response:
        force = requests.query(request, (requests.FORCE,))["force"]
        run, asked = run_of(request), await requests.body(request, _BODY)
        reason, by = asked["reason"] or "", _by(request, asked["by"])
        controls = self._site.open().controls
        async with _asked(run):
            try:
                await (controls.force_cancel(run, reason, by=by) if force else controls.cancel(run, reason, by=by))
            except EndedRun as ended:
                if ended.status != "CANCELED":
                    raise
        return await self._stands(run)

    async def _suspend(self, request: web.Request) -> web.Response:
        run = await self._plain(request)
        async with _asked(run):
            await self._site.open().controls.suspend(run)
        return await self._stands(run)

    async def _resume(self, request: web.Request) -> web.Response:
        run = await self._plain(request)
        async with _asked(run):
            await self._site.open().controls.resume(run)
        return await self._stands(run)

    async def _approve(self, request: web.Request) -> web.Response:
        requests.query(request, ())
        place = requests.values(request.match_info, (requests.RUN_PATH, requests.CALL_PATH))
        asked = await requests.body(request, (requests.APPROVED, *_BODY))
        run, call = place["id"], place["call"]
        async with _asked(run, call):
            try:
                reason, by = asked["reason"] or "", _by(request, asked["by"])
                await self._site.open().controls.approve(run, call, approved=asked["approved"], reason=reason, by=by)
            except EndedRun:
                # The answer to a first request may have been lost while the run went on to its end.
                said = await self._site.connected().timelines.decision(run, call)
                if said != ("approved" if asked["approved"] else "rejected"):
                    raise
        return await self._stands(run)

    async def _rerun(self, request: web.Request) -> web.Response:
        requests.query(request, ())
        run, asked = run_of(request), await requests.body(request, (requests.RERUN_ID,))
        trace = requests.values(request.headers, (requests.TRACEPARENT,))["traceparent"]
        controls, new = self._site.open().controls, asked["id"] or uuid.uuid4().hex
        try:
            head = await begun(controls.rerun(run, new, trace=trace), new)
        except UnknownRun as error:
            raise unknown_run(run) from error
        return answer(views.accepted(head), status=202)

    async def _plain(self, request: web.Request) -> str:
        """The run, of a request that says nothing more."""
        requests.query(request, ())
        await requests.body(request, ())
        return run_of(request)

    async def _stands(self, run: str) -> web.Response:
        self._site.watches.notice(run)
        return answer(await run_view(self._site, run))


def _by(request: web.Request, said: str | None) -> str:
    """Who asks for it: as the body says, else the app whose sidecar brought the request. Whoever has the token can say anything."""
    return said or request.headers.get(_CALLER, "")[: fields.MAX_NAME_CHARACTERS]


@asynccontextmanager
async def _asked(run: str, call: str | None = None) -> AsyncIterator[None]:
    """Turns what a control cannot do into what its caller reads."""
    try:
        yield
    except UnknownRun as error:
        raise unknown_run(run) from error
    except UnknownCall as error:
        fix = f"GET /runs/{run} lists the calls that wait for a decision"
        raise Problem(404, "nobody is asked about this call", field="call", value=call, fix=fix) from error
    except EndedRun as error:
        fix = f"nothing can be changed any more; POST /runs/{run}/rerun begins it anew"
        raise Problem(409, f"the run has ended, {error.status}", field="id", value=run, fix=fix) from error
    except ConflictError as error:
        fix = f"GET /runs/{run}/steps tells what was decided, and when"
        raise Problem(409, str(error), field="call", value=call, fix=fix) from error
    except StoreError as error:
        raise uncertain(error) from error
