"""What an activity returns when it could not do its work, and how long the workflow then waits. Pure and deterministic.

The delay is computed where the failure is seen and travels with it, so the head can tell people when the next attempt is due and the
workflow does not decide it a second time. Twenty attempts at a model span about a quarter of an hour, which outlasts most outages.
"""

import hashlib
from typing import Any, Final

from holdfast_agent.outcome import Failure

MODEL_ATTEMPTS: Final = 20
TOOL_ATTEMPTS: Final = 5
MESSAGE_CHARACTERS: Final = 500
_FIRST_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 60.0


def backoff(key: str, attempt: int, asked: float | None = None) -> float:
    """Seconds until the next attempt: doubling from 1 s to 60 s, spread by up to a quarter, or what the other side asked for.

    Args:
        key: of the effect; the spread is derived from it, so that runs that failed together do not come back together.
        attempt: how many attempts failed, from 1.
        asked: the other side's `Retry-After`, if any.
    """
    if asked is not None and asked > 0:
        return asked
    spread = int.from_bytes(hashlib.sha256(f"{key}#{attempt}".encode()).digest()[:2]) / 0xFFFF
    return float(min(_FIRST_SECONDS * 2 ** (attempt - 1), _LONGEST_SECONDS) * (1 + spread / 4))


def envelope(key: str, failure: Failure, attempt: int) -> dict[str, Any]:
    """The activity's result for a failure: `{key, error: {class, message, retryAfter}}`, short enough for a history."""
    error: dict[str, Any] = {"class": failure.kind, "message": clipped(failure.message)}
    if failure.kind == "transient":
        error["retryAfter"] = round(backoff(key, attempt, failure.retry_after), 3)
    return {"key": key, "error": error}


def clipped(message: str) -> str:
    """The message on one line and of bounded length."""
    line = " ".join(message.split())
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…"
