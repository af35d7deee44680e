"""The agent's HTTP API, as the command uses it."""

from http import HTTPStatus
from typing import Any, Self

import aiohttp

from holdfast_agent.local.faults import LocalError, UnknownRunError

TERMINAL = frozenset({"COMPLETED", "FAILED", "TERMINATED", "CANCELED"})
_TIMEOUT = aiohttp.ClientTimeout(total=15.0)
_BUSY = frozenset({429, 502, 503, 504})
_PAGE = 100

View = dict[str, Any]


class NoAnswer(Exception):  # noqa: N818 - it reads as an event
    """The agent does not answer now; it may answer later."""


class AgentClient:
    """One agent at a URL."""

    def __init__(self, url: str, token: str) -> None:
        """Make a session on the running event loop."""
        self.url, self.token = url, token
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT, headers={"Authorization": f"Bearer {token}"})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ready(self) -> bool:
        """Whether it takes runs."""
        try:
            await self._ask("GET", "/readyz")
        except (NoAnswer, LocalError):
            return False
        return True

    async def run(self, task: str, run: str, *, session: str | None = None) -> None:
        """Ask for a run; asking again with the same id, task and session changes nothing.

        Raises:
            LocalError: it refuses the task.
            NoAnswer: try again.
        """
        of_session = {"session_id": session} if session is not None else {}
        await self._ask("POST", "/run", json={"task": task, "id": run, **of_session})

    async def resume(self, run: str) -> None:
        """Let a run that somebody suspended go on.

        Raises:
            LocalError: there is no such run, or it has ended.
            NoAnswer: try again.
        """
        await self._ask("POST", f"/runs/{run}/resume")

    async def approve(self, run: str, call: str, *, approved: bool, reason: str) -> None:
        """Decide on a call that waits for approval; the same decision twice changes nothing.

        Raises:
            LocalError: there is no such run or question, or it is decided otherwise.
            NoAnswer: try again.
        """
        why = {"reason": reason} if reason else {}
        await self._ask("POST", f"/runs/{run}/approvals/{call}", json={"approved": approved, **why})

    async def status(self, run: str) -> View:
        """Status, result or error of a run.

        Raises:
            LocalError: there is no such run.
            NoAnswer: try again.
        """
        return await self._ask("GET", f"/runs/{run}")

    async def steps(self, run: str, *, turn: int) -> tuple[str, list[View]]:
        """The run's status, and its steps from a turn on; at most a page of turns.

        Raises:
            LocalError: there is no such run.
            NoAnswer: try again.
        """
        page = await self._ask("GET", f"/runs/{run}/steps", params={"turn": str(turn), "limit": str(_PAGE)})
        # While there is a further page, the run has not been shown to its end.
        return "RUNNING" if page.get("next") else str(page["status"]), page["steps"]

    async def all_steps(self, run: str) -> list[View]:
        """The whole timeline of a run.

        Raises:
            LocalError: there is no such run.
            NoAnswer: try again.
        """
        steps, path = [], f"/runs/{run}/steps?limit={_PAGE}"
        while path:
            page = await self._ask("GET", path)
            steps += page["steps"]
            path = page.get("next", "")
        return steps

    async def _ask(self, method: str, path: str, **options: Any) -> View:  # noqa: ANN401 - aiohttp's own
        try:
            async with self._session.request(method, self.url + path, **options) as response:
                document: View = await response.json(content_type=None)
                if response.status in _BUSY:
                    raise NoAnswer(f"HTTP {response.status}")
                if response.ok:
                    return document
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise NoAnswer(str(error) or type(error).__name__) from None
        if response.status == HTTPStatus.NOT_FOUND and document.get("field") == "id":
            raise UnknownRunError(str(document["detail"]))
        words = [str(document[name]) for name in ("title", "detail", "fix") if document.get(name)]
        raise LocalError(f"the agent refuses: {'; '.join(words) or response.status}")
