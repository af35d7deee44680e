"""`holdfast_agent run`: the file that kubectl takes, one command, an answer, and nothing lost by Ctrl-C or `kill -9`."""

import asyncio
import json
import os
import signal

import aiohttp
import pytest

TASK = "Plan a weekend in Zagreb"
TOOLS = """
import os

def search_flights(destination: str) -> list[str]:
    '''Find flights.'''
    return [destination, os.environ["AIRLINE"]]
"""


def _script(latency="100ms"):
    turns = [
        {"toolCalls": [{"name": "search_flights", "arguments": {"destination": "Zagreb"}}]},
        {"toolCalls": [{"name": "hold_seat", "arguments": {"seat": "2A"}}]},
        {"answer": "Seat 2A is held."},
    ]
    return {"rules": [{"task": "Zagreb", "turns": turns}], "tools": {"hold_seat": {"latency": latency, "result": {"held": True}}}}


def _documents(url, **spec):
    hold = {"url": f"{url}/tools/hold_seat", "method": "POST", "inputSchema": {"properties": {"seat": {"type": "string"}}}}
    hold |= {"headersFrom": [{"name": "X-Key", "secretKeyRef": {"name": "seats", "key": "api-key"}}]}
    model = {"provider": "openai", "name": "scripted", "endpoint": f"{url}/v1", "apiKeySecretRef": {"name": "openai", "key": "api-key"}}
    python = {"configMapKeyRef": {"name": "tools", "key": "tools.py"}, "function": "search_flights"}
    agent = {
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": "trips"},
        "spec": {
            "role": "Planner",
            "model": model,
            "env": [{"name": "NAME", "value": "Croatia"}, {"name": "AIRLINE", "value": "$(NAME) Airlines"}],
            "tools": [{"name": "search_flights", "python": python}, {"name": "hold_seat", "description": "Hold.", "http": hold}],
            **spec,
        },
    }
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tools"}, "data": {"tools.py": TOOLS}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "seats"}, "stringData": {"api-key": "s3cret"}}
    return [agent, config_map, secret]


async def _calls(url, kind=None):
    async with aiohttp.ClientSession() as session, session.get(f"{url}/ledger") as response:
        return [call for call in (await response.json())["calls"] if kind in {None, call["kind"]}]


async def _line(process, words):
    """Read stderr up to a line with these words; gives all that was read."""
    seen = ""
    async with asyncio.timeout(60):
        while words not in seen:
            line = await process.stderr.readline()
            assert line, f"ended without {words!r}: {seen}"
            seen += line.decode()
    return seen


@pytest.mark.dapr
async def test_a_run_is_answered_and_shows_its_steps_and_leaves_no_process(serve_script, command):
    url = await serve_script(_script())
    command.write(*_documents(url))
    code, out, err = await command("--task", TASK)
    assert (code, out) == (0, "Seat 2A is held.\n"), err
    for words in ("✓  model  openai/scripted", '✓  tool   search_flights({"destination": "Zagreb"})', "Croatia Airlines", '{"held": true}'):
        assert words in err
    assert command.left == {}
    assert [call["name"] for call in await _calls(url, "tool")] == ["hold_seat"]


@pytest.mark.dapr
async def test_after_a_kill_of_everything_the_same_command_goes_on_and_repeats_nothing(serve_script, command, eventually):
    url = await serve_script(_script(latency="2s"))
    command.write(*_documents(url))
    first = await command.start("--task", TASK)
    await _line(first, "hold_seat({")
    first.kill()
    await first.wait()

    async def ended():
        return not command.left

    await eventually(ended, within=20)
    code, out, err = await command("--task", TASK)
    assert (code, out) == (0, "Seat 2A is held.\n"), err
    assert "which has the same task and had not ended" in err
    model = await _calls(url, "model")
    assert len(model) == len({call["key"] for call in model}) == 3
    tool = await _calls(url, "tool")
    assert [call["attempt"] for call in tool] == [1, 2]
    assert [call["outcome"] for call in tool][1] == "replay"


@pytest.mark.dapr
async def test_a_failed_attempt_is_told_with_its_reason_while_the_run_waits(serve_script, command):
    faults = [{"status": 503, "times": 1}]
    url = await serve_script({"rules": [{"turns": [{"answer": "at last", "faults": faults}]}]})
    command.write(*_documents(url, tools=[]))
    code, out, err = await command("--task", TASK)
    assert (code, out) == (0, "at last\n"), err
    assert "↻  attempt 1 failed: " in err
    assert "503" in err


@pytest.mark.dapr
async def test_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(serve_script, command):
    url = await serve_script(_script(latency="1s"))
    command.write(*_documents(url))
    first = await command.start("--task", TASK)
    await _line(first, "hold_seat({")
    first.send_signal(signal.SIGINT)
    _, err = await first.communicate()
    assert first.returncode == 130
    assert command.left == {}
    again = err.decode().strip().splitlines()[-1]
    assert "is kept; go on with: python -m holdfast_agent run agent.yaml --resume run-" in again
    code, out, _ = await command("--resume", again.split()[-1])
    assert (code, out) == (0, "Seat 2A is held.\n")
    assert [call["attempt"] for call in await _calls(url)] == [1, 1, 1, 1]


@pytest.mark.dapr
async def test_another_run_of_an_unfinished_task_is_started_when_asked_for(serve_script, command):
    url = await serve_script({"rules": [{"turns": [{"answer": "Zdravo", "latency": "1s"}]}]})
    command.write(*_documents(url, tools=[]))
    first = await command.start("--task", TASK)
    await _line(first, "run run-")
    first.kill()
    await first.wait()
    code, out, err = await command("--task", TASK, "--new")
    assert (code, out) == (0, "Zdravo\n"), err
    assert "going on with" not in err
    code, out, err = await command("--task", TASK)
    assert (code, out) == (0, "Zdravo\n"), err
    assert "which has the same task and had not ended" in err


@pytest.mark.dapr
async def test_a_part_that_dies_is_started_again_and_the_run_goes_on(serve_script, command):
    url = await serve_script(_script(latency="2s"))
    command.write(*_documents(url))
    process = await command.start("--task", TASK)
    await _line(process, "hold_seat({")
    os.kill(await command.pid_of("daprd"), signal.SIGKILL)
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"Seat 2A is held.\n"), err
    assert b"daprd ended with code -9; starting it again" in err
    assert len({call["key"] for call in await _calls(url, "model")}) == len(await _calls(url, "model")) == 3


@pytest.mark.dapr
async def test_a_part_that_dies_again_and_again_ends_the_command_and_the_run_is_kept(serve_script, command, eventually):
    url = await serve_script(_script(latency="5s"))
    command.write(*_documents(url))
    process = await command.start("--task", TASK)
    await _line(process, "hold_seat({")

    async def kill():
        os.kill(await eventually(lambda: command.pid_of("placement")), signal.SIGKILL)

    for _ in range(5):
        await kill()
        await _line(process, "placement ended with code -9; starting it again")
    await kill()
    await _line(process, "error: placement ended with code -9, and that was no single case")
    await _line(process, "is kept; when that is mended, go on with: python -m holdfast_agent run")
    assert await process.wait() == 2
    assert command.left == {}


@pytest.mark.dapr
async def test_a_second_command_for_the_same_agent_is_kept_out(serve_script, command):
    url = await serve_script(_script(latency="30s"))
    command.write(*_documents(url))
    first = await command.start("--task", TASK)
    await _line(first, "run run-")
    code, _, err = await command("--task", "something else")
    assert code == 2
    assert f"this agent is already running here (process {first.pid}, " in err


@pytest.mark.dapr
async def test_the_whole_run_as_json_and_the_task_from_stdin(serve_script, command):
    url = await serve_script({"rules": [{"turns": [{"answer": "Zdravo"}]}]})
    command.write(*_documents(url, tools=[]))
    code, out, err = await command("--task", "-", "--json", text="Say hello\n")
    run = json.loads(out)
    assert (code, run["status"], run["result"]) == (0, "COMPLETED", "Zdravo"), err
    assert (await _calls(url))[0]["detail"]["task"] == "Say hello"


@pytest.mark.dapr
async def test_a_run_that_fails_ends_with_code_1_and_the_reason(serve_script, command):
    url = await serve_script({"rules": [{"turns": [{"toolCalls": [{"name": "nothing"}], "repeat": 99}]}]})
    command.write(*_documents(url, limits={"maxIterations": 2}))
    code, out, err = await command("--task", TASK)
    assert (code, out) == (1, "")
    assert "ended as FAILED: " in err.splitlines()[-1]
    assert "maxIterations" in err.splitlines()[-1]


@pytest.mark.dapr
async def test_addresses_of_a_cluster_can_be_mapped_and_the_model_put_elsewhere(serve_script, command):
    url = await serve_script(_script())
    command.write(*_documents("http://scripted-model:8080"))
    code, out, err = await command("--task", TASK, "--endpoint", f"{url}/v1", "--map", f"http://scripted-model:8080={url}")
    assert (code, out) == (0, "Seat 2A is held.\n"), err


@pytest.mark.dapr
async def test_a_tool_that_cannot_be_imported_is_the_last_thing_said(serve_script, command):
    agent, config_map, secret = _documents(await serve_script(_script()))
    config_map["data"]["tools.py"] = "import nosuchthing\n"
    command.write(agent, config_map, secret)
    code, _, err = await command("--task", TASK)
    assert code == 2
    assert "ConfigMap 'tools', key 'tools.py', line 1: ModuleNotFoundError: No module named 'nosuchthing'" in err
    assert command.left == {}


async def test_missing_secrets_are_told_all_at_once_with_the_variables_to_set(command):
    agent, config_map, _ = _documents("http://127.0.0.1:9")
    command.write(agent, config_map)
    del command.environ["OPENAI_API_KEY"]
    code, _, err = await command("--task", TASK)
    assert code == 2
    assert "Secret 'openai', key 'api-key': set OPENAI_API_KEY" in err
    command.environ["OPENAI_API_KEY"] = "sk"
    _, _, err = await command("--task", TASK)
    assert "Secret 'seats', key 'api-key': set SEATS_API_KEY" in err


async def test_without_dapr_the_command_says_how_to_get_it(command):
    command.write(*_documents("http://127.0.0.1:9"))
    command.environ |= {"PATH": "/nowhere", "HOME": str(command.folder), "HOLDFAST_CACHE": str(command.folder)}
    code, _, err = await command("--task", TASK)
    assert code == 2
    assert "dapr init --slim --runtime-version" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give exactly one of --task TEXT and --resume [ID]"),
        (["--task", "x", "--resume"], "give exactly one of --task TEXT and --resume [ID]"),
        (["--resume", "--session", "one"], "--session belongs to --task"),
        (["--task", "x", "--session", "two words"], "'two words' is no session's id: use 1 to 64 letters"),
        (["--task", "x", "--approve", "book"], "'book' is no call: use TURN.CALL"),
        (["--task", " "], "the task is empty"),
        (["--resume"], "there is no unfinished run in "),
        (["--task", "x", "--agent", "other"], "there is no Agent 'other'; there are: trips"),
        (["--task", "x", "--map", "nonsense"], "'nonsense' is not FROM=TO"),
        (["--task", "x", "--secrets", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused_in_words(command, arguments, words):
    command.write(*_documents("http://127.0.0.1:9"))
    code, _, err = await command(*arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
