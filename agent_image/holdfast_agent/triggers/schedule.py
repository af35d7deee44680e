"""What is known of the ticks of one schedule, and what is to be done about them. Pure; times are seconds since the epoch.

All of it is one entry of the document `triggers`, which every replica changes by ETag. That is what makes a decision about a tick the only
one: first it is written down (`owed`), then it is carried out, then that is written down (`begun`). Whatever dies in between, somebody
finds the tick owed and carries it out again, and its id makes it the same run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from holdfast_api import names
from holdfast_api.config import ScheduleConfig
from holdfast_api.cron import Cron, stamp

COUNTED: Final = 1000
"""Missed ticks of one stretch are not counted further: who was away for so long is told at least that."""
_OTHERS_SECONDS: Final = 5.0
"""How long whoever decided about a tick has it to itself."""
_ACTIVE: Final = 50
"""Runs of one trigger that are remembered as perhaps not over."""


@dataclass(frozen=True)
class State:
    """What stands in the document.

    Attributes:
        schedule: digest of what the entry is about; another one begins anew.
        through: all ticks up to here are decided.
        owed: the tick that is to begin, while nobody has written down that it did.
        owed_at: when that was decided.
        tick: the newest that began, and `run`, what it began.
        active: runs that were not over when somebody last looked.
        begun: how many ticks began a run; `missed`, could not in time; `skipped`, were left out because an earlier run was not over.
    """

    schedule: str
    through: float
    owed: int | None = None
    owed_at: float = 0.0
    tick: int | None = None
    run: str | None = None
    active: tuple[str, ...] = ()
    begun: int = 0
    missed: int = 0
    skipped: int = 0

    def dump(self) -> dict[str, Any]:
        """As JSON-ready data, without what is not there."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Self:
        """From JSON-ready data; fields of a newer version are left out."""
        known = {name: value for name, value in document.items() if name in cls.__dataclass_fields__}
        return cls(**known | {"active": tuple(known.get("active", ()))})

    def forsaken(self, now: float) -> bool:
        """Whether whoever decided about the tick that is owed has had the time to begin it."""
        return now >= self.owed_at + _OTHERS_SECONDS

    def begins(self, tick: int, run: str) -> Self:
        """The same when the run of a tick is stored."""
        owed = None if self.owed == tick else self.owed
        if run in self.active or run == self.run:
            return replace(self, owed=owed)
        newest = self if self.tick is not None and self.tick > tick else replace(self, tick=tick, run=run)
        return replace(newest, owed=owed, active=(*self.active, run)[-_ACTIVE:], begun=self.begun + 1)


@dataclass(frozen=True)
class Verdict:
    """What a look at the clock came to.

    Attributes:
        state: what is to stand.
        begin: the tick that is to begin a run now.
        late: how many were missed, and `left_out`, whether one was left out because of an earlier run.
    """

    state: State
    begin: int | None = None
    late: int = 0
    left_out: bool = False


def digest(schedule: ScheduleConfig) -> str:
    """What makes a schedule another one. One that is suspended is another one, too: its ticks are not made up for."""
    return names.digest([schedule.cron, schedule.time_zone, schedule.suspend])


def run_id(trigger: str, tick: int) -> str:
    """The id of the run of a tick."""
    return f"{trigger}-{stamp(tick)}"


def adopted(state: State | None, schedule: ScheduleConfig, since: float) -> State:
    """What stands for a process that works by this schedule: what another one has not begun is over, and counts go on.

    Args:
        state: what is stored; None: nothing.
        schedule: the process's. While a roll-out lasts, processes with another one may write the same entry.
        since: up to when this process has decided by it, if nothing of it is stored.
    """
    name = digest(schedule)
    if state is None:
        return State(name, since)
    return state if state.schedule == name else replace(state, schedule=name, through=since, owed=None)


def decide(state: State, cron: Cron, schedule: ScheduleConfig, now: float, *, trying: bool = False) -> Verdict:
    """What is to be done now.

    Args:
        state: as it stands, `active` without runs that are over.
        cron: the schedule's ticks.
        schedule: the same, and its rules.
        now: the time.
        trying: whether this process is the one that carries out what is owed.
    """
    if schedule.suspend:
        return Verdict(state)
    newest = cron.until(now)
    passed = newest is not None and newest > state.through
    late, owed = 0, state.owed
    if owed is not None:
        if not passed and not _over(owed, schedule, now):
            return Verdict(state, owed if trying or state.forsaken(now) else None)
        late, owed = 1, None
    if newest is None or not passed:
        return Verdict(replace(state, owed=owed, missed=state.missed + late), late=late)
    late += cron.count(state.through, newest, most=COUNTED) - 1
    left_out = False
    if _over(newest, schedule, now):
        late += 1
    elif schedule.concurrency_policy == "Forbid" and state.active:
        left_out = True
    else:
        owed = newest
    after = replace(
        state, through=newest, owed=owed, owed_at=now, missed=state.missed + late, skipped=state.skipped + (1 if left_out else 0)
    )
    return Verdict(after, owed, late, left_out)


def _over(tick: int, schedule: ScheduleConfig, now: float) -> bool:
    """Whether it is too late to begin a tick."""
    deadline = schedule.starting_deadline_seconds
    return deadline is not None and now > tick + deadline
