"""Erases the documents of one run that has ended: everything that may exist under its keys, but for the head.

Nothing can ask a Dapr state store for keys by their beginning, so what exists is found as it was made: turns and segments by number, calls
as the model's answer of their turn names them. Numbers are looked for in groups, and go in the same groups from the highest down, each
after what it names. So whoever is killed in the middle leaves something that the next one finds again in the same way.
"""

import asyncio
from typing import Final

from holdfast_agent import documents
from holdfast_agent.documents import ModelTurn
from holdfast_agent.store import Store

OF_A_CALL: Final = ("late", "intent", "undo/late", "undo/intent", "undo")
"""What may be kept beside the result of a call."""
OF_A_TURN: Final = ("evaluation", "compact")
"""What may be kept beside the model's answer of a turn."""
OF_A_RUN: Final = ("context", "recall")
_GROUP: Final = 20
_KEYS_AT_ONCE: Final = 50


def beside(run: str, turn: int, calls: int) -> list[str]:
    """Keys of all documents that may be kept of a turn, but for the model's answer."""
    keys: list[str] = [f"{run}/{turn}/{what}" for what in OF_A_TURN]
    for call in range(calls):
        key = documents.call_key(run, turn, call)
        keys += [key, *(f"{key}/{what}" for what in OF_A_CALL)]
    return list(map(documents.effect_document, keys))


async def erase(store: Store, run: str) -> None:
    """Erase everything but the head.

    Raises:
        StoreError: something is left; doing it again goes on from there.
    """
    groups, segments = await asyncio.gather(_turns(store, run), _segments(store, run))
    # A summary is made before the model is asked, so one may be there for a turn that never was.
    rest = beside(run, 1 + max((turn for group in groups for turn in group), default=0), 0)
    rest += [f"{documents.head_key(run)}/{what}" for what in OF_A_RUN]
    for numbers in reversed(segments):
        await store.delete_many(numbers)
    for group in reversed(groups or [{}]):
        keys = [*rest, *(key for turn, calls in group.items() for key in beside(run, turn, calls))]
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            await store.delete_many(keys[start : start + _KEYS_AT_ONCE])
        if group:
            await store.delete_many([_answer(run, turn) for turn in group])
        rest = []


async def _turns(store: Store, run: str) -> list[dict[int, int]]:
    """Turns that the model answered, with the number of calls that it made in each; group by group until one is empty."""
    groups: list[dict[int, int]] = []
    while True:
        turns = range(len(groups) * _GROUP + 1, (len(groups) + 1) * _GROUP + 1)
        found = await store.get_many(_answer(run, turn) for turn in turns)
        if not found:
            return groups
        said = {turn: found.get(_answer(run, turn)) for turn in turns}
        groups.append({turn: len(ModelTurn.load(entry.value).calls) for turn, entry in said.items() if entry})


async def _segments(store: Store, run: str) -> list[list[str]]:
    """Segments that there are, also one that was made and that no head tells of; group by group until one is empty."""
    groups: list[list[str]] = []
    while True:
        numbers = range(len(groups) * _GROUP, (len(groups) + 1) * _GROUP)
        found = await store.get_many(documents.segment_key(run, number) for number in numbers)
        if not found:
            return groups
        groups.append(list(found))


def _answer(run: str, turn: int) -> str:
    return documents.effect_document(documents.model_key(run, turn))
