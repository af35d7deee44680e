"""Which agents have led to a run, and how long it may take: what an agent that calls another one says beside the task. Pure.

    Holdfast-Callers      app ids, the first one first, the calling agent last
    Holdfast-Time-Left    seconds in which the answer is of use: the run that begins may not take longer

They bound what agents may start by calling each other. They are no credentials: who may call at all is decided by Dapr's access control.
"""

import math
import re
from collections.abc import Iterable
from typing import Final

from holdfast_api import names

CALLERS: Final = "Holdfast-Callers"
TIME_LEFT: Final = "Holdfast-Time-Left"
DAPR_CALLER: Final = "dapr-caller-app-id"
"""Dapr adds it: the app id of the calling sidecar."""
MAX_DEPTH: Final = 5
"""`limits.maxDepth` where nothing is said."""
MAX_CALLERS: Final = 32
_APP_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_READABLE: Final = 24
_DIGITS: Final = 32


def read_callers(text: str) -> tuple[str, ...]:
    """App ids from the header.

    Raises:
        ValueError: one of them cannot be an app id, or there are too many.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if len(found) > MAX_CALLERS:
        raise ValueError(f"it has {len(found)} app ids, {MAX_CALLERS} are allowed")
    wrong = next((part for part in found if not _APP_ID.fullmatch(part)), None)
    if wrong is not None:
        raise ValueError(f"{wrong[:60]!r} is no app id")
    return found


def read_time_left(text: str) -> float:
    """Seconds from the header.

    Raises:
        ValueError: it is no number above 0.
    """
    found = float(text)
    if not (math.isfinite(found) and found > 0):
        raise ValueError("it has to be above 0")
    return found


def callers_of(said: tuple[str, ...], sidecar: str | None) -> tuple[str, ...]:
    """All callers of a run: those that the request tells of, and the app whose sidecar it came from if that is not among them."""
    known = sidecar is not None and _APP_ID.fullmatch(sidecar) and (not said or said[-1] != sidecar)
    return (*said, str(sidecar)) if known else said


def refusal(agent: str, callers: tuple[str, ...], max_depth: int | None) -> str | None:
    """Why that agent must not be called by these; None: it may.

    Args:
        agent: its app id.
        callers: the first one first.
        max_depth: `limits.maxDepth`: how many agents may be in a row, this one counted.
    """
    most, row = MAX_DEPTH if max_depth is None else max_depth, (*callers, agent)
    if agent in callers:
        return f"agents would call each other in a circle: {_chain(row)}"
    if len(row) > most:
        return f"{len(row)} agents in a row would call each other ({_chain(row)}), and limits.maxDepth is {most}"
    return None


def child_run(agent: str, key: str) -> str:
    """Id of the run that a call begins at another agent: the same one whoever makes the call again, and no other caller's.

    Args:
        agent: app id of the caller.
        key: of the call.
    """
    return f"{agent[:_READABLE].rstrip('-')}-{names.digest([agent, key], _DIGITS)}"


def headers(callers: Iterable[str], seconds: float) -> dict[str, str]:
    """What a request to another agent carries."""
    return {CALLERS: ",".join(callers), TIME_LEFT: f"{max(seconds, 0.1):.1f}"}


def _chain(agents: Iterable[str]) -> str:
    return " -> ".join(agents)
