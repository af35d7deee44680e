"""Looks after the runs that may not have ended: schedules, wakes or closes what nobody else will.

It makes up for what can be lost between two stores: a head without a workflow, a timer that went with the scheduler's data, an event that
was not raised after the head was changed. Every replica does it, and doing it twice changes nothing.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from holdfast_agent import documents
from holdfast_agent.documents import Head
from holdfast_agent.engine import Engine, EngineError, Instance
from holdfast_agent.loop import RUN_TIMEOUT, WORKFLOW_ENDED, poke_event, wake_event
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.outbox import Outbox
from holdfast_agent.runs import Runs
from holdfast_agent.store import Entry, Store, StoreError

_LOG = logging.getLogger(__name__)
_GRACE_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 60.0
_CONCURRENCY: Final = 8
_GROUP: Final = 200
_SETTLE_SECONDS: Final = 900.0
"""How long a run may need to end after its deadline and its last call: a result that cannot be stored is held for ten minutes."""


class Janitor:
    """What one process does about the runs of all. Lives on the program's event loop."""

    def __init__(self, *, runs: Runs, store: Store, engine: Engine, index: OpenRuns, overdue_seconds: float) -> None:
        """Keep the parts.

        Args:
            runs: schedules and closes them.
            store: where documents are.
            engine: tells, wakes and terminates.
            index: of runs that may not have ended.
            overdue_seconds: how late a timer must be to count as lost.
        """
        self._runs, self._store, self._engine, self._index = runs, store, engine, index
        self._overdue_seconds = overdue_seconds
        self._poked: dict[str, tuple[tuple[str, int] | None, float, float]] = {}
        self._outlived: dict[str, float] = {}

    async def tidy(self, *, thorough: bool) -> None:
        """Look after the runs that may not have ended.

        Args:
            thorough: ask Dapr about every one of them. Else only about those that are overdue, do not heed their head, or could not be
                looked after before.

        Raises:
            StoreError: the index cannot be read or written.
        """
        await self._index.flush()
        open_runs = await self._index.all()
        self._remember_only(open_runs)
        gate, now, gone = asyncio.Semaphore(_CONCURRENCY), time.time(), dict[str, float]()

        async def look(run: str, entry: Entry | None) -> None:
            head = Head.load(entry.value) if entry else None
            if (head is None and open_runs[run] + _GRACE_SECONDS < now) or (head and head.terminal and await self._left(head)):
                gone[run] = open_runs[run]
            elif head and not head.terminal and (thorough or run in self._runs.again or self._needed(head, now)):
                async with gate:
                    await self._try_to_look_after(head, now)

        seen: list[Head] = []
        for group in _groups(sorted(open_runs)):
            heads = await self._store.get_many(map(documents.head_key, group))
            seen += _bare(heads.values())
            await asyncio.gather(*(look(run, heads.get(documents.head_key(run))) for run in group))
        self._runs.observer.open_runs(seen)
        await self._index.forget(gone)

    def _remember_only(self, runs: Iterable[str]) -> None:
        self._index.keep(runs)
        self._runs.again.intersection_update(runs)
        for run in self._poked.keys() - runs:
            self._poked.pop(run)
        for run in self._outlived.keys() - runs:
            self._outlived.pop(run)

    def _needed(self, head: Head, now: float) -> bool:
        return head.unheeded or head.forced or self._overdue(head, now) or _outlived(head, now)

    def _overdue(self, head: Head, now: float) -> bool:
        return head.trouble is not None and head.trouble.until + self._overdue_seconds < now

    async def _left(self, head: Head) -> bool:
        """Whether nothing is left to do about a run that has ended."""
        try:
            await self._runs.leave_session(head)
        except StoreError as error:
            _LOG.warning("a run cannot be taken out of its session now: %s", error, extra={"run": head.id})
            return False
        return self._runs.outbox is None or await self._told(self._runs.outbox, head)

    async def _told(self, outbox: Outbox, head: Head) -> bool:
        """Whether its end is published, if that was asked for."""
        try:
            return await outbox.tell_later(head)
        except StoreError as error:
            _LOG.warning("it cannot be written down that the end of a run is published: %s", error, extra={"run": head.id})
            return False

    async def _try_to_look_after(self, head: Head, now: float) -> None:
        """One run that is broken must not keep the others from being looked after."""
        try:
            await self._look_after(head, now)
            self._runs.again.discard(head.id)
        except (EngineError, StoreError) as error:
            self._runs.again.add(head.id)
            _LOG.warning("a run cannot be looked after now: %s", error, extra={"run": head.id})
        except Exception:  # noqa: BLE001 - the others count on being looked after
            self._runs.again.add(head.id)
            _LOG.exception("looking after a run broke", extra={"run": head.id})

    async def _look_after(self, head: Head, now: float) -> None:
        if head.forced:
            await self._runs.end_by_force(head)
            return
        instance = await self._engine.instance(head.id)
        if instance and instance.status == "STALLED":
            _LOG.error("Dapr cannot carry the run on here: %s", instance.failure or "no reason given", extra={"run": head.id})
        if instance is None:
            await self._runs.schedule(head)
        elif instance.terminal:
            message = f"Dapr ended the workflow as {instance.status}: {instance.failure or 'no reason given'}"
            await self._runs.close(head, {"type": WORKFLOW_ENDED, "message": message})
        elif _outlived(head, now):
            await self._end(head, instance, now)
        elif why := await self._why_wake(head, instance, now):
            await self._wake(head, why, now)

    async def _why_wake(self, head: Head, instance: Instance, now: float) -> str | None:
        """Why a run that is under way has to be woken, in words for the log."""
        if head.unheeded:
            return "the run has not seen its head"
        trouble = head.trouble
        if trouble and not self._overdue(head, now):
            return None
        if trouble and not await self._store.get(documents.effect_document(trouble.key)):
            return "a timer is overdue"
        # Hardly a step takes so long. It waits, and its head does not say so because the store was away; if not, it looks once too often.
        silent = instance.updated.timestamp() + head.longest_call + _SETTLE_SECONDS < now
        return "nothing has happened for long" if silent else None

    async def _wake(self, head: Head, why: str, now: float) -> None:
        """Once for each wait, then ever more seldom: an event that nobody waits for stays with the workflow until somebody does."""
        waited = (head.trouble.key, head.trouble.attempt) if head.trouble else None
        before, again, pause = self._poked.get(head.id, (None, 0.0, 0.0))
        event = wake_event(head)
        if event is None or (pause and before == waited and now < again):
            return
        _LOG.warning("%s, waking the run", why, extra={"run": head.id} | ({"step": head.trouble.key} if head.trouble else {}))
        await self._engine.wake(head.id, event)
        pause = 2 * pause if pause and before == waited else _AGAIN_SECONDS
        self._poked[head.id] = waited, now + pause, pause

    async def _end(self, head: Head, instance: Instance, now: float) -> None:
        """A run that outlived its deadline, when nothing can be under way any more.

        First it is woken, if it can be, and given time to end by itself: it may only just have got a process again, or stand in a wait
        that nobody knows of. As long as Dapr hears of it after that, it is at its end: it calls off other agents, or is about to undo what
        it did.
        """
        if head.id not in self._outlived:
            self._outlived[head.id] = now
            if head.plan:
                await self._engine.wake(head.id, poke_event(head.id))
        heard = max(self._outlived[head.id], instance.updated.timestamp())
        if now < heard + head.longest_call + _SETTLE_SECONDS:
            return
        await self._engine.terminate(head.id)
        message = f"limits.runTimeout has passed long ago and the run did not end by itself: Dapr held its workflow as {instance.status}"
        await self._runs.close(head, {"type": RUN_TIMEOUT, "message": message})


def _outlived(head: Head, now: float) -> bool:
    """A run that is being undone takes the time it needs: what is left of it is bounded by attempts, not by the clock."""
    return head.ending is None and head.deadline + head.longest_call + _SETTLE_SECONDS < now


def _bare(entries: Iterable[Entry]) -> Iterator[Head]:
    """Heads of runs that have not ended, without the task: there may be many."""
    heads = (Head.load(entry.value) for entry in entries)
    return (replace(head, task="") for head in heads if not head.terminal)


def _groups(runs: list[str]) -> Iterator[list[str]]:
    return (runs[start : start + _GROUP] for start in range(0, len(runs), _GROUP))
