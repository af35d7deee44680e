"""Approvals at the terminal, and the run as a tree: the parts of the command that need no agent."""

import asyncio
import os
import pty

import pytest

from holdfast_agent.local.decisions import Answers, Desk, Terminal, Undecided
from holdfast_agent.local.display import line
from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.trace import tree

QUESTION = {"call": "2.1", "tool": "book", "arguments": '{"seat": "2A"}', "until": "2026-11-21T12:00:00.000Z"}
OTHER = QUESTION | {"call": "2.2", "tool": "pay"}


class Room:
    """A desk with a terminal, somebody who types, and everything that was said and decided."""

    def __init__(self, *, approve=(), reject=(), somebody=True):
        self.hand, theirs = pty.openpty()
        self.said, self.decided = [], []
        self.desk = Desk(Answers.of(approve, reject), self._decide, self.said.append, Terminal(theirs) if somebody else None)

    async def _decide(self, call, approved, reason):
        self.decided.append((call, approved, reason))

    def types(self, text):
        os.write(self.hand, text.encode())

    async def until(self, done, asked):
        async with asyncio.timeout(5):
            while not done():
                await self.desk.look(asked, idle=True)
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("typed", "decision"),
    [
        ("y\n", ("2.1", True, "")),
        ("YES\n", ("2.1", True, "")),
        ("n too expensive\n", ("2.1", False, "too expensive")),
        ("perhaps\nno\n", ("2.1", False, "")),
    ],
)
async def test_a_question_is_answered_with_yes_or_no_and_a_reason(typed, decision):
    room = Room()
    await room.desk.look([QUESTION], idle=False)
    room.types(typed)
    await room.until(lambda: room.decided, [QUESTION])
    assert room.decided == [decision]
    assert 'book({"seat": "2A"}) needs approval, until 2026-11-21T12:00:00 UTC' in room.said[0]


async def test_questions_are_asked_one_after_another_and_each_once():
    room = Room()
    for number in (1, 2):
        await room.until(lambda: room.desk.busy, [QUESTION, OTHER])
        room.types("y\n")
        await room.until(lambda: len(room.decided) == number, [QUESTION, OTHER])  # noqa: B023 - awaited before the next one
    assert [call for call, *_ in room.decided] == ["2.1", "2.2"]
    await room.desk.look([QUESTION, OTHER], idle=True)
    assert not room.desk.busy


async def test_a_question_that_is_decided_elsewhere_is_taken_back():
    room = Room()
    await room.desk.look([QUESTION], idle=True)
    await room.desk.look([], idle=False)
    assert (room.desk.busy, room.decided, room.said[-1].strip()) == (False, [], "it is decided already")


async def test_an_answer_that_comes_too_late_is_told_and_the_run_goes_on():
    room = Room(approve=["all"])

    async def refuse(*_):
        raise LocalError("the agent refuses: it is decided: timedOut")

    room.desk.decide = refuse
    await room.desk.look([QUESTION], idle=True)
    assert (room.said[-1].strip(), room.desk.busy) == ("the agent refuses: it is decided: timedOut", False)


async def test_an_answer_for_a_call_that_nobody_asked_about_is_told_with_those_that_wait():
    room = Room(approve=["9.9"], reject=["2.2"], somebody=False)
    with pytest.raises(Undecided):
        await room.desk.look([QUESTION, OTHER], idle=True)
    assert [call for call, *_ in room.decided] == ["2.2"]
    assert room.said[-1] == "note: no call 9.9 waits for a decision; waiting: 2.1"
    room.desk.tell_unused([])
    assert room.said[-1] == "note: no call 9.9 waits for a decision; waiting: none"
    assert not any("2.2 waits" in said for said in room.said)


async def test_answers_given_beforehand_are_used_and_a_no_wins():
    room = Room(approve=["all"], reject=["2.2"])
    await room.desk.look([QUESTION, OTHER], idle=True)
    assert [(call, approved) for call, approved, _ in room.decided] == [("2.1", True), ("2.2", False)]


async def test_with_nobody_there_the_command_waits_for_what_else_goes_on_and_then_gives_up():
    room = Room(somebody=False)
    await room.desk.look([QUESTION], idle=False)
    with pytest.raises(Undecided) as caught:
        await room.desk.look([QUESTION, OTHER], idle=True)
    assert caught.value.lines()[1] == 'call 2.2, pay({"seat": "2A"}) needs approval'


async def test_the_end_of_the_input_is_no_answer():
    room = Room()
    await room.desk.look([QUESTION], idle=True)
    room.types("\x04")
    with pytest.raises(Undecided):
        await room.until(lambda: False, [QUESTION])


def test_an_answer_that_was_not_accepted_says_why():
    step = {
        "turn": 1,
        "kind": "model",
        "name": "m",
        "key": "r/1/model",
        "status": "completed",
        "output": "five",
        "feedback": "It is no JSON.",
    }
    assert line(step) == "  1  ✓  model  m  → five  ↺ It is no JSON."


def test_a_run_is_shown_as_a_tree_with_times_tokens_and_what_went_wrong():
    tokens = {"input": 100, "output": 20}
    run = {"id": "r", "status": "FAILED", "created": "2026-11-21T12:00:00.000Z", "ended": "2026-11-21T12:00:09.500Z", "tokens": tokens}
    steps = [
        _step(1, "model", "openai/m", 0, 1.5, tokens=tokens, calls=["book", "pay"]),
        _step(1, "tool", "book", 2, 0.25, attempt=2, approval={"decision": "approved"}),
        _step(1, "tool", "pay", 2, 3, status="failed", output="HTTP 500"),
        _step(2, "compensation", "cancel", 6, 1),
    ]
    lines = tree(run | {"tool_calls": 2}, steps)
    assert [" ".join(line.split()) for line in lines] == [
        "run r FAILED 9.5s 100+20 tok 2 tool calls",
        "starts takes tokens",
        "├─ turn 1",
        "│ ├─ model openai/m +0.0s 1.5s 100+20 tok → book, pay",
        "│ ├─ tool book +2.0s 0.2s attempt 2 approved",
        "│ └─ tool pay +2.0s 3.0s failed HTTP 500",
        "└─ undoing",
        "└─ compensation cancel +6.0s 1.0s",
    ]


def _step(turn, kind, name, starts, seconds, **more):
    started = f"2026-11-21T12:00:0{starts}.000Z"
    return {"turn": turn, "kind": kind, "name": name, "status": "completed", "started": started, "seconds": seconds, **more}
