"""A run's conversation as the model reads it: session, task, summary, turns. Pure: a conversation is never changed but replaced.

What is told is bounded by the model's context, and always cut in the same way: a result that was cut once is cut at every later call, so
that a provider's cache of the beginning stays good.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from holdfast_agent import budgets, summaries
from holdfast_agent.documents import Document, ModelTurn, ToolOutcome
from holdfast_agent.model import Message, assistant_message, size, tool_message, user_message
from holdfast_agent.sessions import Session


@dataclass(frozen=True)
class Turn:
    """One turn: what the model said, the results of all its calls, and what it was told about it."""

    number: int
    messages: tuple[Message, ...]
    size: int


@dataclass(frozen=True)
class Conversation:
    """What the model is told at its next call.

    Attributes:
        context: tokens that the model can take.
        session: messages of earlier runs.
        recalled: summary of the exchanges before these; empty: none.
        summary: of the turns up to `through`; empty: none.
        summary_of: the turn before which the summary was made; 0: none.
        through: turns that the summary stands for.
        turns: those after it.
        size: bytes of all messages.
    """

    context: int
    session: tuple[Message, ...] = ()
    recalled: str = ""
    summary: str = ""
    summary_of: int = 0
    through: int = 0
    turns: tuple[Turn, ...] = ()
    size: int = 0

    @property
    def last(self) -> int:
        """Number of the last turn that is in it."""
        return self.turns[-1].number if self.turns else self.through

    @property
    def foldable(self) -> bool:
        """Whether there is a turn to sum up beside the last one, which stays whole always."""
        return len(self.turns) > 1

    def messages(self, task: str) -> list[Message]:
        """All of it, with the task in its place."""
        asked = summaries.told(task, self.summary) if self.summary else task
        if self.recalled and not self.session:
            asked = summaries.recalled(self.recalled, asked)
        return [*self.session, user_message(asked), *(message for turn in self.turns for message in turn.messages)]

    def begun(self, session: Session) -> Self:
        """The same with what was said in the session before."""
        texts = [text for entry in session.entries for text in (entry.task, entry.answer)]
        each = budgets.share((len(text.encode(errors="replace")) for text in texts), budgets.session(self.context))
        said = [budgets.cut(text, each) for text in texts]
        recalled = budgets.cut(session.summary or "", budgets.summary(self.context))
        if said and recalled:
            said[0] = summaries.recalled(recalled, said[0])
        messages = tuple(assistant_message(text) if number % 2 else user_message(text) for number, text in enumerate(said))
        return replace(self, session=messages, recalled=recalled, size=self.size + size(messages))

    def summed(self, turn: int, document: Document) -> Self:
        """The same with a summary in place of its first turns.

        Args:
            turn: before which the summary was made.
            document: `{content, through}`.
        """
        left = tuple(one for one in self.turns if one.number > document["through"])
        gone = sum(one.size for one in self.turns) - sum(one.size for one in left)
        more = len(document["content"]) - len(self.summary)
        return replace(
            self,
            summary=document["content"],
            summary_of=turn,
            through=document["through"],
            turns=left,
            size=self.size - gone + more,
        )

    def extended(self, turns: Iterable[Sequence[Document]]) -> Self:
        """The same with more turns, each as `turns_of` gives it."""
        new = [_turn(documents, budgets.results(self.context)) for documents in turns]
        return replace(self, turns=(*self.turns, *new), size=self.size + sum(turn.size for turn in new))


def turns_of(messages: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in the order of the conversation, turn by turn: a `ModelTurn`, its `ToolOutcome`s, a critic's judgement if there is one."""
    turn: list[Document] = []
    for document in messages:
        if "calls" in document and turn:
            yield turn
            turn = []
        turn.append(document)
    if turn:
        yield turn


def turn_of(document: Document) -> int:
    """Number of the turn that a document belongs to."""
    return int(document["key"].split("/")[1])


def _turn(documents: Sequence[Document], room: int) -> Turn:
    said = ModelTurn.load(documents[0])
    outcomes = [ToolOutcome.load(document) for document in documents[1:] if "call_id" in document]
    told = [said.feedback, *(str(document.get("feedback", "")) for document in documents[1:] if "accepted" in document)]
    each = budgets.share((len(outcome.content.encode(errors="replace")) for outcome in outcomes), room)
    messages = (
        assistant_message(said.content, said.calls),
        *(tool_message(replace(outcome, content=budgets.cut(outcome.content, each))) for outcome in outcomes),
        *(user_message(feedback) for feedback in told if feedback),
    )
    return Turn(said.number, messages, size(messages))
