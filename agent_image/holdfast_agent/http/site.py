"""What the routes work on: the parts of a connected agent, and how its answers are written."""

import json
from typing import Any, Final

from aiohttp import web

from holdfast_agent.documents import Head
from holdfast_agent.http import requests
from holdfast_agent.http.parts import Parts
from holdfast_agent.http.problems import Problem
from holdfast_agent.http.watch import Watches
from holdfast_agent.store import StoreError

RETRY_AFTER: Final = {"Retry-After": "2"}


class Site:
    """The agent as its routes see it.

    Attributes:
        parts: set once the agent is connected.
        waiting_for: what keeps it from that, for people.
        stopping: set before it disconnects.
        watches: of the runs that somebody watches; told of what happens here.
    """

    def __init__(self) -> None:
        self.parts: Parts | None = None
        self.stopping = False
        self.watches = Watches()
        self.waiting_for = "the program to start"

    def connected(self) -> Parts:
        """The parts.

        Raises:
            Problem: the agent is not connected.
        """
        if self.parts is None:
            raise Problem(503, f"the agent waits for {self.waiting_for}", fix="try again in some seconds", headers=RETRY_AFTER)
        return self.parts

    def open(self) -> Parts:
        """The parts, for a request that begins or changes something.

        Raises:
            Problem: the agent is not connected, or it is stopping.
        """
        if self.stopping:
            raise Problem(503, "the agent is stopping", fix="send it again: another pod or the next one takes it", headers=RETRY_AFTER)
        return self.connected()

    async def head(self, run: str) -> Head:
        """The head of a run that somebody named.

        Raises:
            Problem: there is no such run, or the agent is not connected.
            StoreError: the store does not answer.
        """
        head = await self.connected().runs.find(run)
        if head is None:
            raise unknown_run(run)
        return head


def run_of(request: web.Request) -> str:
    """The id of the run in the path.

    Raises:
        Problem: it cannot be one.
    """
    found: str = requests.values(request.match_info, (requests.RUN_PATH,))["id"]
    return found


def answer(document: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return web.Response(
        status=status, body=text.encode(errors="replace"), content_type="application/json", charset="utf-8", headers=headers
    )


def uncertain(error: StoreError) -> Problem:
    """What is said of a change that may be stored or not. Every change can be asked for twice."""
    fix = "send it again in some seconds: asked for twice, it is done once"
    return Problem(503, f"it is not sure that this is stored: {error}", fix=fix, headers=RETRY_AFTER)


def unknown_cursor(cursor: str) -> Problem:
    """What is said of a place in a list that no list has given out."""
    return Problem(422, "'cursor' is no place in this list", field="cursor", value=cursor, fix="follow `next` of the page before as it is")


def unknown_run(run: str) -> Problem:
    """What is said of a run that there is not."""
    return Problem(404, "there is no such run", field="id", value=run, fix="use the instance_id that POST /run answered with")
