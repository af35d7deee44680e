"""Sessions: which there are, what one holds, and forgetting it."""

from aiohttp import web

from holdfast_agent.cursors import CursorError
from holdfast_agent.http import requests
from holdfast_agent.http.problems import Handler, Problem
from holdfast_agent.http.site import Site, answer, uncertain, unknown_cursor
from holdfast_agent.http.steps import View, time
from holdfast_agent.sessions import Session
from holdfast_agent.store import StoreError


class SessionRoutes:
    """Code of the operations on sessions."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {"sessions": self._sessions, "session": self._session, "forget": self._forget}

    async def _sessions(self, request: web.Request) -> web.Response:
        asked = requests.query(request, (requests.CURSOR, requests.LIMIT))
        limit = asked["limit"] or requests.DEFAULT_PAGE
        try:
            ids, cursor = await self._site.connected().sessions.list(asked["cursor"], limit)
        except CursorError as error:
            raise unknown_cursor(asked["cursor"]) from error
        view: View = {"sessions": [{"id": session} for session in ids]}
        return answer(view | ({"next": requests.path("/sessions", cursor=cursor, limit=limit)} if cursor else {}))

    async def _session(self, request: web.Request) -> web.Response:
        requests.query(request, ())
        session = _session_of(request)
        found = await self._site.connected().sessions.read(session)
        if found is None:
            raise Problem(404, "there is no such session", field="id", value=session, fix="GET /sessions lists those that there are")
        return answer(session_view(session, found))

    async def _forget(self, request: web.Request) -> web.Response:
        requests.query(request, ())
        session = _session_of(request)
        try:
            await self._site.open().sessions.delete(session)
        except StoreError as error:
            raise uncertain(error) from error
        return answer({"id": session, "deleted": True})


def session_view(session: str, found: Session) -> View:
    """A session as callers read it. Pure."""
    entries = [{"run": entry.run, "task": entry.task, "answer": entry.answer, "at": time(entry.at)} for entry in found.entries]
    view: View = {"id": session, "entries": entries}
    view |= {"summary": found.summary} if found.summary is not None else {}
    return view | ({"used": time(found.used)} if found.used is not None else {})


def _session_of(request: web.Request) -> str:
    session: str = requests.values(request.match_info, (requests.SESSION_PATH,))["id"]
    return session
