"""The scripted model answers from the request alone, fails on demand, and forgets nothing that it was asked."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import aiohttp
import pytest

from holdfast_agent.scripted import conversation
from holdfast_agent.scripted.ledger import Ledger
from holdfast_agent.scripted.script import Script, ScriptError, load, parse

TRIP = {
    "rules": [
        {
            "task": "(?i)zagreb",
            "turns": [
                {"toolCalls": [{"name": "search_flights", "arguments": {"destination": "Zagreb"}}]},
                {"answer": "Croatia Airlines, 129 EUR."},
            ],
        },
        {"turns": [{"answer": "I only know Zagreb."}]},
    ]
}


def _first(task):
    return {"model": "m", "messages": [{"role": "system", "content": "You plan trips."}, {"role": "user", "content": task}]}


def _next(body, response):
    message = response["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "[]"} for call in message["tool_calls"]]
    return body | {"messages": [*body["messages"], message, *results]}


async def _post(url, body, **options):
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=body, **options) as response:
        return response.status, response.headers, await response.json(content_type=None)


async def _ledger(url, **query):
    async with aiohttp.ClientSession() as session, session.get(f"{url}/ledger", params=query) as response:
        return await response.json()


async def _calls(url):
    return (await _ledger(url))["calls"]


async def test_a_run_gets_tool_calls_and_then_the_answer(serve_script):
    url = await serve_script(TRIP)
    body = _first("A flight to Zagreb, please")
    _, _, asked = await _post(url, body)
    choice = asked["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"destination": "Zagreb"}
    _, _, answered = await _post(url, _next(body, asked))
    assert answered["choices"][0]["message"]["content"] == "Croatia Airlines, 129 EUR."
    assert answered["choices"][0]["finish_reason"] == "stop"
    assert answered["usage"]["total_tokens"] == answered["usage"]["prompt_tokens"] + answered["usage"]["completion_tokens"]


async def test_the_first_matching_rule_answers_and_a_rule_without_task_answers_the_rest(serve_script):
    url = await serve_script(TRIP)
    _, _, body = await _post(url, _first("A flight to Paris"))
    assert body["choices"][0]["message"]["content"] == "I only know Zagreb."


def test_the_same_request_gets_the_same_response_and_another_request_other_ids():
    script = Script.model_validate(TRIP)
    requests = [conversation.read(_first(task)) for task in ("Zagreb 1", "Zagreb 1", "Zagreb 2")]
    bodies = [conversation.completion(request, conversation.choose(script, request), created=0) for request in requests]
    assert bodies[0] == bodies[1]
    assert bodies[0]["id"] != bodies[2]["id"]
    assert bodies[0]["choices"][0]["message"]["tool_calls"][0]["id"] != bodies[2]["choices"][0]["message"]["tool_calls"][0]["id"]


def test_the_task_is_the_last_user_message_so_a_session_can_go_on():
    history = [
        *_first("Zagreb")["messages"],
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": [{"text": "And Rome?"}]},
    ]
    request = conversation.read({"messages": history})
    assert (request.task, request.turn) == ("And Rome?", 0)


def test_a_repeated_turn_stands_for_that_many_turns():
    script = Script.model_validate({"rules": [{"turns": [{"toolCalls": [{"name": "tick"}], "repeat": 3}, {"answer": "end"}]}]})
    assert [bool(script.rules[0].turn(number).tool_calls) for number in range(4)] == [True, True, True, False]
    assert script.rules[0].turn(4) is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "must be a JSON object"),
        ({"messages": [{"role": "system", "content": "x"}]}, "no message with role user"),
        (_first("Zagreb") | {"stream": True}, "does not stream"),
        ({"messages": [*_first("Zagreb")["messages"], *[{"role": "assistant", "content": ""}] * 2]}, "has no turn 3"),
    ],
)
async def test_a_request_that_the_script_cannot_answer_is_told_why(serve_script, body, words):
    url = await serve_script({"rules": TRIP["rules"][:1]})
    status, _, answer = await _post(url, body)
    assert status == 400
    assert words in answer["error"]["message"]


async def test_a_task_without_a_rule_is_named_in_the_error(serve_script):
    url = await serve_script({"rules": TRIP["rules"][:1]})
    status, _, answer = await _post(url, _first("Paris"))
    assert status == 400
    assert "no rule of the script matches the task 'Paris'" in answer["error"]["message"]


async def test_faults_come_in_order_and_then_the_request_is_answered(serve_script):
    faults = [{"status": 429, "retryAfter": 7, "times": 2}, {"garbage": True}]
    url = await serve_script({"rules": [{"turns": [{"answer": "at last", "faults": faults}]}]})
    for _ in range(2):
        status, headers, _ = await _post(url, _first("x"))
        assert (status, headers["Retry-After"]) == (429, "7")
    with pytest.raises(json.JSONDecodeError):
        await _post(url, _first("x"))
    status, _, body = await _post(url, _first("x"))
    assert (status, body["choices"][0]["message"]["content"]) == (200, "at last")
    assert (await _ledger(url))["summary"]["model"] == {"requests": 4, "distinct": 1, "faults": 3, "unheard": 0, "repeated": 0}


async def test_a_hanging_model_answers_nothing_and_closes_the_connection(serve_script):
    url = await serve_script({"rules": [{"turns": [{"answer": "x", "faults": [{"hang": "100ms"}]}]}]})
    with pytest.raises(aiohttp.ClientError):
        await _post(url, _first("x"))


async def test_latency_is_waited_before_the_answer_and_the_call_is_in_the_ledger_meanwhile(serve_script, eventually):
    url = await serve_script({"rules": [{"turns": [{"answer": "x", "latency": "300ms"}]}]})
    asking = asyncio.create_task(_post(url, _first("x")))
    calls = await eventually(lambda: _calls(url))
    assert calls[0]["finished"] is None
    await asking
    assert (await _ledger(url))["calls"][0]["delivered"] is True


async def test_a_request_that_is_made_again_after_its_answer_counts_as_repeated(serve_script):
    url = await serve_script(TRIP)
    for _ in range(2):
        await _post(url, _first("Zagreb"))
    ledger = await _ledger(url, kind="model")
    assert ledger["summary"]["model"]["repeated"] == 1
    assert [call["attempt"] for call in ledger["calls"]] == [1, 2]
    assert ledger["calls"][0]["detail"]["run"] == ledger["calls"][1]["detail"]["run"]


async def _tool(url, name, key, **arguments):
    headers = {"Idempotency-Key": key}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/tools/{name}", json=arguments, headers=headers) as response:
        return response.status, await response.json()


async def test_a_tool_that_is_called_again_with_the_same_key_does_its_work_once(serve_script):
    url = await serve_script({"tools": {"hold_seat": {"latency": "200ms", "result": {"held": True}}}})
    both = await asyncio.gather(_tool(url, "hold_seat", "k1", seat="2A"), _tool(url, "hold_seat", "k1", seat="2A"))
    third = await _tool(url, "hold_seat", "k1", seat="2A")
    assert [*both, third] == [(200, {"held": True})] * 3
    calls = (await _ledger(url, kind="tool"))["calls"]
    assert [call["outcome"] for call in calls] == ["result", "replay", "replay"]
    assert [call["key"] for call in calls] == ["k1"] * 3
    assert calls[0]["detail"]["arguments"] == {"seat": "2A"}


async def test_a_tool_call_whose_caller_died_is_seen_as_unheard_and_its_successor_is_no_repeat(serve_script, eventually):
    url = await serve_script({"tools": {"hold_seat": {"latency": "300ms"}}})
    first = asyncio.create_task(_tool(url, "hold_seat", "k1"))
    await eventually(lambda: _calls(url))
    first.cancel()
    await _tool(url, "hold_seat", "k1")
    ledger = await _ledger(url)
    assert [call["delivered"] for call in ledger["calls"]] == [False, True]
    assert ledger["summary"]["tool"] == {"requests": 2, "distinct": 1, "faults": 0, "unheard": 1, "repeated": 0}


async def test_an_unknown_tool_is_answered_with_the_names_of_those_there_are(serve_script):
    url = await serve_script({"tools": {"hold_seat": {}}})
    assert await _tool(url, "hold_seet", "k") == (404, {"error": "the script has no tool 'hold_seet'; it has: hold_seat"})


def test_a_ledger_goes_on_after_a_kill_and_drops_the_line_that_was_cut_off(tmp_path):
    path = tmp_path / "ledger.jsonl"
    before = Ledger(path)
    before.open()
    before.finish(before.start("model", "m", "k", {}), "answer", delivered=True)
    before.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "started", "num')
    after = Ledger(path)
    after.open()
    assert path.read_bytes() == whole
    assert after.start("model", "m", "k", {}).attempt == 2
    assert after.summary()["model"]["repeated"] == 1
    after.close()


def test_a_file_that_is_no_ledger_is_refused_untouched(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("shopping list\n")
    with pytest.raises(ValueError, match="no ledger entry: b'shopping list'"):
        Ledger(path).open()
    assert path.read_text() == "shopping list\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: [", "is no YAML"),
        ("rules: 3", "rules: "),
        ("rules: [{task: '(', turns: [{answer: x}]}]", "rules[0].task: '(' is no regular expression"),
        (
            "rules: [{turns: [{answer: x, toolCalls: [{name: t}]}]}]",
            "rules[0].turns[0]: give exactly one of toolCalls and answer",
        ),
        ("rules: [{turns: [{answer: x, latency: soon}]}]", "turns[0].latency: 'soon' is not a duration"),
        ("rules: [{turns: [{answer: x, faults: [{status: 500, hang: 1s}]}]}]", "exactly one of status, hang, garbage, size and endless"),
        ("rules: [{turns: [{answr: x}]}]", "answr: Extra inputs"),
    ],
)
def test_a_wrong_script_is_refused_with_the_place_and_the_reason(text, words):
    with pytest.raises(ScriptError) as caught:
        parse(text)
    assert words in str(caught.value)


def _request(system="", *users, tools=(), model="m"):
    messages = [{"role": "system", "content": system}] if system else []
    return {"model": model, "messages": messages + [{"role": "user", "content": text} for text in users], "tools": list(tools)}


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (_request("You judge answers.", "an answer"), "good"),
        (_request("Sum up.", "a session"), "in short"),
        (_request("", "first", "second"), "remembers"),
        (_request("", "anything"), "no tools"),
        (_request("", "anything", tools=[{"type": "function"}]), "tools"),
        (_request("", "anything", tools=[{"type": "function"}], model="spare"), "spare"),
    ],
)
async def test_rules_look_at_the_prompt_all_messages_the_tools_and_the_model(serve_script, request_, answer):
    rules = [
        {"system": "judge", "turns": [{"answer": "good"}]},
        {"system": "(?i)^sum up", "task": "session", "turns": [{"answer": "in short"}]},
        {"messages": "first(.|\n)*second", "turns": [{"answer": "remembers"}]},
        {"tools": False, "turns": [{"answer": "no tools"}]},
        {"model": "spare", "turns": [{"answer": "spare"}]},
        {"turns": [{"answer": "tools"}]},
    ]
    _, _, body = await _post(await serve_script({"rules": rules}), request_)
    assert body["choices"][0]["message"]["content"] == answer


async def test_an_answer_may_be_structured_and_cost_what_the_script_says(serve_script):
    turns = [{"answer": {"price": 129}, "usage": {"input": 1000, "output": 7}}]
    _, _, body = await _post(await serve_script({"rules": [{"turns": turns}]}), _first("x"))
    assert body["choices"][0]["message"]["content"] == '{"price": 129}'
    assert body["usage"] == {"prompt_tokens": 1000, "completion_tokens": 7, "total_tokens": 1007}


async def test_a_tool_may_answer_too_much_no_text_or_without_end(serve_script):
    faults = [{"size": 200_001}, {"size": 5, "binary": True}, {"endless": True}]
    url = await serve_script({"tools": {"flood": {"faults": faults, "result": "at last"}}})
    async with aiohttp.ClientSession() as session:

        async def get():
            return await session.get(f"{url}/tools/flood")

        async with await get() as big:
            assert await big.read() == b"x" * 200_001
        async with await get() as binary:
            assert (binary.content_type, await binary.read()) == ("application/octet-stream", b"\x00\xff\x00\xffx")
        async with await get() as endless:
            assert len(await endless.content.readexactly(1_000_000)) == 1_000_000
        async with await get() as last:
            assert await last.json() == "at last"


def test_a_script_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ScriptError, match=r"missing\.yaml: cannot be read"):
        load(tmp_path / "missing.yaml")


def test_the_command_serves_until_sigterm_and_keeps_its_ledger(tmp_path):
    (tmp_path / "script.yaml").write_text("rules: [{turns: [{answer: hello}]}]\n")
    argv = [sys.executable, "-m", "holdfast_agent.scripted", "script.yaml", "--port", "0", "--ledger", "ledger.jsonl"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[3].removesuffix("/v1,")
            status, _, body = asyncio.run(_post(url, _first("x")))
            assert (status, body["choices"][0]["message"]["content"]) == (200, "hello")
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()
    assert [json.loads(line)["event"] for line in (tmp_path / "ledger.jsonl").read_text().splitlines()] == ["started", "finished"]


def test_the_command_refuses_a_wrong_script_in_one_line(tmp_path):
    (tmp_path / "script.yaml").write_text("rules: [{turns: []}]\n")
    done = subprocess.run(
        [sys.executable, "-m", "holdfast_agent.scripted", "script.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("scripted: script.yaml: rules[0].turns: ")
    assert done.stderr.count("\n") == 1
