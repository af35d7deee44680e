"""What must be true of trips whatever was killed meanwhile. Pure: judged from the scripted model's ledger and the moments of the kills."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from e2e.caller import SLOW_TOOL
from e2e.tests.support import Manifest, of_model, of_tool

QUESTIONS = 3
GONE = 5.0
"""Seconds after the API server took a kill until the process is gone: the kubelet hears of it by a watch and asks the runtime."""
TRAVEL = 1.5
"""Seconds that an answer may be on its way into the store."""


@dataclass(frozen=True)
class Kill:
    """What was killed, from when to when (seconds of the wall clock, as the ledger's) it may have died.

    Attributes:
        cuts: whether steps that are under way are cut off by it. A pod that is asked to end finishes them.
    """

    what: str
    since: float
    until: float
    cuts: bool


@dataclass
class Trip:
    """One run.

    Attributes:
        task: what was asked; no two are the same.
        run: its id.
        began: when it was asked, by the monotonic clock.
        took: seconds until its caller saw the end.
        view: how the agent shows it then.
    """

    task: str
    run: str = ""
    began: float = field(default_factory=time.monotonic)
    took: float = 0.0
    view: Manifest = field(default_factory=dict)


def problems(trips: list[Trip], calls: list[Manifest], kills: list[Kill]) -> Iterator[str]:
    """What must not have happened. Pure."""
    for one in trips:
        if one.view.get("status") != "COMPLETED" or not one.view.get("result"):
            yield f"{one.run or one.task} ended as {one.view.get('status', 'lost')}: {one.view.get('error')}"
        model, tool = of_model(calls, one.task), of_tool(calls, one.run, SLOW_TOOL)
        for what, those, wanted in (("questions to the model", model, QUESTIONS), (f"keys of {SLOW_TOOL}", tool, 1)):
            found = {call["key"] for call in those}
            if len(found) != wanted:
                yield f"{one.run} has {len(found)} {what}, not {wanted}"
        for call in unexplained([*model, *tool], kills):
            yield f"{one.run} asked {call['name']} again at {call['started']}, and no kill explains it"


def unexplained(calls: list[Manifest], kills: list[Kill]) -> Iterator[Manifest]:
    """Calls that repeat an earlier one which no kill had cut off, or whose answer was long in the store when it came."""
    earlier: dict[str, Manifest] = {}
    for call in calls:
        before = earlier.get(call["key"])
        earlier[call["key"]] = call
        if before is None:
            continue
        began, ended = _seconds(before["started"]), _seconds(before.get("finished") or call["started"])
        if not any(kill.cuts and kill.since <= ended + TRAVEL and kill.until >= began for kill in kills):
            yield call


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
