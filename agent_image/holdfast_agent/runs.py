"""Runs as callers know them: asked for once, looked at, waited for. Documents first, workflow second.

The head is written before the workflow is scheduled, and that is what makes an id safe to repeat: Dapr would start an ended id over
again. Once the head stands the run is accepted, whatever happens to the scheduling; the janitor makes up for it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Final
from weakref import WeakValueDictionary

from holdfast_agent import documents
from holdfast_agent.documents import Head, ModelTurn, ToolOutcome, Trouble
from holdfast_agent.engine import Engine, EngineError
from holdfast_agent.loop import RUN_TIMEOUT, Loop, poke_event
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.revisions import Revisions
from holdfast_agent.store import Entry, Store, StoreError
from holdfast_api.config import AgentConfig

_LOG = logging.getLogger(__name__)
SHOWN_CHARACTERS: Final = 2000
"""How much of a result is held to be shown."""
_POLL_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 60.0
_MEND_AFTER_SECONDS: Final = 5.0
_CONCURRENCY: Final = 8
_GROUP: Final = 200
_SETTLE_SECONDS: Final = 900.0
"""How long a run may need to end after its deadline and its last call: a result that cannot be stored is held for ten minutes."""


class ConflictError(Exception):
    """The id belongs to a run that was asked for with another body."""


class Runs:
    """All runs of this agent. Lives on the program's event loop."""

    def __init__(self, *, store: Store, engine: Engine, revisions: Revisions, index: OpenRuns, overdue_seconds: float) -> None:
        """Keep the parts.

        Args:
            store: where documents are.
            engine: schedules, tells and wakes.
            revisions: what new runs begin with.
            index: of runs that may not have ended.
            overdue_seconds: how late a timer must be to count as lost.
        """
        self._overdue_seconds = overdue_seconds
        self._store, self._engine, self._revisions, self._index = store, engine, revisions, index
        self._ends: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._again: set[str] = set()
        self._poked: dict[str, tuple[str, int]] = {}
        self._outlived: dict[str, float] = {}
        self._released = False

    async def accept(self, task: str, run: str) -> Head:
        """Begin a run, or find the one that the same request began.

        Args:
            task: what is asked.
            run: its id, the caller's or a new one.

        Raises:
            ConflictError: the id is another request's.
            StoreError: it is not sure that the run is stored, or that it will be carried out. Asking again with this id settles it.
        """
        now, config = time.time(), self._revisions.current.config
        head = Head(
            id=run,
            task=task,
            digest=documents.task_digest(task),
            revision=self._revisions.current.name,
            created=now,
            deadline=now + config.limits.run_timeout_seconds,
            max_iterations=config.limits.max_iterations,
            longest_call=_longest_call(config),
        )
        document, created = await self._store.create(documents.head_key(head.id), head.dump())
        stored = Head.load(document)
        if stored.digest != head.digest:
            raise ConflictError(head.id)
        self._index.listing.add(stored.id, stored.created)
        if not stored.terminal:
            await self._ensure_scheduled(stored, known_new=created)
        return stored

    async def find(self, run: str) -> Head | None:
        """The head of a run, or None.

        Raises:
            StoreError: the store does not answer.
        """
        entry = await self._store.get(documents.head_key(run))
        return Head.load(entry.value) if entry else None

    async def mend(self, head: Head) -> None:
        """Schedule a run that stands unscheduled: its process died between the head and the scheduling, so nobody was told of it.

        Raises:
            StoreError: the store does not answer.
        """
        if not head.terminal and time.time() > head.created + _MEND_AFTER_SECONDS:
            await self._ensure_scheduled(head, known_new=False)

    async def wait(self, head: Head, seconds: float) -> Head:
        """The run's head once it has ended, or as it is after `seconds`.

        Raises:
            StoreError: the store does not answer.
        """
        until, end = time.monotonic() + seconds, self._ends.setdefault(head.id, asyncio.Event())
        while not (head.terminal or self._released) and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, _POLL_SECONDS)):
                    await end.wait()
            head = await self.find(head.id) or head
        return head

    def ended(self, run: str) -> None:
        """A run ended in this process: drop it from the index and let those who wait look."""
        self._index.drop(run)
        end = self._ends.pop(run, None)
        if end:
            end.set()

    def release(self) -> None:
        """The process stops: nobody waits any longer."""
        self._released = True
        for end in list(self._ends.values()):
            end.set()

    async def turns(self, run: str, first: int, last: int) -> tuple[list[ModelTurn], dict[str, ToolOutcome]]:
        """The turns in that range that have happened, and the finished calls by key, their content cut to what is shown of it.

        Raises:
            StoreError: the store does not answer.
        """
        turns: list[ModelTurn] = []
        outcomes: dict[str, ToolOutcome] = {}
        # Results are up to 256 KiB each, so only those of a few turns are held whole at a time.
        for start in range(first, last + 1, documents.TURNS_PER_GENERATION):
            keys = [documents.model_key(run, turn) for turn in range(start, min(start + documents.TURNS_PER_GENERATION, last + 1))]
            said = await self._store.get_many(map(documents.effect_document, keys))
            found = [ModelTurn.load(said[at].value) for key in keys if (at := documents.effect_document(key)) in said]
            if not found:
                break
            done = await self._store.get_many(documents.effect_document(key) for turn in found for key in turn.call_keys())
            turns += found
            outcomes |= {outcome.key: outcome.cut(SHOWN_CHARACTERS) for outcome in map(_outcome, done.values())}
        return turns, outcomes

    async def tidy(self, *, thorough: bool) -> None:
        """Look after the runs that may not have ended: schedule, wake or close what nobody else will.

        Args:
            thorough: ask Dapr about every one of them. Else only about those that are overdue or that could not be looked after before.

        Raises:
            StoreError: the index cannot be read or written.
        """
        await self._index.flush()
        open_runs = await self._index.all()
        self._remember_only(open_runs)
        gate, now, gone = asyncio.Semaphore(_CONCURRENCY), time.time(), set[str]()

        async def look(run: str, entry: Entry | None) -> None:
            head = Head.load(entry.value) if entry else None
            if (head is None and open_runs[run] + _GRACE_SECONDS < now) or (head and head.terminal):
                gone.add(run)
            elif head and (thorough or run in self._again or self._overdue(head, now) or _outlived(head, now)):
                async with gate:
                    await self._try_to_look_after(head, now)

        for group in _groups(sorted(open_runs)):
            heads = await self._store.get_many(map(documents.head_key, group))
            await asyncio.gather(*(look(run, heads.get(documents.head_key(run))) for run in group))
        await self._index.forget(gone)

    def _remember_only(self, runs: Iterable[str]) -> None:
        self._index.keep(runs)
        self._again.intersection_update(runs)
        for noted in (self._poked, self._outlived):
            for run in noted.keys() - runs:
                noted.pop(run)

    def _overdue(self, head: Head, now: float) -> bool:
        return head.trouble is not None and head.trouble.until + self._overdue_seconds < now

    async def _try_to_look_after(self, head: Head, now: float) -> None:
        """One run that is broken must not keep the others from being looked after."""
        try:
            await self._look_after(head, now)
            self._again.discard(head.id)
        except (EngineError, StoreError) as error:
            self._again.add(head.id)
            _LOG.warning("a run cannot be looked after now: %s", error, extra={"run": head.id})
        except Exception:  # noqa: BLE001 - the others count on being looked after
            self._again.add(head.id)
            _LOG.exception("looking after a run broke", extra={"run": head.id})

    async def _look_after(self, head: Head, now: float) -> None:
        instance = await self._engine.instance(head.id)
        if instance and instance.status == "STALLED":
            _LOG.error("Dapr cannot carry the run on here: %s", instance.failure or "no reason given", extra={"run": head.id})
        if instance is None:
            await self._schedule(head)
        elif instance.terminal:
            message = f"Dapr ended the workflow as {instance.status}: {instance.failure or 'no reason given'}"
            await self._close(head, {"type": "WorkflowEnded", "message": message})
        elif _outlived(head, now):
            await self._end(head, instance.status, now)
        elif head.trouble and self._overdue(head, now):
            await self._wake(head, head.trouble)

    async def _wake(self, head: Head, trouble: Trouble) -> None:
        """Once for each wait and only while it lasts: an event that nobody waits for stays with the workflow until its end."""
        waited = trouble.key, trouble.attempt
        if self._poked.get(head.id) == waited or await self._store.get(documents.effect_document(trouble.key)):
            return
        _LOG.warning("a timer is overdue, waking the run", extra={"run": head.id, "step": trouble.key})
        await self._engine.wake(head.id, poke_event(*waited))
        self._poked[head.id] = waited

    async def _end(self, head: Head, status: str, now: float) -> None:
        """A run that outlived its deadline, when nothing can be under way any more.

        First it is given time to end by itself: it may only just have got a process again.
        """
        if now < self._outlived.setdefault(head.id, now) + _GRACE_SECONDS:
            return
        await self._engine.terminate(head.id)
        message = f"limits.runTimeout has passed long ago and the run did not end by itself: Dapr held its workflow as {status}"
        await self._close(head, {"type": RUN_TIMEOUT, "message": message})

    async def _close(self, head: Head, error: dict[str, str]) -> None:
        """Write down the end of a run whose workflow ended without doing so: terminated, or a defect."""
        now, usage = time.time(), head.usage
        turns, _ = await self.turns(head.id, head.packed + 1, head.packed + documents.TURNS_PER_GENERATION)
        for turn in turns:
            usage = usage.plus(turn.usage)

        def closed(document: documents.Document | None) -> documents.Document | None:
            return Head.load(document).failed(error, usage, now).dump() if document else None

        await self._store.update(documents.head_key(head.id), closed)
        _LOG.warning("run closed: %s", error["message"], extra={"run": head.id})
        self.ended(head.id)

    async def _ensure_scheduled(self, head: Head, *, known_new: bool) -> None:
        try:
            if known_new or await self._engine.instance(head.id) is None:
                await self._schedule(head)
        except EngineError as error:
            self._again.add(head.id)
            await self._index.ensure(head.id)
            _LOG.warning("accepted, to be scheduled later: %s", error, extra={"run": head.id})

    async def _schedule(self, head: Head) -> None:
        state = Loop(run=head.id, revision=head.revision, deadline=head.deadline, max_iterations=head.max_iterations)
        if await self._engine.schedule(head.id, state.dump()):
            _LOG.info("run scheduled", extra={"run": head.id})


def _outcome(entry: Entry) -> ToolOutcome:
    return ToolOutcome.load(entry.value)


def _outlived(head: Head, now: float) -> bool:
    return head.deadline + head.longest_call + _SETTLE_SECONDS < now


def _longest_call(config: AgentConfig) -> float:
    return max([config.model.timeout_seconds, *(tool.timeout_seconds for tool in config.tools)])


def _groups(runs: list[str]) -> Iterator[list[str]]:
    return (runs[start : start + _GROUP] for start in range(0, len(runs), _GROUP))
