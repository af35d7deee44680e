"""What a run did, read back from its documents: all that people are shown of it. Only so much is held of each text as is shown."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from holdfast_agent import documents
from holdfast_agent.documents import Document, Head, ModelTurn, ToolOutcome, Usage
from holdfast_agent.store import Entry, Store

SHOWN_CHARACTERS: Final = 2000
_GROUP: Final = documents.TURNS_PER_GENERATION
_WHOLE_RESULTS: Final = 16
"""How many results are held whole at a time: each may be 256 KiB."""


@dataclass
class Timeline:
    """Consecutive turns of one run, from the first that was asked for: none is left out, so nothing comes between them later.

    Attributes:
        turns: those that have happened, in order.
        outcomes: finished calls, by key.
        evaluations: what the critic said of a turn's answer, by turn.
        compactions: summaries made before a turn, by turn.
        late: what came of calls after they had been given up as unknown, by key.
        recall: the session as the run began with it; None if it has none, or if these turns are not the first.
    """

    turns: list[ModelTurn] = field(default_factory=list)
    outcomes: dict[str, ToolOutcome] = field(default_factory=dict)
    evaluations: dict[int, Document] = field(default_factory=dict)
    compactions: dict[int, Document] = field(default_factory=dict)
    late: dict[str, ToolOutcome] = field(default_factory=dict)
    recall: Document | None = None

    def usages(self) -> Iterator[Usage]:
        """What each model call used."""
        yield from (turn.usage for turn in self.turns)
        for document in (*self.evaluations.values(), *self.compactions.values(), self.recall or {}):
            yield Usage.load(document.get("usage"))


class Timelines:
    """Reads timelines. Holds nothing, so any replica tells the same."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, head: Head, first: int, last: int, known: Mapping[str, ToolOutcome] | None = None) -> Timeline:
        """What happened in these turns.

        Args:
            head: of the run.
            first: number of the first turn, from 1.
            last: number of the last one.
            known: outcomes by key as a former reading of this run gave them. They are written once, so they are not read again.

        Raises:
            StoreError: the store does not answer.
        """
        timeline = Timeline()
        for start in range(first, last + 1, _GROUP):
            if not await self._group(timeline, head, range(start, min(start + _GROUP, last + 1)), known or {}):
                break
        # After the turns, which are written after it: whoever goes on from a turn never comes back for what stands before it.
        if first == 1 and head.session is not None:
            timeline.recall = await self._one(_recall_key(head.id))
        return timeline

    async def heads(self, runs: Iterable[str]) -> list[Head]:
        """The heads of these runs, in that order, without those that are gone.

        Raises:
            StoreError: the store does not answer.
        """
        keys = list(map(documents.head_key, runs))
        there = await self._store.get_many(keys)
        return [Head.load(there[key].value) for key in keys if key in there]

    async def decision(self, run: str, call: str) -> str | None:
        """What was decided about a call (`<turn>.<call>`) that is done; None if nothing was.

        Raises:
            StoreError: the store does not answer.
        """
        entry = await self._store.get(documents.effect_document(f"{run}/{call.replace('.', '/')}"))
        approval = ToolOutcome.load(entry.value).approval if entry else None
        return approval.decision if approval else None

    async def undone(self, head: Head, last: int) -> list[ToolOutcome]:
        """What was undone of the calls of all turns up to `last`, in the order in which it was: the newest call first.

        Raises:
            StoreError: the store does not answer.
        """
        found: list[ToolOutcome] = []
        for start in reversed(range(1, last + 1, _GROUP)):
            turns = await self._turns(head.id, range(start, min(start + _GROUP, last + 1)))
            keys = [f"{key}/undo" for turn in turns for key in turn.call_keys()]
            there = await self._outcomes(keys, {})
            found += [there[key] for key in reversed(keys) if key in there]
        return found

    async def _group(self, timeline: Timeline, head: Head, numbers: range, known: Mapping[str, ToolOutcome]) -> bool:
        """Read some turns. Returns whether there may be more after them."""
        there = await self._turns(head.id, numbers)
        # Many keys are not read at one moment: a turn that came in between can be there while the one before it was not yet.
        turns = [turn for number, turn in zip(numbers, there, strict=False) if turn.number == number]
        if not turns:
            return False
        timeline.turns += turns
        outcomes = await self._outcomes([key for turn in turns for key in turn.call_keys()], known)
        timeline.outcomes |= outcomes
        given_up = {key: f"{key}/late" for key, outcome in outcomes.items() if outcome.outcome == "unknown"}
        came = await self._outcomes(given_up.values(), {})
        timeline.late |= {key: came[late] for key, late in given_up.items() if late in came}
        compactions = {turn.number: documents.compact_key(head.id, turn.number) for turn in turns if turn.number > 1}
        evaluations = {turn.number: documents.evaluation_key(head.id, turn.number) for turn in turns if not turn.calls}
        beside = await self._effects([*compactions.values(), *evaluations.values()])
        timeline.compactions |= {number: beside[key].value for number, key in compactions.items() if key in beside}
        timeline.evaluations |= {number: beside[key].value for number, key in evaluations.items() if key in beside}
        return turns[-1].number == numbers[-1]

    async def _outcomes(self, keys: Iterable[str], known: Mapping[str, ToolOutcome]) -> dict[str, ToolOutcome]:
        """Those that there are, each cut before more are read."""
        wanted = list(keys)
        found = {key: known[key] for key in wanted if key in known}
        unread = [key for key in wanted if key not in known]
        for start in range(0, len(unread), _WHOLE_RESULTS):
            there = await self._effects(unread[start : start + _WHOLE_RESULTS])
            found |= {key: ToolOutcome.load(entry.value).cut(SHOWN_CHARACTERS) for key, entry in there.items()}
        return found

    async def _turns(self, run: str, numbers: range) -> list[ModelTurn]:
        keys = [documents.model_key(run, number) for number in numbers]
        there = await self._effects(keys)
        return [ModelTurn.load(there[key].value) for key in keys if key in there]

    async def _effects(self, keys: list[str]) -> dict[str, Entry]:
        there = await self._store.get_many(map(documents.effect_document, keys))
        return {key: entry for key in keys if (entry := there.get(documents.effect_document(key)))}

    async def _one(self, key: str) -> Document | None:
        entry = await self._store.get(key)
        return entry.value if entry else None


def _recall_key(run: str) -> str:
    return f"run/{run}/context"


def last_turn(head: Head) -> int:
    """The newest turn that a run can have; at least as many as it has."""
    return head.usage.turns if head.terminal else head.packed + documents.UNPACKED


def shown(text: Any) -> str:  # noqa: ANN401 - whatever a document holds
    """The beginning of a text."""
    found = text if isinstance(text, str) else str(text)
    return found if len(found) <= SHOWN_CHARACTERS else found[: SHOWN_CHARACTERS - 1] + "…"
