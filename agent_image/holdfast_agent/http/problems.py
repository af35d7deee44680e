"""Errors of the HTTP API as problem details (RFC 9457): what is wrong, with which field and value, and what mends it."""

import json
import logging
import math
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

_LOG = logging.getLogger(__name__)
CONTENT_TYPE: Final = "application/problem+json"
_VALUE_CHARACTERS: Final = 100

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Problem(Exception):  # noqa: N818 - it is raised as an answer: raise Problem(...)
    """An answer that says what is wrong.

    Attributes:
        status: HTTP status.
        document: the problem details.
        headers: of the answer, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        value: object = None,
        fix: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.headers = status, headers or {}
        self.document: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
        if field is not None:
            self.document |= {"field": field, "value": shown(value)}
        if fix is not None:
            self.document["fix"] = fix

    def response(self) -> web.Response:
        """The answer."""
        body = json.dumps(self.document, ensure_ascii=False, allow_nan=False).encode(errors="replace")
        return web.Response(status=self.status, body=body, content_type=CONTENT_TYPE, headers=self.headers)


def shown(value: object) -> object:
    """A value as it may be repeated to its sender: whole if short, else its beginning. JSON has no infinite number: it is text here."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _VALUE_CHARACTERS else text[: _VALUE_CHARACTERS - 1] + "…"


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error leaves as a problem; what nobody foresaw leaves as a 500 that says nothing of the inside."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPRequestEntityTooLarge:
        return _too_large(request).response()
    except web.HTTPException as error:
        headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return _plain(request, error.status, headers).response()
    except Exception:  # noqa: BLE001 - the caller must get an answer
        _LOG.exception("request broke", extra={"path": request.path})
        return Problem(500, "the agent broke on this request; its log has the details").response()


def _too_large(request: web.Request) -> Problem:
    """Its value is the size that was announced, in bytes; null if it came in pieces, or unpacked to more than it was."""
    most = request.client_max_size
    announced = request.content_length
    size = announced if announced is not None and announced > most else None
    return Problem(413, f"the body has more than {most} bytes", field="body", value=size, fix=f"send at most {most} bytes")


def _plain(request: web.Request, status: int, headers: dict[str, str]) -> Problem:
    if status == HTTPStatus.NOT_FOUND:
        return Problem(404, f"there is no {request.path}", field="path", value=request.path, fix="GET /openapi.json tells of all paths")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        fix = f"use {headers.get('Allow', 'another method')}"
        return Problem(
            405, f"{request.path} does not take {request.method}", field="method", value=request.method, fix=fix, headers=headers
        )
    return Problem(status, HTTPStatus(status).phrase, headers=headers)
