"""`holdfast_agent run` asks whoever is at the terminal, and loses no question when it is killed."""

import os
import pty

import aiohttp
import pytest

from tests.agent.agents import step_key

pytestmark = pytest.mark.dapr
TASK = "Book a seat"


def _agent(url, **book):
    schema = {"type": "object", "properties": {"seat": {"type": "string"}}}
    http = {"url": f"{url}/tools/book", "method": "POST", "inputSchema": schema}
    spec = {
        "model": {"provider": "openai", "name": "scripted", "endpoint": f"{url}/v1"},
        "tools": [{"name": "book", "description": "Book.", "approval": {}, "http": http, **book}],
    }
    return {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "desk"}, "spec": spec}


@pytest.fixture
async def desk(serve_script, command):
    """URL of a model that books a seat and answers with what came of it."""
    turns = [{"toolCalls": [{"name": "book", "arguments": {"seat": "2A"}}]}, {"answer": "Over."}]
    rejected = {"messages": "too expensive", "turns": [turns[0], {"answer": "Then not."}]}
    url = await serve_script({"rules": [rejected, {"turns": turns}], "tools": {"book": {"result": {"booked": True}}}})
    command.write(_agent(url))
    return url


async def _booked(url):
    async with aiohttp.ClientSession() as session, session.get(f"{url}/ledger?kind=tool") as response:
        return [step_key(call["key"]) for call in (await response.json())["calls"]]


class Person:
    """Somebody at a terminal."""

    def __init__(self):
        self.hand, self.terminal = pty.openpty()

    def types(self, text):
        os.write(self.hand, text.encode())


@pytest.mark.parametrize(("typed", "answer", "calls"), [("y\n", b"Over.\n", 1), ("n too expensive\n", b"Then not.\n", 0)])
async def test_a_person_at_the_terminal_decides_and_the_model_hears_the_reason(desk, command, typed, answer, calls):
    person = Person()
    process = await command.start("--task", TASK, stdin=person.terminal)
    await command.line(process, "y or n, and a reason if you like")
    assert await _booked(desk) == []
    person.types(typed)
    out, err = await process.communicate()
    assert (process.returncode, out) == (0, answer), err
    assert len(await _booked(desk)) == calls


async def test_with_nobody_at_the_terminal_the_command_says_how_to_decide_and_keeps_the_run(desk, command):
    code, out, err = await command("--task", TASK)
    assert (code, out) == (3, "")
    assert 'call 1.0, book({"seat": "2A"}) needs approval' in err
    again = err.strip().splitlines()[-1]
    assert "--approve 1.0  (or --reject 1.0)" in again
    run = again.partition("--resume ")[2].split()[0]
    assert await _booked(desk) == []

    code, out, err = await command("--resume", run, "--reject", "1.0")
    assert (code, out) == (0, "Over.\n"), err
    assert await _booked(desk) == []


async def test_a_run_or_a_call_that_there_is_not_is_told_by_its_name(desk, command):
    code, out, err = await command("--resume", "nope")
    assert (code, out) == (2, "")
    assert "error: there is no run nope in " in err
    assert "--task TEXT" in err
    assert "is kept" not in err

    code, _, err = await command("--task", TASK, "--approve", "9.9")
    assert code == 3
    assert "note: no call 9.9 waits for a decision; waiting: 1.0" in err


async def test_what_is_approved_beforehand_is_not_asked(desk, command):
    code, out, err = await command("--task", TASK, "--approve", "all")
    assert (code, out) == (0, "Over.\n"), err
    assert "call 1.0 is approved" in err
    assert "attempt" not in err  # to wait for a person is no attempt
    assert len(await _booked(desk)) == 1


async def test_a_question_that_was_open_when_everything_was_killed_is_asked_again(desk, command, eventually):
    person = Person()
    first = await command.start("--task", TASK, stdin=person.terminal)
    await command.line(first, "y or n, and a reason if you like")
    first.kill()
    await first.wait()

    async def ended():
        return not command.left

    await eventually(ended, within=20)
    second = await command.start("--resume", stdin=person.terminal)
    await command.line(second, "y or n, and a reason if you like")
    person.types("y\n")
    out, err = await second.communicate()
    assert (second.returncode, out) == (0, b"Over.\n"), err
    assert len(await _booked(desk)) == 1


async def test_ctrl_c_at_a_question_keeps_the_run(desk, command):
    person = Person()
    process = await command.start("--task", TASK, stdin=person.terminal)
    await command.line(process, "y or n, and a reason if you like")
    process.terminate()
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"is kept; go on with: python -m holdfast_agent run agent.yaml --resume run-" in err
    assert command.left == {}
