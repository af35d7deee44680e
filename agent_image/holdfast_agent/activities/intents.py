"""What is written down before a call that must not be made twice, or whose undoing depends on whether it was made.

    run/<key>/intent    {process, started, deadline, again}; `unsent` once it is sure that nothing was sent. Times: seconds since the epoch
                        of a call of another agent: `taken`, `off`, `refused`

The first to write it makes the call. Whoever finds it without a result knows that the call was begun, and by whom. A call that may be made
again is written down anew each time, so that it is known until when anybody may be at it.
"""

import contextlib
import time
import uuid
from dataclasses import dataclass, replace
from typing import Final, Self

from holdfast_agent import documents
from holdfast_agent.documents import Document
from holdfast_agent.store import Store, StoreError

_GRACE: Final = 10.0
"""Seconds for clocks that differ, and for a result on its way to the store."""


@dataclass(frozen=True)
class Intent:
    """A call that was begun.

    Attributes:
        process: which one began it.
        started: when.
        deadline: when it has ended, however it went.
        again: whether it was begun before that, and nobody knows what came of it.
        taken: whether another agent has said that it is at it.
        off: since when another agent is told to stop.
        refused: whether another agent had no place for it when it was asked last, so that nothing was begun there.
    """

    process: str
    started: float
    deadline: float
    again: bool = False
    taken: bool = False
    off: float | None = None
    refused: bool = False

    @property
    def over(self) -> float:
        """When nobody can be at it any more."""
        return self.deadline + _GRACE

    def dump(self) -> Document:
        """As JSON-ready data, without what is said of agents only where it is not so."""
        return {name: value for name, value in vars(self).items() if name not in ("taken", "off", "refused") or value}

    @classmethod
    def load(cls, document: Document) -> Self:
        """From JSON-ready data."""
        return cls(**{name: document[name] for name in cls.__dataclass_fields__ if name in document})


class Intents:
    """The intents as one process sees them."""

    def __init__(self, store: Store) -> None:
        self._store, self._process = store, uuid.uuid4().hex
        self._begun: set[str] = set()

    async def claim(self, key: str, longest: float, *, again: bool = False) -> tuple[Intent, bool]:
        """Begin a call.

        Args:
            key: of the effect.
            longest: seconds that it can take.
            again: even if it was begun before.

        Returns:
            The intent that stands, and whether nobody had begun it before.

        Raises:
            StoreError: nobody knows which one stands, and nothing was begun.
        """
        now = time.time()
        ours = Intent(self._process, now, now + longest)

        def claimed(document: Document | None) -> Document:
            if document is None or document.get("unsent") or self._idle(key, document):
                return ours.dump()
            return replace(ours, again=True).dump() if again else document

        stands = Intent.load(await self._store.update(_at(key), claimed) or {})
        if replace(stands, again=False) == ours:
            self._begun.add(key)
        return stands, stands == ours

    async def release(self, key: str) -> None:
        """The call that was begun here has surely not been sent: it may be begun again.

        Raises:
            StoreError: the store does not answer; then it counts as sent.
        """
        await self._store.update(_at(key), lambda document: document | {"unsent": True} if document else None)
        self._begun.discard(key)

    async def rest(self, key: str) -> None:
        """The call that was begun here came to its end, and another attempt follows: until then nobody is at it, should this process die.

        A store that does not answer changes nothing: then whoever comes waits until the call must be over.
        """

        def ended(document: Document | None) -> Document | None:
            ours = document is not None and document["process"] == self._process
            return document | {"deadline": min(document["deadline"], time.time() - _GRACE)} if document and ours else document

        with contextlib.suppress(StoreError):
            await self._store.update(_at(key), ended)

    async def mark(self, key: str, **known: bool | float) -> None:
        """Write down more of a call that was begun: fields of its intent.

        Raises:
            StoreError: the store does not answer.
        """
        await self._store.update(_at(key), lambda document: document | known if document else None)

    async def find(self, key: str) -> Intent | None:
        """The call if it was begun, by whomever.

        Raises:
            StoreError: the store does not answer.
        """
        entry = await self._store.get(_at(key))
        if entry is None or entry.value.get("unsent") or self._idle(key, entry.value):
            return None
        return Intent.load(entry.value)

    def here(self, intent: Intent) -> bool:
        """Whether it is this process's own; then whoever finds it knows that it is over, because a process makes a call once at a time."""
        return intent.process == self._process

    def done(self, key: str) -> None:
        """Its outcome is stored."""
        self._begun.discard(key)

    def _idle(self, key: str, document: Document) -> bool:
        """Whether this process wrote it and never acted on it: its answer was lost on the way here."""
        return document["process"] == self._process and key not in self._begun and not document.get("again")


def _at(key: str) -> str:
    return f"{documents.effect_document(key)}/intent"
