"""What the activities share: one flight per key, failures as answers, and results that are written once."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from holdfast_agent import documents
from holdfast_agent.activities.intents import Intents
from holdfast_agent.audit import Auditor
from holdfast_agent.conversations import Conversation
from holdfast_agent.documents import Document, Head, Trouble
from holdfast_agent.failures import clipped, envelope
from holdfast_agent.flights import Flights
from holdfast_agent.heads import change
from holdfast_agent.observer import Observer
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.outbox import Outbox
from holdfast_agent.outcome import Failure
from holdfast_agent.revisions import Revision, RevisionError, Revisions
from holdfast_agent.sidecar import Sidecar
from holdfast_agent.store import Store, StoreError
from holdfast_agent.tools.rates import Rates
from holdfast_agent.transcripts import Transcripts
from holdfast_api.config import RetriesConfig

_LOG = logging.getLogger(__name__)
_CONTENT_BYTES: Final = 256 * 1024
_PERSIST_SECONDS: Final = 600.0
_PERSIST_PAUSE: Final = 2.0

Input = dict[str, Any]
Output = dict[str, Any]
T = TypeVar("T")


class Steps:
    """What every activity works with. Lives on the program's event loop.

    Attributes:
        sidecar: to call models through.
        store: where documents are.
        revisions: what runs are pinned to.
        index: of runs that may not have ended.
        transcripts: conversations of runs.
        rates: how often tools are called here.
        intents: calls that must not be made twice.
        auditor: signs what runs did.
        observer: sees what is done.
        ended: told the head of each run that ended here.
        outbox: publishes how runs ended.
        draining: set once this process is to end.
    """

    def __init__(
        self,
        *,
        sidecar: Sidecar,
        store: Store,
        revisions: Revisions,
        flights: Flights,
        index: OpenRuns,
        ended: Callable[[Head], None],
        auditor: Auditor | None = None,
        observer: Observer | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            sidecar: see above.
            store: see above.
            revisions: see above.
            flights: one flight per key, and the drain gate.
            index: see above.
            ended: see above.
            auditor: see above; None: nobody does.
            observer: see above; None: nobody looks.
            outbox: see above; None: nobody is told.
        """
        self.sidecar, self.store, self.revisions, self.index = sidecar, store, revisions, index
        self.transcripts = Transcripts(store)
        self.rates, self.intents = Rates(), Intents(store)
        self.auditor, self.observer, self.ended = auditor or Auditor(), observer or Observer(), ended
        self.outbox = outbox
        self._flights, self.draining = flights, flights.draining

    def once(self, activity: "Activity", call: Input) -> Awaitable[Output]:
        """The activity's answer to this input; whoever asks while it is being found gets the same one."""
        key = activity.key(call)
        return self._flights.join(key, lambda: self._watched(key, call, activity.work))

    async def _watched(self, key: str, call: Input, work: "Work") -> Output:
        with self.observer.step(key, call):
            answer = await self._answered(key, call, work)
        self.observer.answered(key, answer)
        return answer

    async def _answered(self, key: str, call: Input, work: "Work") -> Output:
        attempt = call["attempt"]
        self.index.add(call["run"])
        try:
            if call.get("early") and not await self._canceled(call):
                return {"key": key, "early": True}
            if attempt > 1:
                await self._resumed(key, call)
            return await work(self, key, call)
        except StoreError as error:
            failure = Failure("transient", str(error), cause="store")
        except UnstoredError as error:
            failure = error.failure
        except RevisionError as error:
            return await self.failed(key, call, Failure("transient", str(error), cause="revision", public=str(error)))
        except LookupError as error:
            failure = Failure("fatal", str(error))
        except Exception as error:  # noqa: BLE001 - a defect must end as an answer too: raised, its stack trace would go into the history
            _LOG.exception("step broke", extra={"run": call["run"], "step": key})
            failure = Failure("transient", f"{type(error).__name__} inside the agent; its log has the details", cause="defect")
        _LOG.warning("step failed: %s", clipped(failure.message), extra={"run": call["run"], "step": key, "attempt": attempt})
        return envelope(key, failure, _count(call))

    async def conversation(self, call: Input, head: Head, revision: Revision) -> Conversation:
        """What was said before the turn that the activity's input is about.

        Raises:
            StoreError: the store does not answer.
            LookupError: a document is missing.
        """
        return await self.transcripts.conversation(
            head.id,
            accepted=head.created,
            turns=call["turn"] - 1,
            segments=call["segments"],
            context=revision.context,
            summary=call.get("summary", 0),
            session=head.session is not None,
        )

    async def failed(self, key: str, call: Input, failure: Failure, *, tried: int = 0, retries: RetriesConfig | None = None) -> Output:
        """The envelope; when another attempt follows, the head tells people about it, unless it says that the run is canceled.

        Args:
            key: of the effect.
            call: the activity's input.
            failure: of this attempt.
            tried: attempts that failed so far, where they are counted apart from the rounds of the run.
            retries: how the effect is retried, where that can be set.
        """
        count = tried or _count(call)
        answer = envelope(key, failure, count, retries or RetriesConfig())
        extra = {"run": call["run"], "step": key, "attempt": call["attempt"], "kind": failure.kind}
        # What a model or a tool said is in the run's steps, not in the log.
        _LOG.warning("step failed: %s", clipped(failure.public) or "see the steps of the run", extra=extra | {"cause": failure.cause})
        if failure.kind == "transient":
            until = time.time() + answer["error"]["retryAfter"]
            trouble = Trouble(key=key, attempt=call["attempt"], message=answer["error"]["message"], until=until, failed=count)
            try:
                stands = await self.store.update(documents.head_key(call["run"]), change(lambda head: head.troubled(trouble)))
                await self.index.waits(call["run"])
                # Without its revision nobody can tell what becomes of a call that was begun.
                if stands and Head.load(stands).cancel and "ending" not in call and failure.cause != "revision":
                    return {"key": key, "control": documents.CANCEL}
            except StoreError as error:  # the head only tells people; the answer counts
                _LOG.warning("the head cannot tell of it: %s", error, extra={"run": call["run"]})
        return answer

    async def persist(self, key: str, document: Document) -> Document:
        """Write a result once; what stands then is the result, whoever wrote it.

        Raises:
            UnstoredError: the result is lost.
        """
        try:
            stored, new = await self.patiently(lambda: self.store.create(documents.effect_document(key), document))
        except StoreError as error:
            raise UnstoredError(str(error), for_ever=False) from error
        if new:
            self.observer.stored(stored)
        self.transcripts.remember(key, stored)
        return stored

    async def _resumed(self, key: str, call: Input) -> None:
        """The attempt that the run waited for has begun, so nobody needs to be told of a trouble, and nobody to wake the run."""
        await self.store.update(documents.head_key(call["run"]), change(lambda head: head.resumed(key, call["attempt"])))

    async def _canceled(self, call: Input) -> bool:
        """Whether the run is to be canceled, as far as can be seen now. While it is being undone that changes nothing."""
        if "ending" in call:
            return False
        try:
            entry = await self.store.get(documents.head_key(call["run"]))
        except StoreError:
            return False
        return entry is not None and Head.load(entry.value).cancel is not None

    async def patiently(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write with patience: what is to be written has been paid for, and only this process knows it."""
        give_up = time.monotonic() + _PERSIST_SECONDS
        while True:
            try:
                return await write()
            except StoreError as error:
                if error.hopeless:
                    raise UnstoredError(str(error), for_ever=True) from error
                if time.monotonic() > give_up:
                    raise
                _LOG.warning("a result cannot be stored yet: %s", error)
                await asyncio.sleep(_PERSIST_PAUSE)


Work = Callable[[Steps, str, Input], Awaitable[Output]]


@dataclass(frozen=True)
class Activity:
    """One activity: the key of its effect, from the input, and what does the work."""

    key: Callable[[Input], str]
    work: Work


class UnstoredError(Exception):
    """What was paid for is lost, because it could not be stored.

    Attributes:
        for_ever: the store refuses it. Asking for it again would end in the same way.
    """

    def __init__(self, message: str, *, for_ever: bool) -> None:
        super().__init__(message)
        self.for_ever = for_ever

    @property
    def failure(self) -> Failure:
        """The same, as activities tell of it."""
        return Failure("fatal" if self.for_ever else "transient", str(self), cause="unstored")


def _count(call: Input) -> int:
    """Which attempt it is, from 1. Runs without a plan count rounds, of which they begin none without an attempt."""
    return int(call.get("tried", call["attempt"] - 1)) + 1


def bounded(content: str) -> str:
    """What a tool said, as text that every store and model can take, and not more than one message may hold."""
    data = content.encode(errors="replace")
    if len(data) <= _CONTENT_BYTES:
        return data.decode()
    kept = data[:_CONTENT_BYTES].decode(errors="ignore")
    return f"{kept}\n[cut off here: the tool returned {len(data)} bytes, {_CONTENT_BYTES} are kept]"
