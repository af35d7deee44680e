"""Begins runs when schedules say so. Every replica runs one, and they agree by the document `triggers` (see `schedule`).

No workflow and no timer of Dapr's is in it: a tick is found by looking at the clock, so there is no timer that could be lost, no history
that grows, and nothing that costs anything between two ticks. A tick that nobody was there for is found by the next process that looks.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from holdfast_agent import documents
from holdfast_agent.admission import BusyError
from holdfast_agent.controls import Controls, EndedRun, UnknownRun
from holdfast_agent.documents import Head
from holdfast_agent.metrics import Metrics
from holdfast_agent.runs import ConflictError, Runs
from holdfast_agent.store import Store, StoreError
from holdfast_agent.triggers import schedule
from holdfast_agent.triggers.ownership import Own, TakenError, is_own, settled
from holdfast_agent.triggers.schedule import State, Verdict, run_id
from holdfast_api.config import ScheduleConfig, TriggerConfig
from holdfast_api.cron import Cron, CronError, stamp

_LOG = logging.getLogger(__name__)
KEY: Final = "triggers"
_LOOK_SECONDS: Final = 30.0
"""The clock may be set: nobody sleeps longer than this, though nothing is read then."""
_AGAIN_SECONDS: Final = 1.0
_OWED_SECONDS: Final = 6.0

Document = dict[str, Any]


@dataclass(frozen=True)
class Trigger:
    """One schedule: what it is, and its ticks."""

    name: str
    task: str
    schedule: ScheduleConfig
    cron: Cron


class Ticker:
    """The clock of one process. Lives on the program's event loop."""

    def __init__(self, *, store: Store, runs: Runs, controls: Controls, triggers: Iterable[TriggerConfig], metrics: Metrics) -> None:
        """Keep the parts.

        Args:
            store: where the document is.
            runs: begins them.
            controls: cancels them.
            triggers: those of the configuration; the ones without a schedule are left out.
            metrics: counts what becomes of ticks.
        """
        self._store, self._runs, self._controls, self._metrics = store, runs, controls, metrics
        self._triggers = {found.name: found for trigger in triggers if (found := _read(trigger))}
        self._trying: dict[str, int] = {}
        # Ticks whose run could not have the usual id, see `ownership`.
        self._ids: dict[tuple[str, int], str] = {}
        # Ticks that were told of, whose run can have none.
        self._taken: dict[str, int] = {}
        # Up to when this process has decided about ticks of a trigger, where the document has another schedule's word.
        self._since: dict[str, float] = {}
        self._taken_up = False
        self._next = 0.0

    async def run(self) -> None:
        """Look at the clock until canceled. Errors are logged, and asked about again a second later."""
        while self._triggers or not self._taken_up:
            await asyncio.sleep(max(0.0, min(self._next - time.time(), _LOOK_SECONDS)))
            if time.time() < self._next:
                continue
            try:
                await self.look()
            except StoreError as error:
                _LOG.warning("schedules cannot be looked at: %s", error)
                self._next = time.time() + _AGAIN_SECONDS
            except Exception:  # noqa: BLE001 - the clock must not stop
                _LOG.exception("looking at the clock broke")
                self._next = time.time() + _AGAIN_SECONDS

    async def states(self) -> dict[str, State]:
        """What stands, by trigger.

        Raises:
            StoreError: the store does not answer.
        """
        entry = await self._store.get(KEY)
        return _states(entry.value if entry else None)

    async def look(self) -> None:
        """Decide about the ticks that are due, and begin their runs.

        Raises:
            StoreError: the store does not answer.
        """
        if not self._taken_up:
            await self._take_up()
        entry = await self._store.get(KEY)
        over, begun, beginning = await self._known(_states(entry.value if entry else None))
        now, verdicts = time.time(), dict[str, Verdict]()

        def decided(document: Document | None) -> Document:
            verdicts.clear()
            stands = _states(document)
            for name, trigger in self._triggers.items():
                if self._others(name, stands.get(name), now):
                    continue
                state = self._adopted(name, stands.get(name), begun)
                seen = state
                if state.owed is not None and (run := self._id(name, state.owed)) in begun:
                    seen = state.begins(state.owed, run)  # whoever began it died before writing that down
                seen = replace(seen, active=tuple(run for run in seen.active if run not in over))
                if seen.owed is not None and self._id(name, seen.owed) in beginning:
                    verdicts[name] = Verdict(seen)
                else:
                    trying = self._trying.get(name) == state.owed
                    verdicts[name] = schedule.decide(seen, trigger.cron, trigger.schedule, now, trying=trying)
                # Runs that are over are only worth a write when there is something to write.
                changed = replace(verdicts[name].state, active=state.active) != state
                stands[name] = verdicts[name].state if changed else state
            return _document(stands)

        if self._triggers:
            await self._store.update(KEY, decided, known=entry)
        self._since |= dict.fromkeys(verdicts, now)
        self._next = self._following(now)
        for name, verdict in verdicts.items():
            self._tell(name, verdict)
            self._metrics.tick(name, verdict.state.tick)
            await self._carry_out(self._triggers[name], verdict)
        waits = any(verdict.state.owed is not None and verdict.begin is None for verdict in verdicts.values())
        if waits or not self._taken_up or len(verdicts) < len(self._triggers):
            self._next = min(self._next, now + _OWED_SECONDS)

    def next_tick(self, name: str, now: float) -> int | None:
        """When a trigger is due next, in seconds since the epoch; None: never, or it is suspended."""
        trigger = self._triggers.get(name)
        return None if trigger is None or trigger.schedule.suspend else trigger.cron.after(now)

    def _following(self, now: float) -> float:
        return min(filter(None, (self.next_tick(name, now) for name in self._triggers)), default=math.inf)

    async def _take_up(self) -> None:
        """Take the schedules up. What earlier ones left over is over, and triggers that are gone are forgotten.

        Not while an earlier schedule owes a tick that somebody may just be beginning: then it is done again with the next look.
        """
        now = time.time()
        self._since = dict.fromkeys(self._triggers, now) | self._since

        # What is owed by a schedule that is no more is still carried out if it is stored.
        _, begun, _ = await self._known({name: state for name, state in (await self.states()).items() if not self._has(name, state)})
        left: dict[str, State] = {}

        def taken_up(document: Document | None) -> Document | None:
            nonlocal left
            stands = _states(document)
            left = {name: state for name, state in stands.items() if self._others(name, state, now)}
            if not stands and not self._triggers:
                return None
            return _document({name: self._adopted(name, stands.get(name), begun) for name in self._triggers} | left)

        await self._store.update(KEY, taken_up)
        self._taken_up = not left

    def _adopted(self, name: str, state: State | None, begun: set[str]) -> State:
        """What stands of a trigger for this process.

        Args:
            name: of the trigger.
            state: as it is stored.
            begun: runs of ticks that are owed which are there and scheduled.
        """
        if state and not self._has(name, state) and state.owed is not None and (run := self._id(name, state.owed)) in begun:
            state = state.begins(state.owed, run)
        return schedule.adopted(state, self._triggers[name].schedule, self._since[name])

    def _has(self, name: str, state: State) -> bool:
        return name in self._triggers and schedule.digest(self._triggers[name].schedule) == state.schedule

    def _others(self, name: str, state: State | None, now: float) -> bool:
        """Whether a tick of another schedule is owed, and whoever decided about it may just be beginning its run."""
        return state is not None and state.owed is not None and not self._has(name, state) and not state.forsaken(now)

    async def _known(self, states: Mapping[str, State]) -> tuple[set[str], set[str], set[str]]:
        """What became of runs. Those that a process stored and did not live to schedule are scheduled.

        Returns:
            Of the runs that may not be over those that are, or that are gone; of the ticks that are owed those whose run is there; and
            those whose run is there while another process may be about to schedule it. A tick whose ids are all taken is in neither.

        Raises:
            StoreError: the store does not answer.
        """
        active = {run for state in states.values() for run in state.active}
        owed: dict[str, str] = {}
        for name, state in states.items():
            if state.owed is not None:
                with contextlib.suppress(TakenError):  # the next tick takes its place, and the other triggers have theirs
                    owed[await self._settle(name, state.owed)] = name
        heads = await self._store.get_many(map(documents.head_key, active | owed.keys())) if active or owed else {}
        there = {run: Head.load(heads[key].value) for run in active | owed.keys() if (key := documents.head_key(run)) in heads}
        begun, beginning, now = set[str](), set[str](), time.time()
        for run in owed.keys() & there.keys():
            name = owed[run]
            if not (there[run].terminal or self._trying.get(name) == states[name].owed or states[name].forsaken(now)):
                beginning.add(run)
            elif there[run].terminal or await self._runs.resume(run):
                begun.add(run)
        return {run for run in active | begun if run not in there or there[run].terminal}, begun, beginning

    async def _carry_out(self, trigger: Trigger, verdict: Verdict) -> None:
        tick, name = verdict.begin, trigger.name
        if tick is None:
            self._trying.pop(name, None)
            return
        self._trying[name] = tick
        try:
            run = await self._settle(name, tick)
            if trigger.schedule.concurrency_policy == "Replace":
                await self._cancel(verdict.state.active, run)
            await self._accept(trigger, run, tick)
            await self._store.update(KEY, lambda document: _begun(document, name, tick, run))
        except TakenError as error:
            if self._taken.get(name) != tick:
                _LOG.error("the run of a tick cannot begin: %s", error, extra={"trigger": name, "tick": stamp(tick)})
            self._taken[name] = tick
            self._next = min(self._next, time.time() + _OWED_SECONDS)
            return
        except (BusyError, StoreError) as error:
            _LOG.warning("the run of a tick cannot begin yet: %s", error, extra={"trigger": name, "tick": stamp(tick)})
            self._next = min(self._next, time.time() + _AGAIN_SECONDS)
            return
        self._trying.pop(name, None)
        self._metrics.ticked(name, "begun")
        _LOG.info("tick", extra={"trigger": name, "run": run, "late": round(time.time() - tick, 3)})

    async def _accept(self, trigger: Trigger, run: str, tick: int) -> None:
        head: Head | None
        try:
            head = await self._runs.accept(trigger.task, run, trigger={"kind": "schedule", "name": trigger.name, "tick": tick})
        except ConflictError:  # its task was another one when it was stored, and that is all the difference
            head = await self._runs.resume(run)
        if head and not is_own(head, _tick_of(trigger.name, tick)):
            raise StoreError("somebody else has just begun a run under its id")

    async def _settle(self, name: str, tick: int) -> str:
        """The id of the run of a tick. Raises TakenError and StoreError."""
        known = self._ids.get((name, tick))
        run, _ = await settled(self._runs, run_id(name, tick), _tick_of(name, tick), trigger=name, known=known)
        self._ids = {at: known for at, known in self._ids.items() if at[0] != name} | {(name, tick): run}
        return run

    def _id(self, name: str, tick: int) -> str:
        return self._ids.get((name, tick)) or run_id(name, tick)

    async def _cancel(self, runs: Iterable[str], successor: str) -> None:
        for run in runs:
            with contextlib.suppress(UnknownRun, EndedRun):
                if run != successor:
                    await self._controls.cancel(run, f"replaced by {successor}")

    def _tell(self, name: str, verdict: Verdict) -> None:
        state = verdict.state
        if verdict.late:
            least = "at least " if verdict.late >= schedule.COUNTED else ""
            _LOG.warning("%s%d ticks were missed and are not made up for", least, verdict.late, extra={"trigger": name})
            self._metrics.ticked(name, "missed", verdict.late)
        if verdict.left_out:
            told = {"trigger": name, "tick": stamp(int(state.through)), "active": list(state.active)}
            _LOG.warning("a tick was left out: an earlier run of this trigger is not over, and concurrencyPolicy is Forbid", extra=told)
            self._metrics.ticked(name, "skipped")


def _read(trigger: TriggerConfig) -> Trigger | None:
    """A trigger with its ticks; one that cannot be read keeps nobody else from theirs."""
    if trigger.schedule is None:
        return None
    try:
        cron = Cron.parse(trigger.schedule.cron, trigger.schedule.time_zone)
    except CronError as error:
        _LOG.error("trigger %r never fires: %s", trigger.name, error)
        return None
    return Trigger(trigger.name, trigger.task or "", trigger.schedule, cron)


def _tick_of(name: str, tick: int) -> Own:
    return lambda origin: (origin.get("kind"), origin.get("name"), origin.get("tick")) == ("schedule", name, tick)


def _states(document: Mapping[str, Any] | None) -> dict[str, State]:
    return {name: State.load(state) for name, state in (document or {}).get(KEY, {}).items()}


def _document(states: Mapping[str, State]) -> Document:
    return {KEY: {name: state.dump() | {"active": list(state.active)} for name, state in sorted(states.items())}}


def _begun(document: Document | None, name: str, tick: int, run: str) -> Document | None:
    stands = _states(document)
    return _document(stands | {name: stands[name].begins(tick, run)}) if name in stands else None
