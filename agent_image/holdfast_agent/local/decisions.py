"""Approvals, asked of whoever sits at the terminal.

A question waits beside the watching of the run: what else goes on is shown meanwhile, and a question that somebody else has answered, or
that nobody has answered in time, is taken back. What was not answered here is asked again by the next command.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self

from holdfast_agent.local.display import excerpt
from holdfast_agent.local.faults import LocalError

ALL: Final = "all"
_YES, _NO = frozenset({"y", "yes"}), frozenset({"n", "no"})

View = dict[str, Any]
Decide = Callable[[str, bool, str], Awaitable[None]]
"""Call `<turn>.<call>`, whether it is approved, and why: told to the agent."""


class Undecided(Exception):  # noqa: N818 - it reads as a verdict
    """Nobody is here who could decide.

    Attributes:
        questions: what is asked; `approvals` of a run's view.
    """

    def __init__(self, questions: list[View]) -> None:
        super().__init__(", ".join(question["call"] for question in questions))
        self.questions = questions

    def lines(self) -> list[str]:
        """One for each question."""
        return [f"call {question['call']}, {_question(question)}" for question in self.questions]


@dataclass(frozen=True)
class Answers:
    """What the command's options say beforehand."""

    approve: frozenset[str] = frozenset()
    reject: frozenset[str] = frozenset()

    @classmethod
    def of(cls, approve: Iterable[str], reject: Iterable[str]) -> Self:
        """From lists of calls; `all` stands for every one that is asked."""
        return cls(frozenset(approve), frozenset(reject))

    @property
    def named(self) -> frozenset[str]:
        """Calls about which something is said by name."""
        return (self.approve | self.reject) - {ALL}

    def to(self, call: str) -> bool | None:
        """Whether a call is approved; None when nothing is said about it. A no wins."""
        for calls, answer in ((self.reject, False), (self.approve, True)):
            if calls & {call, ALL}:
                return answer
        return None


class Terminal:
    """Lines that somebody types."""

    def __init__(self, descriptor: int) -> None:
        """Read from a descriptor, which must be a terminal's: it gives whole lines."""
        self._descriptor = descriptor

    async def line(self) -> str:
        """The next line; empty at the end of the input."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._descriptor, ready.set)
        try:
            await ready.wait()
            return os.read(self._descriptor, 4096).decode(errors="replace")
        finally:
            loop.remove_reader(self._descriptor)


def terminal() -> Terminal | None:
    """The terminal, when there is somebody at it."""
    return Terminal(sys.stdin.fileno()) if sys.stdin and sys.stdin.isatty() else None


@dataclass
class Desk:
    """Takes the questions of a run, one at a time.

    Attributes:
        answers: given beforehand.
        decide: how an answer reaches the agent.
        say: for people.
        terminal: where to ask; None when nobody is there.
    """

    answers: Answers
    decide: Decide
    say: Callable[[str], None]
    terminal: Terminal | None
    _done: set[str] = field(default_factory=set)
    _asking: tuple[str, "asyncio.Task[tuple[bool, str] | None]"] | None = None

    @property
    def busy(self) -> bool:
        """Whether a question is open at the terminal."""
        return self._asking is not None

    async def look(self, asked: list[View], *, idle: bool) -> None:
        """Go on with the questions that are open now.

        Args:
            asked: `approvals` of the run's view.
            idle: whether nothing else of the run is under way.

        Raises:
            Undecided: one is open, and nobody is here.
        """
        questions = {question["call"]: question for question in asked if question["call"] not in self._done}
        await self._hear(questions)
        for call in list(questions):
            if (answer := self.answers.to(call)) is not None:
                await self._tell(call, answer, "by the command line")
                del questions[call]
        if not questions or self._asking:
            return
        if self.terminal:
            call, question = next(iter(questions.items()))
            self.say(f"     ?  {_question(question)}, until {question['until'][:19]} UTC")
            self._asking = call, asyncio.create_task(self._ask())
        elif idle:
            self.tell_unused(questions)
            raise Undecided(list(questions.values()))

    def tell_unused(self, waiting: Iterable[str]) -> None:
        """Say which answers given beforehand met no question, for a call may be named wrongly.

        Args:
            waiting: calls that wait for an answer now.
        """
        calls = ", ".join(waiting) or "none"
        for call in sorted(self.answers.named - self._done):
            self.say(f"note: no call {call} waits for a decision; waiting: {calls}")

    def close(self) -> None:
        """Take back the question that is open."""
        if self._asking:
            self._asking[1].cancel()
            self._asking = None

    async def _hear(self, questions: dict[str, View]) -> None:
        if self._asking is None:
            return
        call, task = self._asking
        if task.done():
            self._asking = None
            answer = task.result()
            if answer is None:
                raise Undecided(list(questions.values()))
            if call in questions:
                await self._tell(call, *answer)
                del questions[call]
        elif call not in questions:
            self.close()
            self.say("        it is decided already")

    async def _tell(self, call: str, approved: bool, reason: str) -> None:  # noqa: FBT001 - as it is sent
        try:
            await self.decide(call, approved, reason)
        except LocalError as error:  # its time ran out, or somebody else was faster
            self.say(f"        {error}")
        else:
            self.say(f"     {'✓' if approved else '✗'}  call {call} is {'approved' if approved else 'rejected'}")
        self._done.add(call)

    async def _ask(self) -> tuple[bool, str] | None:
        """An answer; None when the input has ended."""
        assert self.terminal is not None
        while True:
            self.say("        y or n, and a reason if you like, for example: n too expensive")
            line = await self.terminal.line()
            if not line:
                return None
            word, _, reason = line.strip().partition(" ")
            if word.lower() in _YES | _NO:
                return word.lower() in _YES, reason.strip()


def _question(question: View) -> str:
    return f"{question['tool']}({excerpt(question['arguments'])}) needs approval"
