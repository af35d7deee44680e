"""Runs as callers know them: asked for once, looked at, waited for. Documents first, workflow second.

The head is written before the workflow is scheduled, and that is what makes an id safe to repeat: Dapr would start an ended id over
again. Once the head stands the run is accepted, whatever happens to the scheduling; the janitor makes up for it.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterable
from typing import Final
from weakref import WeakValueDictionary

from holdfast_agent import documents, scope
from holdfast_agent.admission import BusyError
from holdfast_agent.audit import Auditor
from holdfast_agent.audit.export import recorded
from holdfast_agent.documents import Head, Plan
from holdfast_agent.engine import Engine, EngineError
from holdfast_agent.loop import CANCELED, Loop
from holdfast_agent.observer import Observer
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.outbox import Outbox
from holdfast_agent.revisions import Revisions
from holdfast_agent.sessions import Sessions
from holdfast_agent.store import Store
from holdfast_agent.timelines import Timelines
from holdfast_api.config import AgentConfig

_LOG = logging.getLogger(__name__)
_POLL_SECONDS: Final = 1.0
_MEND_AFTER_SECONDS: Final = 5.0


class ConflictError(Exception):
    """The id belongs to a run that was asked for with another body."""


class _End(asyncio.Event):
    """Set when a run has ended here, or when nobody is to wait any longer. `head`: as the run ended."""

    head: Head | None = None


class Runs:
    """All runs of this agent. Lives on the program's event loop."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        revisions: Revisions,
        index: OpenRuns,
        auditor: Auditor | None = None,
        observer: Observer | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            store: where documents are.
            engine: schedules and tells.
            revisions: what new runs begin with.
            index: of runs that may not have ended.
            auditor: begins the records of new runs; None: they are bound to nobody.
            observer: sees what begins and ends; None: nobody looks.
            outbox: tells how runs ended; None: nobody is told.
        """
        self._store, self._engine, self._revisions, self._index = store, engine, revisions, index
        self._auditor, self.observer = auditor or Auditor(), observer or Observer()
        self.outbox = outbox
        self._ends: WeakValueDictionary[str, _End] = WeakValueDictionary()
        self._released = False
        self.again: set[str] = set()
        """Runs that could not be looked after, for the janitor."""

    @property
    def config(self) -> AgentConfig:
        """What new runs begin with."""
        return self._revisions.current.config

    async def accept(
        self,
        task: str,
        run: str,
        *,
        session: str | None = None,
        trace: str | None = None,
        rerun_of: str | None = None,
        callers: tuple[str, ...] = (),
        trigger: documents.Document | None = None,
        seconds: float = math.inf,
    ) -> Head:
        """Begin a run, or find the one that the same request began.

        Args:
            task: what is asked.
            run: its id, the caller's or a new one.
            session: the id of the session that it belongs to.
            trace: the caller's traceparent.
            rerun_of: the run that it does over again.
            callers: app ids of the agents that led to it.
            trigger: what began it by itself, see `Head`.
            seconds: that it may take, if that is less than what the agent allows.

        Raises:
            ConflictError: the id is another request's.
            BusyError: `limits.maxConcurrentRuns` runs are at work here. A run that is there already is never refused.
            StoreError: it is not sure that the run is stored, or that it will be carried out. Asking again with this id settles it.
        """
        now, config = time.time(), self.config
        head = Head(
            id=run,
            task=task,
            digest=documents.task_digest(task, session),
            revision=self._revisions.current.name,
            created=now,
            deadline=now + min(config.limits.run_timeout_seconds, seconds),
            max_iterations=config.limits.max_iterations,
            longest_call=config.longest_call_seconds,
            plan=Plan.of(config, session=session is not None),
            model=config.model.label,
            critic=(config.evaluation.model or config.model).label if config.evaluation else None,
            session=session,
            trace=self.observer.telemetry.begin(run, trace),
            rerun_of=rerun_of,
            publish=_publish(config),
            epoch=int(now * 1000),
            callers=callers,
            trigger=trigger,
        )
        stored, created = await self._admitted(self._auditor.begun(head), config.limits.max_concurrent_runs)
        if stored.digest != head.digest:
            raise ConflictError(head.id)
        if created:
            self.observer.started()
        self._index.listing.add(stored.id, stored.created)
        if not stored.terminal:
            await self._ensure_scheduled(stored, known_new=created)
        return stored

    async def _admitted(self, head: Head, most: int | None) -> tuple[Head, bool]:
        """The head that stands, and whether it is this one."""
        admission = self._index.admission
        ours = head.id in admission
        try:
            await admission.admit(head.id, most, self._heads)
        except BusyError:
            stored = await self.find(head.id)
            if stored is None:
                raise
            return stored, False
        try:
            document, created = await self._store.create(documents.head_key(head.id), head.dump())
        except BaseException:  # not stored, as far as is known: whoever schedules it after all counts it again
            if not ours:
                admission.drop(head.id)
            raise
        stored = Head.load(document)
        if stored.terminal or not (created or ours):
            admission.drop(head.id)
        elif stored.at_rest:
            admission.rest(head.id)
        return stored, created

    async def _heads(self, runs: Iterable[str]) -> list[Head]:
        heads = await self._store.get_many(map(documents.head_key, runs))
        return [Head.load(entry.value) for entry in heads.values()]

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

    async def resume(self, run: str) -> Head | None:
        """Make sure that a run that stands is carried out: whoever stored its head may have died before Dapr heard of it.

        Args:
            run: its id. Nobody else should be beginning it at this moment, see `mend`.

        Returns:
            Its head; None: there is no such run.

        Raises:
            StoreError: it is not sure that it will be carried out.
        """
        head = await self.find(run)
        if head:
            self._index.listing.add(head.id, head.created)
        if head and not head.terminal:
            await self._ensure_scheduled(head, known_new=False)
        return head

    async def wait(self, head: Head, seconds: float) -> Head:
        """The run's head once it has ended, or as it is after `seconds`.

        Raises:
            StoreError: the store does not answer.
        """
        until, end = time.monotonic() + seconds, self._ends.setdefault(head.id, _End())
        while not (head.terminal or self._released) and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, _POLL_SECONDS)):
                    await end.wait()
            end.clear()
            head = end.head or await self.find(head.id) or head
        return head

    def ended(self, head: Head) -> None:
        """A run ended in this process: drop it from the index and show its end to those who wait, who need not read it."""
        if head.untold and self.outbox:
            self._index.admission.drop(head.id)  # its entry is taken out once its end is told
        else:
            self._index.drop(head.id)
        end = self._ends.pop(head.id, None)
        if end:
            end.head = head if head.terminal else None
            end.set()

    def release(self) -> None:
        """The process stops: nobody waits any longer."""
        self._released = True
        for end in list(self._ends.values()):
            end.set()

    async def _ensure_scheduled(self, head: Head, *, known_new: bool) -> None:
        try:
            if known_new or await self._engine.instance(head.id) is None:
                await self.schedule(head)
        except EngineError as error:
            self.again.add(head.id)
            await self._index.ensure(head.id)
            _LOG.warning("accepted, to be scheduled later: %s", error, extra={"run": head.id})

    async def schedule(self, head: Head) -> None:
        """Let Dapr carry a run out, unless it does already.

        Raises:
            EngineError: Dapr did not take it.
        """
        state = Loop(
            run=head.id,
            revision=head.revision,
            deadline=head.deadline,
            max_iterations=head.max_iterations,
            plan=head.plan,
            audit={name: head.audit[name] for name in ("count", "hash", "tail")} if head.plan and head.audit else None,
            trace=head.trace,
        )
        admission = self._index.admission
        counted = head.id in admission
        admission.add(head.id)  # whoever took it may be gone
        with scope.traced(self.observer.telemetry.root(head.trace, head.id)):
            if await self._engine.schedule(head.id, state.dump()):
                _LOG.info("run scheduled", extra={"run": head.id})
            elif not counted:  # it counts where it was scheduled
                admission.drop(head.id)

    async def close(self, head: Head, error: dict[str, str]) -> Head:
        """Write down the end of a run whose workflow ended without doing so: terminated, or a defect.

        Raises:
            StoreError: the store does not answer.
        """
        now, usage = time.time(), head.usage
        timeline = await Timelines(self._store).read(head, head.packed + 1, head.packed + documents.UNPACKED)
        for used in timeline.usages():
            usage = usage.plus(used)

        chain, here = await recorded(self._store, head), False

        def closed(document: documents.Document | None) -> documents.Document | None:
            nonlocal here
            if document is None:
                return None
            before = Head.load(document)
            here = not before.terminal
            return self._auditor.sealed(before.failed(error, usage, now), chain).dump() if here else document

        stands = await self._store.update(documents.head_key(head.id), closed)
        _LOG.warning("run closed: %s", error["message"], extra={"run": head.id})
        closing = Head.load(stands) if stands else head
        await self.leave_session(closing)
        self.observer.ended(closing, here=here)
        self.ended(closing)
        if self.outbox:
            await self.outbox.tell(closing)
        return closing

    async def leave_session(self, head: Head) -> None:
        """Take a run that did not end well out of its session: its process may have died when it was about to complete. Else nothing.

        Raises:
            StoreError: the store does not answer.
        """
        if head.session is not None and head.left_session:
            await Sessions(self._store).withdraw(head.session, head.id, accepted=head.created)

    async def end_by_force(self, head: Head) -> Head:
        """End a run whose head says so (`cancel.forced`) where it stands. What is in flight is not stopped, and nothing is undone.

        Raises:
            EngineError: Dapr did not take it.
            StoreError: the store does not answer.
        """
        instance = await self._engine.instance(head.id)
        if instance and not instance.terminal:
            await self._engine.terminate(head.id)
        return await self.close(head, {"type": CANCELED, "message": f"the run was ended by force: {_undone(head)}"})


def _undone(head: Head) -> str:
    return "nothing was undone" if head.ending is None else "it was being undone, see the steps for what was"


def _publish(config: AgentConfig) -> dict[str, str] | None:
    """Where the end of a run is told."""
    pubsub = config.pubsub
    return {"component": pubsub.component, "topic": pubsub.publish_results} if pubsub and pubsub.publish_results else None
