"""Another app of the namespace, called by Dapr's service invocation through the sidecar.

Nobody's token is handed on: the called app's own sidecar adds what that app wants to see, so it is access control, at that sidecar, that
decides who may call (docs/teams.md).
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from holdfast_agent.outcome import Failure
from holdfast_agent.tools.reply import SERVER_ERROR, TRANSIENT_STATUS, retry_after
from holdfast_agent.tools.spec import MAX_RESULT_BYTES
from holdfast_api import names

_FORBIDDEN: Final = 403
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404
_BUSY: Final = 429
_WORDS: Final = 300
_MAX_ANSWER: Final = 2 * MAX_RESULT_BYTES
_DAPR_ERROR: Final = "errorCode"
"""Only daprd's own errors have this field; what the called app says comes as it is."""


@dataclass(frozen=True)
class Answer:
    """What the called app said: JSON, an object."""

    status: int
    document: dict[str, Any]
    retry_after: float | None = None

    @property
    def words(self) -> str:
        """Its problem in words."""
        told = [str(self.document.get(name) or "") for name in ("detail", "fix")]
        text = " ".join(": ".join(part for part in told if part).split()) or str(self.document.get("message") or "")
        return text if len(text) <= _WORDS else text[: _WORDS - 1] + "…"


class Invoker:
    """The sidecar's invocation API. Belongs to one event loop; its session is closed by its owner."""

    def __init__(self, session: aiohttp.ClientSession, environ: Mapping[str, str]) -> None:
        """Find the sidecar.

        Args:
            session: without proxies: the sidecar is next door.
            environ: as in a pod: DAPR_HTTP_ENDPOINT, or DAPR_RUNTIME_HOST and DAPR_HTTP_PORT, and DAPR_API_TOKEN.
        """
        host, port = environ.get("DAPR_RUNTIME_HOST") or "127.0.0.1", environ.get("DAPR_HTTP_PORT") or "3500"
        self._url = (environ.get("DAPR_HTTP_ENDPOINT") or f"http://{host}:{port}").rstrip("/")
        token = environ.get(names.ENV_DAPR_TOKEN)
        self._session, self._credentials = session, {"dapr-api-token": token} if token else {}

    async def post(self, app: str, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str], within: float) -> Answer | Failure:
        """One request.

        Args:
            app: whose; it has been checked to be an app id.
            path: with its query.
            body: sent as JSON.
            headers: beside those of JSON and of the sidecar.
            within: seconds.

        Returns:
            What the app answered, below 300 or not; or a failure if it did not get there or nothing came back.
        """
        return await self._request("POST", app, path, body, headers=headers, within=within)

    async def get(self, app: str, path: str, *, headers: Mapping[str, str], within: float) -> Answer | Failure:
        """One request that only looks; see `post`."""
        return await self._request("GET", app, path, None, headers=headers, within=within)

    async def _request(
        self, method: str, app: str, path: str, body: Mapping[str, Any] | None, *, headers: Mapping[str, str], within: float
    ) -> Answer | Failure:
        url, headers = f"{self._url}/v1.0/invoke/{app}/method{path}", self._credentials | dict(headers)
        try:
            async with (
                asyncio.timeout(within),
                self._session.request(method, url, json=body, headers=headers, allow_redirects=False) as response,
            ):
                text = await _read(response)
                asked = retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
                return judged(app, response.status, text, asked)
        except TimeoutError:
            return _passing(app, f"did not answer within {within:.0f} s")
        except (aiohttp.ClientError, OSError) as error:
            return _passing(app, f"cannot be reached: the sidecar does not answer ({type(error).__name__})")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, or a little more of it than an answer may have."""
    text = bytearray()
    async for chunk in response.content.iter_any():
        text += chunk
        if len(text) > _MAX_ANSWER:
            response.close()
            break
    return bytes(text)


def judged(app: str, status: int, text: bytes, asked: float | None) -> Answer | Failure:
    """What an answer of the sidecar means. Pure.

    Args:
        app: that was called.
        status: HTTP status.
        text: the body, or more of it than an answer may have.
        asked: Retry-After, in seconds.
    """
    if len(text) > _MAX_ANSWER:
        return Failure("permanent", f"the answer of agent {app!r} has more than {_MAX_ANSWER // 1024} KiB", public="the answer is too long")
    document = _object(text)
    if status == _NOT_FOUND and not (document and document.get("detail")):
        # What an agent does not find, it says so.
        return _undelivered(app, status, "")
    if document is None:
        if status >= SERVER_ERROR:
            return _passing(app, f"answered HTTP {status}")
        return Failure("permanent", f"{app!r} is no agent of Holdfast: it answered HTTP {status} without JSON", public=f"HTTP {status}")
    if _DAPR_ERROR in document:
        return _undelivered(app, status, str(document.get("message") or ""))
    return _said(app, Answer(status, document, asked))


def _said(app: str, answer: Answer) -> Answer | Failure:
    if answer.status == _BUSY:
        # A run that is there is never refused: there is none.
        busy = _passing(app, f"takes no more runs now (HTTP 429: {answer.words})", answer.retry_after, public="HTTP 429")
        return replace(busy, reach="unsent")
    if answer.status in TRANSIENT_STATUS or answer.status >= SERVER_ERROR:
        message = f"answered HTTP {answer.status}: {answer.words}"
        return _passing(app, message, answer.retry_after, public=f"HTTP {answer.status}")
    if answer.status == _UNAUTHORIZED:
        message = f"the agent {app!r} did not accept what its own sidecar sent: its pods have to be restarted after a token changed"
        return Failure("permanent", message, public="HTTP 401")
    return answer


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _undelivered(app: str, status: int, message: str) -> Failure:
    """An error of daprd itself. It tells of refusals in its status, and of everything else in words only."""
    if status == _FORBIDDEN:
        told = f"the agent {app!r} does not let this agent call it. Somebody has to add this agent to spec.access.callers of {app!r}"
        return Failure("permanent", f"access denied: {told}", reach="unsent", public="access denied by the called agent's access control")
    if status == _NOT_FOUND:
        message = "this agent's own sidecar does not allow service invocation: its Configuration has to allow the API `invoke`"
        return Failure("permanent", message, reach="unsent", public=message)
    words = " ".join(message.split())[:_WORDS]
    return _passing(
        app, f"cannot be reached: there is no such agent, or none of its pods runs ({words})", public=f"Dapr answered HTTP {status}"
    )


def _passing(app: str, message: str, asked: float | None = None, *, public: str = "") -> Failure:
    text = f"the agent {app!r} {message}"
    return Failure("transient", text, asked, reach="lost", public=public or text)
