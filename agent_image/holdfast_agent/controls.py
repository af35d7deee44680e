"""What people do to a run under way. Document first, event second.

Each control changes the head by ETag and is acknowledged once that is stored: from then on it holds, whatever dies. If the run waits, the
head names the wait, and the event of that name makes the run look at its head at once. An event that is lost is made up for by the
janitor. All of them are idempotent: asked for twice, they answer as they did the first time.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from holdfast_agent import documents
from holdfast_agent.activities.approval import described
from holdfast_agent.documents import Head, ToolOutcome
from holdfast_agent.engine import Engine, EngineError
from holdfast_agent.heads import Decision, change
from holdfast_agent.loop import wake_event
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.runs import ConflictError, Runs
from holdfast_agent.store import Store

_LOG = logging.getLogger(__name__)
_SAID: Final[dict[bool, Decision]] = {True: "approved", False: "rejected"}


class UnknownRun(Exception):  # noqa: N818 - what callers sent is wrong, not this program
    """There is no such run."""


class UnknownCall(Exception):  # noqa: N818 - what callers sent is wrong, not this program
    """Nobody was asked about such a call."""


class EndedRun(Exception):  # noqa: N818 - what callers sent is too late, not wrong
    """The run has ended.

    Attributes:
        status: how.
    """

    def __init__(self, run: str, status: str) -> None:
        super().__init__(f"the run {run!r} has ended, {status}")
        self.status = status


class Controls:
    """Cancel, suspend, resume, approve, and do over again. Lives on the program's event loop.

    Every method may raise StoreError: then it is not sure that the control holds, and asking again settles it.
    """

    def __init__(self, *, runs: Runs, store: Store, engine: Engine, index: OpenRuns) -> None:
        """Keep the parts.

        Args:
            runs: begins new ones.
            store: where heads are.
            engine: wakes and terminates.
            index: of runs that may not have ended.
        """
        self._runs, self._store, self._engine, self._index = runs, store, engine, index

    async def cancel(self, run: str, reason: str = "", *, by: str = "") -> Head:
        """End a run: nothing new is begun, what is in flight settles, what was done is undone.

        Raises:
            UnknownRun: see there.
            EndedRun: see there.
        """
        now = time.time()
        return await self._changed(run, lambda head: head.canceled(now, reason, by=by), "cancel requested")

    async def force_cancel(self, run: str, reason: str = "", *, by: str = "") -> Head:
        """End a run where it stands. Nothing is undone, and what is in flight goes on to its own end.

        Raises:
            UnknownRun: see there.
            EndedRun: see there.
        """
        now = time.time()
        head = await self._change(run, lambda head: head.canceled(now, reason, forced=True, by=by), "cancel by force requested")
        try:
            return await self._runs.end_by_force(head)
        except EngineError as error:
            await self._later(run, error)
            return head

    async def suspend(self, run: str) -> Head:
        """Keep a run from its next step until it is resumed. `limits.runTimeout` goes on counting.

        Raises:
            UnknownRun: see there.
            EndedRun: see there.
        """
        now = time.time()
        return await self._change(run, lambda head: head.suspend(now), "suspended")

    async def resume(self, run: str) -> Head:
        """Let a suspended run go on.

        Raises:
            UnknownRun: see there.
            EndedRun: see there.
        """
        return await self._changed(run, lambda head: head.resume(), "resumed")

    async def approve(self, run: str, call: str, *, approved: bool, reason: str = "", by: str = "") -> Head:
        """Answer the question about one call. The first answer stands.

        Args:
            run: its id.
            call: `<turn>.<call>` or `<turn>/<call>`.
            approved: the answer.
            reason: what the model reads if it is no.
            by: who says so.

        Raises:
            UnknownRun: see there.
            UnknownCall: see there.
            ConflictError: it was answered otherwise before, the time ran out, or the run is ending and makes no more calls.
            EndedRun: see there.
        """
        name, decision, now = call.replace(".", "/"), _SAID[approved], time.time()

        def decided(head: Head) -> Head:
            return head if head.ending or head.cancel else head.decides(name, decision, reason, now, by=by)

        head = await self._change(run, decided, "decided", name)
        asked = head.approvals.get(name)
        if asked is None:
            entry = await self._store.get(documents.effect_document(f"{run}/{name}"))
            asked = ToolOutcome.load(entry.value).approval if entry else None
        if asked is None:
            raise UnknownCall(call)
        if asked.decision is None:
            raise ConflictError(f"the run is about to end, so the call {call} is not made any more")
        if asked.decision != decision:
            raise ConflictError(f"the call {call} was decided before: {asked.decision}")
        await self._wake(head)
        return head

    async def rerun(self, run: str, new: str, *, trace: str | None = None) -> Head:
        """Begin another run with the same task in the same session, by the revision of today.

        Args:
            run: its id.
            new: id of the new run; the same one again gives the same run.
            trace: the caller's traceparent.

        Raises:
            UnknownRun: see there.
            ConflictError: the new id is another run's.
            BusyError: see `Runs.accept`.
        """
        head = await self._runs.find(run)
        if head is None:
            raise UnknownRun(run)
        found = await self._runs.accept(head.task, new, session=head.session, trace=trace, rerun_of=run)
        if found.rerun_of != run:
            # The same task, begun by another request.
            raise ConflictError(new)
        return found

    async def _changed(self, run: str, how: Callable[[Head], Head], said: str) -> Head:
        head = await self._change(run, how, said)
        await self._wake(head)
        return head

    async def _change(self, run: str, how: Callable[[Head], Head], said: str, call: str = "") -> Head:
        """The head once it is changed.

        Args:
            run: its id.
            how: gives the changed head.
            said: what the log says of it; what was so already is not told again.
            call: the call that it is about, as the head names it.
        """
        new = False

        def noted(head: Head) -> Head:
            nonlocal new
            after = how(head)
            new = new or after != head
            return after

        document = await self._store.update(documents.head_key(run), change(noted))
        if document is None:
            raise UnknownRun(run)
        head = Head.load(document)
        if new:
            asked = head.approvals.get(call)
            _LOG.info(said, extra=described(f"{run}/{call}", asked) if asked else {"run": run})
        if head.terminal:
            raise EndedRun(run, head.status)
        return head

    async def _wake(self, head: Head) -> None:
        """What is stored holds; whoever waits for it learns of it now, or by the janitor. Nobody else is woken."""
        event = wake_event(head)
        if event is None or not head.unheeded:
            return
        try:
            await self._engine.wake(head.id, event)
        except EngineError as error:
            await self._later(head.id, error)

    async def _later(self, run: str, error: EngineError) -> None:
        self._runs.again.add(run)
        self._index.add(run)
        _LOG.warning("stored, to be carried out later: %s", error, extra={"run": run})
