"""What an activity returns when it could not do its work, and how long the workflow then waits. Pure and deterministic.

The delay is computed where the failure is seen and travels with it, so the head can tell people when the next attempt is due and the
workflow does not decide it a second time. Twenty attempts at a model span about a quarter of an hour, which outlasts most outages.
"""

import hashlib
from typing import Any, Final

from holdfast_agent.outcome import Failure

MODEL_ATTEMPTS: Final = 20
TOOL_ATTEMPTS: Final = 5
CHARGED_ATTEMPTS: Final = 3
STORE_ATTEMPTS: Final = 1000
"""A store that is away costs no attempt of the call. This only keeps the history small; the run's deadline comes before it as a rule."""
MESSAGE_CHARACTERS: Final = 500
_FIRST_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 60.0
_LONGEST_ASKED: Final = 300.0


def backoff(key: str, attempt: int, asked: float | None = None) -> float:
    """Seconds until the next attempt: doubling from 1 s to 60 s, spread by up to a quarter, or what the other side asked for, up to 5 min.

    Args:
        key: of the effect; the spread is derived from it, so that runs that failed together do not come back together.
        attempt: how many attempts failed, from 1.
        asked: the other side's `Retry-After`, if any.
    """
    if asked is not None and asked > 0:
        return min(asked, _LONGEST_ASKED)
    spread = int.from_bytes(hashlib.sha256(f"{key}#{attempt}".encode()).digest()[:2]) / 0xFFFF
    return float(min(_FIRST_SECONDS * 2 ** (attempt - 1), _LONGEST_SECONDS) * (1 + spread / 4))


def envelope(key: str, failure: Failure, attempt: int) -> dict[str, Any]:
    """The activity's result for a failure: `{key, error: {class, message, retryAfter, cause}}`, short enough for a history."""
    error: dict[str, Any] = {"class": failure.kind, "message": clipped(failure.message)}
    if failure.kind == "transient":
        error["retryAfter"] = round(backoff(key, attempt, failure.retry_after), 3)
    if failure.cause != "call":
        error["cause"] = failure.cause
    return {"key": key, "error": error}


def stands(key: str, failure: Failure, *, attempt: int, failed: int, left: float) -> bool:
    """Whether a tool's failure is its result: trying again cannot help, was tried often enough, or would come too late.

    Args:
        key: of the call.
        failure: of this attempt.
        attempt: which attempt this was, from 1.
        failed: how many attempts had failed before by the tool's own doing.
        left: seconds until the run's deadline.
    """
    if failure.kind == "transient":
        return failed + 1 >= TOOL_ATTEMPTS or backoff(key, attempt, failure.retry_after) >= left
    return failure.kind == "permanent"


def clipped(message: str) -> str:
    """The message on one line and of bounded length."""
    line = " ".join(message.split())
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…"
