"""`holdfast_agent serve agent.yaml`: the HTTP API on the loopback, sessions, traces, and what is kept."""

import asyncio
import re
import signal
import socket
import sys

import pytest

from tests.agent.commands import Caller

AGENT = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "desk"}}


def _agent(url, **spec):
    return AGENT | {"spec": {"model": {"provider": "openai", "name": "scripted", "endpoint": f"{url}/v1"}, **spec}}


class Served(Caller):
    """An agent that a test has started, and who calls it."""

    def __init__(self, process, said):
        self.process, self.said = process, said
        super().__init__(re.search(r"serving at (\S+),", said)[1], re.search(r"TOKEN=(\S+)", said)[1])


async def _serve(command, *arguments):
    process = await command.start("--port", "0", *arguments, verb="serve")
    return Served(process, await command.line(process, "approvals/TURN.CALL"))


async def _stop(served):
    served.process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        _, err = await served.process.communicate()
    return served.process.returncode, err.decode()


@pytest.mark.dapr
async def test_an_agent_is_served_until_ctrl_c_and_goes_on_with_its_runs_and_its_token(serve_script, command, eventually):
    turns = [{"toolCalls": [{"name": "slow"}]}, {"answer": "Done."}]
    url = await serve_script({"rules": [{"turns": turns}], "tools": {"slow": {"latency": "1500ms"}}})
    command.write(_agent(url, tools=[{"name": "slow", "description": "Slow.", "http": {"url": f"{url}/tools/slow"}}]))
    first = await _serve(command)
    status, accepted = await first.ask("POST", "/run", json={"task": "Do it"})
    assert status == 202
    assert (await first.ask("GET", "/runs/nothing", headers={"Authorization": "Bearer wrong"}))[0] == 401
    code, err = await _stop(first)
    assert code == 0
    assert "stopped; runs that had not ended are kept" in err
    assert command.left == {}

    second = await _serve(command)
    assert second.token == first.token

    async def ended():
        _, run = await second.ask("GET", f"/runs/{accepted['instance_id']}")
        return run if run["status"] != "RUNNING" else None

    run = await eventually(ended, within=60)
    assert (run["status"], run["result"]) == ("COMPLETED", "Done.")
    folder = command.folder / "state" / "holdfast" / "desk"
    arguments = [f"{second.url}/runs/{run['id']}", "--key-file", folder / "audit.key", "--token-file", folder / "app.token"]
    verify = await asyncio.create_subprocess_exec(sys.executable, "-m", "holdfast_agent", "verify", *arguments)
    assert await verify.wait() == 0
    assert (await _stop(second))[0] == 0


@pytest.mark.dapr
async def test_a_session_is_remembered_by_later_tasks_of_it_and_by_no_others(serve_script, command):
    rules = [
        {"task": "Who am I", "messages": "I am Ana", "turns": [{"answer": "Ana"}]},
        {"task": "Who am I", "turns": [{"answer": "Nobody"}]},
        {"turns": [{"answer": "Hello"}]},
    ]
    command.write(_agent(await serve_script({"rules": rules})))
    assert (await command("--task", "I am Ana", "--session", "one"))[:2] == (0, "Hello\n")
    assert (await command("--task", "Who am I?", "--session", "two"))[:2] == (0, "Nobody\n")
    code, out, err = await command("--task", "Who am I?", "--session", "one")
    assert (code, out) == (0, "Ana\n"), err


@pytest.mark.dapr
async def test_a_trace_shows_what_took_how_long_and_how_many_tokens(serve_script, command):
    turns = [{"toolCalls": [{"name": "look"}], "usage": {"input": 10, "output": 3}}, {"answer": "x", "usage": {"input": 20, "output": 4}}]
    url = await serve_script({"rules": [{"turns": turns}], "tools": {"look": {"result": 1}}})
    command.write(_agent(url, tools=[{"name": "look", "description": "Look.", "http": {"url": f"{url}/tools/look"}}]))
    code, out, err = await command("--task", "Look", "--trace")
    assert (code, out) == (0, "x\n"), err
    tree = err[err.index("COMPLETED") :]
    assert re.search(r"COMPLETED +\d+\.\ds +30\+7 tok +1 tool calls", tree)
    assert re.search(r"│  ├─ model openai/scripted +\+\d+\.\ds +\d+\.\ds +10\+3 tok +→ look", tree)
    assert re.search(r"│  └─ tool look +\+\d+\.\ds", tree)
    assert re.search(r"└─ model openai/scripted .* 20\+4 tok", tree)


async def test_a_port_that_is_in_use_is_refused_with_the_fix(command):
    command.write(_agent("http://127.0.0.1:9"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = await command.start("--port", str(taken.getsockname()[1]), verb="serve")
        _, err = await process.communicate()
    assert process.returncode == 2
    assert b"is in use: choose another one with --port" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "http"], "'http' is not a port"),
        (["--agent", "other"], "there is no Agent 'other'; there are: desk"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
async def test_a_serve_that_makes_no_sense_is_refused_in_words(command, arguments, words):
    command.write(_agent("http://127.0.0.1:9"))
    process = await command.start(*arguments, verb="serve")
    _, err = await process.communicate()
    assert process.returncode == 2
    assert words in err.decode()
    assert b"Traceback" not in err
