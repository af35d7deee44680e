"""What an HTTP answer means: a result, a fault that passes, or one that does not. Pure."""

import email.utils
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from holdfast_agent.outcome import Failure
from holdfast_agent.tools.spec import ToolResult

TRANSIENT_STATUS = frozenset({408, 425, 429})
SERVER_ERROR = 500
GATEWAY = frozenset({502, 504})
"""A gateway that got no answer does not know either what became of the call behind it."""
SUCCESS = range(200, 300)
TAKEN = range(200, 400)
"""Whoever answers so has taken the call: an answer that cannot be used says nothing against its effect."""
MAX_EXCERPT = 300
MAX_RETRY_AFTER = 86400.0
"""Longer than a day is no advice, and a date far enough away cannot be added to."""


def meaning(status: int, headers: Mapping[str, str], body: bytes, *, charset: str | None, now: datetime) -> ToolResult | Failure:
    """Judge one complete answer.

    Args:
        status: HTTP status.
        headers: headers, looked up without regard to case.
        body: the whole body.
        charset: as Content-Type names it.
        now: for a Retry-After that is a date.
    """
    content = decode(body, charset)
    if status in SUCCESS:
        if content is None:
            kind = headers.get("Content-Type", "no content type")
            return unusable(status, f"the answer is binary ({kind}, {len(body)} bytes); only text can be used")
        if content and _says_json(headers.get("Content-Type", "")) and (wrong := _no_json(content)):
            return unusable(status, f"the answer calls itself JSON and is none ({wrong}){_excerpt(content)}")
        return ToolResult(content or f"(HTTP {status} without content)")
    message = f"HTTP {status}{_excerpt(content)}"
    if status in TRANSIENT_STATUS or status >= SERVER_ERROR:
        asked = retry_after(headers.get("Retry-After"), now=now)
        return Failure("transient", message, asked, reach="lost" if status in GATEWAY else "answered", public=f"HTTP {status}")
    return unusable(status, message)


def unusable(status: int, message: str) -> Failure:
    """An answer that gives the model nothing; after a status below 400 the call may have had its effect all the same."""
    return Failure("permanent", message, reach="lost" if status in TAKEN else "answered")


def decode(body: bytes, charset: str | None) -> str | None:
    """The body as text, or None when it is no text."""
    try:
        decoded = body.decode(charset or "utf-8")
    except (UnicodeDecodeError, LookupError):
        return None
    return None if "\0" in decoded else decoded


def _says_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _no_json(content: str) -> str | None:
    try:
        json.loads(content)
    except (ValueError, RecursionError) as error:
        return str(error)
    return None


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds to wait, at most a day, from either form of the header; None when it is missing or makes no sense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), MAX_RETRY_AFTER)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max(0.0, (when - now).total_seconds()), MAX_RETRY_AFTER)


def _excerpt(content: str | None) -> str:
    if not content or not content.strip():
        return ""
    flat = " ".join(content.split())
    return ": " + (flat if len(flat) <= MAX_EXCERPT else flat[: MAX_EXCERPT - 1] + "…")
