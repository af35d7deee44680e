"""The activities: every side effect of a run. Each finds its stored result first, so a second execution changes nothing and pays nothing.

An activity takes and returns ids, counters and tool names, writes messages as documents before it returns, and never raises for what
can be expected: a failure is an answer (`failures.envelope`). The final answer also ends the head, so that a run costs no activity
beyond its calls.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

from holdfast_agent import documents, loop
from holdfast_agent.documents import Document, Head, ModelTurn, ToolCall, ToolOutcome, Trouble, Usage
from holdfast_agent.failures import clipped, envelope, stands
from holdfast_agent.flights import Flights
from holdfast_agent.model import Answer, converse, user_message
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.outcome import Failure
from holdfast_agent.revisions import Revision, RevisionError, Revisions
from holdfast_agent.segments import segments_of
from holdfast_agent.sidecar import Sidecar
from holdfast_agent.store import Entry, Store, StoreError
from holdfast_agent.transcripts import Transcripts

_LOG = logging.getLogger(__name__)
_CONTENT_BYTES: Final = 256 * 1024
_PERSIST_SECONDS: Final = 600.0
_PERSIST_PAUSE: Final = 2.0

Input = dict[str, Any]
Output = dict[str, Any]
T = TypeVar("T")


class Activities:
    """What the workflow calls. Lives on the program's event loop."""

    def __init__(
        self,
        *,
        sidecar: Sidecar,
        store: Store,
        revisions: Revisions,
        flights: Flights,
        index: OpenRuns,
        ended: Callable[[str], None],
    ) -> None:
        """Keep the parts.

        Args:
            sidecar: to call models through.
            store: where documents are.
            revisions: what runs are pinned to.
            flights: one flight per key, and the drain gate.
            index: of runs that may not have ended.
            ended: told the id of each run that ended here.
        """
        self._sidecar, self._store, self._revisions, self._flights = sidecar, store, revisions, flights
        self._index, self._ended = index, ended
        self._transcripts = Transcripts(store)

    def table(self) -> dict[str, Callable[[Input], Awaitable[Output]]]:
        """The activities by the names that histories hold."""
        return {loop.MODEL: self.model, loop.TOOL: self.tool, loop.PACK: self.pack, loop.FINISH: self.finish}

    def model(self, call: Input) -> Awaitable[Output]:
        """Ask the model for one turn.

        Returns:
            `{key, calls: [tool names], usage}`; no calls means that the run has its answer and the head says so.
        """
        return self._once(documents.model_key(call["run"], call["turn"]), call, self._model)

    def tool(self, call: Input) -> Awaitable[Output]:
        """Carry out one call of a tool. A failure that is for the model to deal with is a result.

        Returns:
            `{key, tool, isError}`.
        """
        return self._once(documents.call_key(call["run"], call["turn"], call["call"]), call, self._tool)

    def pack(self, call: Input) -> Awaitable[Output]:
        """Put the messages of some turns into segments, so that the run can be read in few pieces.

        Returns:
            `{key, segments}`, the number of segments that there are now.
        """
        return self._once(f"{call['run']}/{call['last']}/pack", call, self._pack)

    def finish(self, call: Input) -> Awaitable[Output]:
        """Write down that a run failed.

        Returns:
            `{key}`.
        """
        return self._once(f"{call['run']}/finish", call, self._finish)

    def _once(self, key: str, call: Input, work: Callable[[str, Input], Awaitable[Output]]) -> Awaitable[Output]:
        return self._flights.join(key, lambda: self._answered(key, call, work))

    async def _answered(self, key: str, call: Input, work: Callable[[str, Input], Awaitable[Output]]) -> Output:
        attempt = call["attempt"]
        self._index.add(call["run"])
        try:
            if attempt > 1:
                await self._resumed(key, call)
            return await work(key, call)
        except StoreError as error:
            failure = Failure("transient", str(error), cause="store")
        except _UnstoredError as error:
            failure = Failure("fatal" if error.for_ever else "transient", str(error), cause="unstored")
        except RevisionError as error:
            return await self._failed(key, call, Failure("transient", str(error)))
        except LookupError as error:
            failure = Failure("fatal", str(error))
        except Exception as error:  # noqa: BLE001 - a defect must end as an answer too: raised, its stack trace would go into the history
            _LOG.exception("step broke", extra={"run": call["run"], "step": key})
            failure = Failure("transient", f"{type(error).__name__} inside the agent; its log has the details")
        _LOG.warning("step failed: %s", clipped(failure.message), extra={"run": call["run"], "step": key, "attempt": attempt})
        return envelope(key, failure, attempt)

    async def _model(self, key: str, call: Input) -> Output:
        run, at, began = call["run"], documents.effect_document(key), time.time()
        found = await self._store.get_many([at, documents.head_key(run)])
        head = _head(found, run)
        if at in found:
            return await self._said(ModelTurn.load(found[at].value), call, found[documents.head_key(run)])
        if head.terminal:
            return envelope(key, Failure("fatal", f"the run has ended already, {head.status}"), call["attempt"])
        if began >= call["deadline"]:
            return loop.timed_out(key)
        earlier = await self._transcripts.messages(run, turns=call["turn"] - 1, segments=call["segments"])
        async with self._revisions.use(call["revision"]) as revision:
            answer = await converse(
                self._sidecar,
                revision.config.model,
                messages=[*revision.preamble, user_message(head.task), *earlier],
                tools=revision.declarations,
                turn=call["turn"],
            )
        if isinstance(answer, Failure):
            return await self._failed(key, call, answer)
        turn = _turn(key, answer, revision=revision, began=began, attempt=call["attempt"])
        stored = ModelTurn.load(await self._persist(key, turn.dump()))
        extra = {"run": run, "step": key, "seconds": round(time.time() - began, 3), "calls": len(turn.calls), "dropped": answer.dropped}
        _LOG.info("model answered", extra=extra)
        return await self._said(stored, call, found[documents.head_key(run)])

    async def _said(self, turn: ModelTurn, call: Input, head: Entry) -> Output:
        if not turn.calls:
            usage = Usage.load(call["usage"]).plus(turn.usage)
            await self._end(call["run"], lambda head: head.completed(turn.content, usage, turn.ended), known=head)
            _LOG.info("run completed", extra={"run": call["run"], "turns": usage.turns, "tool_calls": usage.tool_calls})
        return {"key": turn.key, "calls": [called.name for called in turn.calls], "usage": turn.usage.dump()}

    async def _tool(self, key: str, call: Input) -> Output:
        run, began = call["run"], time.time()
        entry = await self._store.get(documents.effect_document(key))
        if entry:
            return _came_to(ToolOutcome.load(entry.value))
        if began >= call["deadline"]:
            return loop.timed_out(key)
        asked = (await self._transcripts.turn(run, call["turn"])).calls[call["call"]]
        async with self._revisions.use(call["revision"]) as revision:
            content, failure = await _carried_out(revision, asked, key)
        left = call["deadline"] - time.time()
        if failure and not stands(key, failure, attempt=call["attempt"], failed=call["failed"], left=left):
            return await self._failed(key, call, failure)
        outcome = ToolOutcome(
            key=key,
            tool=asked.name,
            call_id=asked.id,
            content=bounded(content),
            is_error=failure is not None,
            started=began,
            ended=time.time(),
            attempt=call["attempt"],
        )
        stored = ToolOutcome.load(await self._persist(key, outcome.dump()))
        extra = {"run": run, "step": key, "tool": asked.name, "seconds": round(time.time() - began, 3), "error": outcome.is_error}
        _LOG.info("tool answered", extra=extra)
        return _came_to(stored)

    async def _pack(self, key: str, call: Input) -> Output:
        run, first, last = call["run"], call["first"], call["last"]
        said = await self._transcripts.documents([documents.model_key(run, turn) for turn in range(first, last + 1)])
        turns = [ModelTurn.load(document) for document in said.values()]
        done = await self._transcripts.documents([name for turn in turns for name in turn.call_keys()])
        ordered = [document for turn in turns for document in (said[turn.key], *(done[name] for name in turn.call_keys()))]
        number = call["segments"]
        for segment in segments_of(ordered, last_turn=last):
            await self._store.create(documents.segment_key(run, number), segment)
            number += 1

        def packed(document: Document | None) -> Document | None:
            head = Head.load(document or {})
            return replace(head, packed=last, segments=number, usage=Usage.load(call["usage"]), trouble=None).dump()

        await self._store.update(documents.head_key(run), packed)
        return {"key": key, "segments": number}

    async def _finish(self, key: str, call: Input) -> Output:
        now, usage = time.time(), Usage.load(call["usage"])
        await self._end(call["run"], lambda head: head.failed(call["error"], usage, now))
        _LOG.warning("run failed: %s", call["error"]["type"], extra={"run": call["run"]})
        return {"key": key}

    async def _end(self, run: str, change: Callable[[Head], Head], *, known: Entry | None = None) -> None:
        def ended(document: Document | None) -> Document | None:
            if document is None:
                raise LookupError(f"the head of run {run!r} is missing from the state store")
            return change(Head.load(document)).dump()

        await self._long(lambda: self._store.update(documents.head_key(run), ended, known=known))
        self._transcripts.forget(run)
        self._ended(run)

    async def _failed(self, key: str, call: Input, failure: Failure) -> Output:
        """The envelope; when another attempt follows, the head tells people about it."""
        answer = envelope(key, failure, call["attempt"])
        extra = {"run": call["run"], "step": key, "attempt": call["attempt"], "kind": failure.kind}
        _LOG.warning("step failed: %s", clipped(failure.message), extra=extra)
        if failure.kind == "transient":
            until = time.time() + answer["error"]["retryAfter"]
            trouble = Trouble(key=key, attempt=call["attempt"], message=answer["error"]["message"], until=until)

            try:
                await self._store.update(documents.head_key(call["run"]), _change(lambda head: head.troubled(trouble)))
                await self._index.ensure(call["run"])
            except StoreError as error:  # the head only tells people; the answer counts
                _LOG.warning("the head cannot tell of it: %s", error, extra={"run": call["run"]})
        return answer

    async def _resumed(self, key: str, call: Input) -> None:
        """The attempt that the run waited for has begun, so nobody needs to be told of a trouble, and nobody to wake the run."""
        await self._store.update(documents.head_key(call["run"]), _change(lambda head: head.resumed(key, call["attempt"])))

    async def _persist(self, key: str, document: Document) -> Document:
        """Write a result once; what stands then is the result, whoever wrote it."""
        try:
            stored, _ = await self._long(lambda: self._store.create(documents.effect_document(key), document))
        except StoreError as error:
            raise _UnstoredError(str(error), for_ever=False) from error
        self._transcripts.remember(key, stored)
        return stored

    async def _long(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write with patience: what is to be written has been paid for, and only this process knows it."""
        give_up = time.monotonic() + _PERSIST_SECONDS
        while True:
            try:
                return await write()
            except StoreError as error:
                if error.hopeless:
                    raise _UnstoredError(str(error), for_ever=True) from error
                if time.monotonic() > give_up:
                    raise
                _LOG.warning("a result cannot be stored yet: %s", error)
                await asyncio.sleep(_PERSIST_PAUSE)


class _UnstoredError(Exception):
    """What was paid for is lost, because it could not be stored.

    Attributes:
        for_ever: the store refuses it. Asking for it again would end in the same way.
    """

    def __init__(self, message: str, *, for_ever: bool) -> None:
        super().__init__(message)
        self.for_ever = for_ever


def _change(change: Callable[[Head], Head]) -> Callable[[Document | None], Document | None]:
    """As the store wants it; a run without a head stays without one."""
    return lambda document: change(Head.load(document)).dump() if document else None


def bounded(content: str) -> str:
    """What a tool said, as text that every store and model can take, and not more than one message may hold."""
    data = content.encode(errors="replace")
    if len(data) <= _CONTENT_BYTES:
        return data.decode()
    kept = data[:_CONTENT_BYTES].decode(errors="ignore")
    return f"{kept}\n[cut off here: the tool returned {len(data)} bytes, {_CONTENT_BYTES} are kept]"


async def _carried_out(revision: Revision, asked: ToolCall, key: str) -> tuple[str, Failure | None]:
    """What the model will read, and the failure if it is one."""
    try:
        arguments = json.loads(asked.arguments or "{}")
    except (ValueError, RecursionError) as error:
        return _told(Failure("permanent", f"the arguments are not JSON: {error}"))
    if not isinstance(arguments, dict):
        return _told(Failure("permanent", f"the arguments must be a JSON object, not {type(arguments).__name__}"))
    result = await revision.toolbox.call(asked.name, arguments, key=key)
    return _told(result) if isinstance(result, Failure) else (result.content, None)


def _told(failure: Failure) -> tuple[str, Failure]:
    return f"Error: {failure.message}", failure


def _turn(key: str, answer: Answer, *, revision: Revision, began: float, attempt: int) -> ModelTurn:
    return ModelTurn(
        key=key,
        content=answer.content,
        calls=answer.calls,
        usage=answer.usage,
        model=revision.config.model.label,
        started=began,
        ended=time.time(),
        finish_reason=answer.finish_reason,
        attempt=attempt,
    )


def _head(found: dict[str, Any], run: str) -> Head:
    entry = found.get(documents.head_key(run))
    if entry is None:
        raise LookupError(f"the head of run {run!r} is missing from the state store")
    return Head.load(entry.value)


def _came_to(outcome: ToolOutcome) -> Output:
    return {"key": outcome.key, "tool": outcome.tool, "isError": outcome.is_error}
