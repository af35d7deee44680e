"""The conversation of a run, put together from its documents and kept at hand while the run is here.

A document that is written once never changes, so what was read or written here needs no second read. A run that moves to another
process is read again from its segments and the few turns after them.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from holdfast_agent import documents
from holdfast_agent.documents import Document, ModelTurn, ToolOutcome
from holdfast_agent.model import Message, assistant_message, tool_message
from holdfast_agent.store import Store

_MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass
class _Conversation:
    """Messages of the first `turns` turns of a run."""

    messages: list[Message] = field(default_factory=list)
    turns: int = 0
    segments: int = 0
    size: int = 0


class Transcripts:
    """Conversations of the runs that this process works on, the longest unused dropped first."""

    def __init__(self, store: Store, max_bytes: int = _MAX_BYTES) -> None:
        self._store, self._max_bytes = store, max_bytes
        self._known: OrderedDict[str, _Conversation] = OrderedDict()
        self._fresh: OrderedDict[str, Document] = OrderedDict()
        self._size = self._fresh_size = 0

    def remember(self, key: str, document: Document) -> None:
        """Keep a document that was just written, so that it need not be read back."""
        self._fresh[key] = document
        self._fresh_size += _size(document)
        while self._fresh_size > self._max_bytes:
            self._unremember(next(iter(self._fresh)))

    def forget(self, run: str) -> None:
        """The run has ended."""
        gone = self._known.pop(run, None)
        self._size -= gone.size if gone else 0
        for key in [key for key in self._fresh if key.startswith(f"{run}/")]:
            self._unremember(key)

    def _unremember(self, key: str) -> None:
        document = self._fresh.pop(key, None)
        self._fresh_size -= _size(document) if document else 0

    async def messages(self, run: str, *, turns: int, segments: int) -> list[Message]:
        """Messages of the first `turns` turns: what the model said and what its calls came to.

        Args:
            run: id of the run.
            turns: turns that are complete.
            segments: how many segments hold the oldest of them.

        Raises:
            StoreError: the store does not answer.
            LookupError: a document is missing.
        """
        conversation = self._known.get(run)
        if conversation is None or conversation.turns > turns:
            conversation = await self._from_segments(run, segments)
        before = conversation.size
        if conversation.turns < turns:
            await self._extend(conversation, run, turns)
        self._keep(run, conversation, before)
        return conversation.messages

    async def turn(self, run: str, turn: int) -> ModelTurn:
        """What the model said in one turn.

        Raises:
            StoreError: the store does not answer.
            LookupError: there is no such turn.
        """
        key = documents.model_key(run, turn)
        return ModelTurn.load((await self.documents([key]))[key])

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

    async def _from_segments(self, run: str, segments: int) -> _Conversation:
        entries = await asyncio.gather(*(self._store.get(documents.segment_key(run, number)) for number in range(segments)))
        conversation = _Conversation(segments=segments)
        for number, entry in enumerate(entries):
            if entry is None:
                raise LookupError(f"the document {documents.segment_key(run, number)!r} is missing from the state store")
            for document in entry.value["messages"]:
                _append(conversation, document)
            conversation.turns = entry.value["last_turn"]
        return conversation

    async def _extend(self, conversation: _Conversation, run: str, turns: int) -> None:
        wanted = range(conversation.turns + 1, turns + 1)
        said = await self.documents([documents.model_key(run, turn) for turn in wanted])
        calls = [documents.call_key(run, turn, call) for turn in wanted for call in range(_calls(said[documents.model_key(run, turn)]))]
        done = await self.documents(calls)
        for turn in wanted:
            document = said[documents.model_key(run, turn)]
            _append(conversation, document)
            for call in range(_calls(document)):
                _append(conversation, done[documents.call_key(run, turn, call)])
        conversation.turns = turns
        for key in (*said, *done):
            self._unremember(key)

    def _keep(self, run: str, conversation: _Conversation, before: int) -> None:
        known = self._known.pop(run, None)
        self._size += conversation.size - (before if known is conversation else known.size if known else 0)
        self._known[run] = conversation
        while self._size > self._max_bytes and len(self._known) > 1:
            _, dropped = self._known.popitem(last=False)
            self._size -= dropped.size


def _size(document: Document) -> int:
    return len(document["content"]) + sum(len(call["arguments"]) for call in document.get("calls", ())) + 500


def _calls(document: Document) -> int:
    return len(document["calls"])


def _append(conversation: _Conversation, document: Document) -> None:
    message: Any = assistant_message(ModelTurn.load(document)) if "calls" in document else tool_message(ToolOutcome.load(document))
    conversation.messages.append(message)
    conversation.size += message.ByteSize()
