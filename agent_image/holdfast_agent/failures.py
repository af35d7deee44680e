"""What an activity returns when it could not do its work, and how long the workflow then waits. Pure and deterministic.

The delay is computed where the failure is seen and travels with it, so the head can tell people when the next attempt is due and the
workflow does not decide it a second time. Twenty attempts at a model span about a quarter of an hour, which outlasts most outages.
"""

import hashlib
from typing import Any, Final

from holdfast_agent.outcome import Failure, one_line
from holdfast_api.config import RetriesConfig

MODEL_ATTEMPTS: Final = 20
TOOL_BOUND: Final = 100
"""What a tool's `retries.maxAttempts` can be at most."""
CALL_BREAKS: Final = 5
"""How often an activity may break, which is a defect of ours, before the run ends."""
CHARGED_ATTEMPTS: Final = 3
SILENT_ATTEMPTS: Final = 5
_SILENT_TRIES: Final = 3
_SILENT_SECONDS: Final = 300.0
"""A model that does not answer is tried three times in a row, then twice more, so far apart that an outage of ten minutes is outlasted."""
FALLBACK_AFTER: Final = 3
"""Failures of one model after which the next one is asked."""
STORE_ATTEMPTS: Final = 1000
"""A store that is away costs no attempt of the call. This only keeps the history small; the run's deadline comes before it as a rule."""
MESSAGE_CHARACTERS: Final = 500
_USUAL: Final = RetriesConfig()
_MOST_DOUBLINGS: Final = 30


def backoff(key: str, attempt: int, asked: float | None = None, retries: RetriesConfig = _USUAL) -> float:
    """Seconds until the next attempt: doubling, spread by up to a quarter; or what the other side asked for, if that is longer.

    Less than the doubling is never waited, or whoever is asked by many at once, and says the same short time to all, would use up their
    attempts within seconds.

    Args:
        key: of the effect; the spread is derived from it, so that runs that failed together do not come back together.
        attempt: how many attempts failed, from 1.
        asked: the other side's `Retry-After`, if any.
        retries: the first wait and the longest one.
    """
    spread = int.from_bytes(hashlib.sha256(f"{key}#{attempt}".encode()).digest()[:2]) / 0xFFFF
    doubled = retries.initial_seconds * 2 ** min(attempt - 1, _MOST_DOUBLINGS)
    return max(float(min(doubled, retries.max_seconds) * (1 + spread / 4)), asked or 0.0)


def envelope(key: str, failure: Failure, attempt: int, retries: RetriesConfig = _USUAL) -> dict[str, Any]:
    """The activity's result for a failure: `{key, error: {class, message, retryAfter, cause}}`, short enough for a history.

    Args:
        key: of the effect.
        failure: what went wrong.
        attempt: how many attempts failed, from 1.
        retries: the first wait and the longest one.
    """
    error: dict[str, Any] = {"class": failure.kind, "message": clipped(failure.message)}
    if failure.kind == "transient":
        rare = failure.cause == "silent" and attempt >= _SILENT_TRIES
        error["retryAfter"] = round(backoff(key, attempt, _SILENT_SECONDS if rare else failure.retry_after, retries), 3)
    if failure.cause != "call":
        error["cause"] = failure.cause
    return {"key": key, "error": error}


def stands(key: str, failure: Failure, *, attempt: int, failed: int, left: float, retries: RetriesConfig = _USUAL) -> bool:
    """Whether a tool's failure is its result: trying again cannot help, was tried often enough, or would come too late.

    Args:
        key: of the call.
        failure: of this attempt.
        attempt: which attempt this was, from 1.
        failed: how many attempts had failed before by the tool's own doing.
        left: seconds until the run's deadline.
        retries: of the tool.
    """
    if failure.kind == "transient":
        return failed + 1 >= retries.max_attempts or backoff(key, attempt, failure.retry_after, retries) >= left
    return failure.kind == "permanent"


def clipped(message: str) -> str:
    """The message on one line and of bounded length."""
    return one_line(message, MESSAGE_CHARACTERS)
