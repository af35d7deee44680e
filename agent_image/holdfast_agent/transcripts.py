"""The conversation of a run, put together from its documents and kept at hand while the run is here.

A document that is written once never changes, so what was read or written here needs no second read. A run that moves to another
process is read again from its segments and the few turns after them. Once turns are summed up, the summary takes their place and
their documents are not read any more.

Once a run's retention is over its id may be another run's, and which process that one comes to is anybody's guess. So whoever asks says
when the run was accepted, and what is at hand of a run that was accepted at another time is dropped.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from holdfast_agent import documents, sessions
from holdfast_agent.conversations import Conversation, turn_of, turns_of
from holdfast_agent.documents import Document, ModelTurn
from holdfast_agent.store import Store

_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_RUNS: Final = 10_000


class Transcripts:
    """Conversations of the runs that this process works on, the longest unused dropped first."""

    def __init__(self, store: Store, max_bytes: int = _MAX_BYTES, max_runs: int = _MAX_RUNS) -> None:
        self._store, self._max_bytes, self._max_runs = store, max_bytes, max_runs
        self._accepted: OrderedDict[str, float] = OrderedDict()
        self._known: OrderedDict[str, Conversation] = OrderedDict()
        self._fresh: OrderedDict[str, Document] = OrderedDict()
        self._size = self._fresh_size = 0

    def meet(self, run: str, accepted: float) -> None:
        """Somebody works on the run that was accepted at that time: what is at hand of another one of that id is dropped."""
        if self._accepted.get(run) != accepted:
            self.forget(run)
        self._accepted[run] = accepted
        self._accepted.move_to_end(run)
        if len(self._accepted) > self._max_runs:
            self.forget(next(iter(self._accepted)))

    def remember(self, key: str, document: Document) -> None:
        """Keep a document that was just written, so that it need not be read back."""
        self._unremember(key)
        self._fresh[key] = document
        self._fresh_size += _size(document)
        while self._fresh_size > self._max_bytes:
            self._unremember(next(iter(self._fresh)))

    def forget(self, run: str) -> None:
        """The run has ended."""
        self._accepted.pop(run, None)
        gone = self._known.pop(run, None)
        self._size -= gone.size if gone else 0
        for key in [key for key in self._fresh if key.startswith(f"{run}/")]:
            self._unremember(key)

    def _unremember(self, key: str) -> None:
        document = self._fresh.pop(key, None)
        self._fresh_size -= _size(document) if document else 0

    async def conversation(
        self, run: str, *, accepted: float, turns: int, segments: int, context: int, summary: int = 0, session: bool = False
    ) -> Conversation:
        """What was said in the first `turns` turns: by the model, by its tools, and to it.

        Args:
            run: id of the run.
            accepted: when it was accepted, as its head says.
            turns: turns that are complete.
            segments: how many segments hold the oldest of them.
            context: tokens that the model can take. It bounds what of a turn's results is told; the same for all calls of a run.
            summary: the turn whose compaction takes the place of those before; 0: there is none.
            session: whether the run began with a session.

        Raises:
            StoreError: the store does not answer.
            LookupError: a document is missing.
        """
        self.meet(run, accepted)
        conversation = self._known.get(run)
        if conversation is None or conversation.last > turns or conversation.summary_of > summary:
            conversation = await self._read(run, segments, Conversation(context), summary=summary, session=session)
        elif conversation.summary_of < summary:
            conversation = conversation.summed(summary, await self._document(documents.compact_key(run, summary)))
        if conversation.last < turns:
            conversation = conversation.extended(await self._turns(run, range(conversation.last + 1, turns + 1), accepted))
        self._keep(run, conversation)
        return conversation

    async def turn(self, run: str, turn: int, *, accepted: float) -> ModelTurn:
        """What the model said in one turn of the run that was accepted at that time.

        Raises:
            StoreError: the store does not answer.
            LookupError: there is no such turn.
        """
        self.meet(run, accepted)
        return ModelTurn.load(await self._document(documents.model_key(run, turn)))

    async def documents(self, keys: list[str]) -> dict[str, Document]:
        """Results of effects by key, from what is at hand, else from the store.

        Raises:
            StoreError: the store does not answer.
            LookupError: one is missing.
        """
        found = {key: self._fresh[key] for key in keys if key in self._fresh}
        read = await self._store.get_many(documents.effect_document(key) for key in keys if key not in found)
        for key in keys:
            at = documents.effect_document(key)
            if key not in found:
                if at not in read:
                    raise LookupError(f"the document {at!r} is missing from the state store")
                found[key] = read[at].value
        return {key: found[key] for key in keys}

    async def of_turns(self, run: str, turns: range, *, accepted: float) -> list[list[Document]]:
        """All that makes up these turns, for each: what the model said, what its calls came to, and what a critic said of its answer.

        Args:
            run: id of the run.
            turns: their numbers.
            accepted: when the run was accepted, as its head says.

        Raises:
            StoreError: the store does not answer.
            LookupError: a document is missing.
        """
        self.meet(run, accepted)
        said = [
            ModelTurn.load(document) for document in (await self.documents([documents.model_key(run, turn) for turn in turns])).values()
        ]
        keys = [[turn.key, *turn.call_keys(), *_judged(run, turn)] for turn in said]
        found = await self.documents([key for turn in keys for key in turn])
        return [[found[key] for key in turn] for turn in keys]

    async def _document(self, key: str) -> Document:
        return (await self.documents([key]))[key]

    async def _turns(self, run: str, turns: range, accepted: float) -> list[list[Document]]:
        """As `of_turns`, for good: they are not needed at hand any more."""
        found = await self.of_turns(run, turns, accepted=accepted)
        for key in (document["key"] for turn in found for document in turn):
            self._unremember(key)
        return found

    async def _read(self, run: str, segments: int, empty: Conversation, *, summary: int, session: bool) -> Conversation:
        conversation = empty
        if session:
            conversation = conversation.begun(sessions.Session.load(await self._document(f"{run}/context")))
        if summary:
            conversation = conversation.summed(summary, await self._document(documents.compact_key(run, summary)))
        packed = await self._segments(run, segments, after=conversation.last)
        turns = turns_of(message for segment in packed for message in segment["messages"])
        return conversation.extended([turn for turn in turns if turn_of(turn[0]) > conversation.last])

    async def _segments(self, run: str, segments: int, *, after: int) -> list[Document]:
        """The segments that hold turns past `after`. Those of one continue-as-new all name its last turn."""
        if not after:
            return list(await asyncio.gather(*(self._segment(run, number) for number in range(segments))))
        found: list[Document] = []
        for number in reversed(range(segments)):
            segment = await self._segment(run, number)
            if segment["last_turn"] <= after:
                break
            found.insert(0, segment)
        return found

    async def _segment(self, run: str, number: int) -> Document:
        entry = await self._store.get(documents.segment_key(run, number))
        if entry is None:
            raise LookupError(f"the document {documents.segment_key(run, number)!r} is missing from the state store")
        return entry.value

    def _keep(self, run: str, conversation: Conversation) -> None:
        known = self._known.pop(run, None)
        self._size += conversation.size - (known.size if known else 0)
        self._known[run] = conversation
        while self._size > self._max_bytes and len(self._known) > 1:
            _, dropped = self._known.popitem(last=False)
            self._size -= dropped.size


def _judged(run: str, turn: ModelTurn) -> list[str]:
    return [documents.evaluation_key(run, turn.number)] if turn.open == "candidate" else []


def _size(document: Document) -> int:
    return len(document.get("content", "")) + sum(len(call["arguments"]) for call in document.get("calls", ())) + 500
