"""MCP servers that do the worst that a server can do: each costs its call, in bounded time and memory, and nothing else."""

import asyncio
import json
import time

import pytest
from aiohttp import web

from holdfast_agent.outcome import Failure
from holdfast_agent.tools import Toolbox, ToolResult
from holdfast_agent.tools.mcp import client
from tests.agent.mcp_servers import FINE, ROUTE, ScriptedMcp, answer, mcp_config

LIMIT = 1.5


async def _events(request, *chunks, pause=0.0, times=1_000_000):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(times):
        for chunk in chunks:
            await response.write(chunk)
        await asyncio.sleep(pause)
    return response


@pytest.fixture
async def opened(serve, eventually):
    boxes = []

    async def open_(hostile, *, limit=30.0, **mcp):
        url = await serve(hostile.handle)
        box = await Toolbox.open(mcp_config(f"{url}/mcp", timeout=limit, **mcp), environ={})
        boxes.append(box)

        async def looked():
            return box.health[0].up is not None

        await eventually(looked, within=60)
        return box

    yield open_
    for box in boxes:
        await box.close()


async def _endless(request, _):
    return await _events(request, b": ping\n\n", pause=0.01)


async def _flood(request, _):
    return await _events(request, b'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\n\n' * 500)


async def _curious(request, _):
    asked = [json.dumps({"jsonrpc": "2.0", "id": n, "method": "sampling/createMessage", "params": {}}).encode() for n in range(40)]
    return await _events(request, *[b"data: " + each + b"\n\n" for each in asked], pause=0.05)


async def _large(_, message):
    return answer(message, {"content": [{"type": "text", "text": "x" * 10_000_000}]})


async def _long_line(request, _):
    return await _events(request, b"data: " + b"x" * 100_000)


async def _elsewhere(_, __):
    return web.Response(status=307, headers={"Location": "http://elsewhere.example/mcp"})


async def _round(request, _):
    return web.Response(status=307, headers={"Location": str(request.url)})


async def _silent(_, __):
    await asyncio.sleep(60)


async def _cut(request, _):
    response = await _events(request, b'data: {"jsonrpc":', times=1)
    request.transport.abort()
    return response


async def _busy(_, __):
    return web.Response(status=429, headers={"Retry-After": "17"}, text="busy")


async def _barred(_, __):
    return web.Response(status=401, text="no")


async def _forgetful(_, message):
    return web.Response(status=404) if message["method"] == "tools/call" else answer(message, {"tools": [ROUTE]})


def _says(body, kind="application/json", status=200):
    async def say(_, message):
        return web.Response(status=status, text=body.replace("ID", str(message["id"])), content_type=kind)

    return say


CALLS = {
    "endless": (_endless, "transient", "lost", "no complete answer within 1.5 s"),
    "flood": (_flood, "permanent", "lost", "in answer to one request"),
    "curious": (_curious, "permanent", "lost", "asked more than 32 things"),
    "large": (_large, "permanent", "lost", "longer than 4096 KiB"),
    "long line": (_long_line, "permanent", "lost", "longer than 4096 KiB"),
    "elsewhere": (_elsewhere, "permanent", "lost", "redirected to http://elsewhere.example"),
    "round": (_round, "permanent", "lost", "more than 5 redirects"),
    "silent": (_silent, "transient", "lost", "no complete answer within 1.5 s"),
    "cut": (_cut, "transient", "lost", "cannot reach 127.0.0.1"),
    "busy": (_busy, "transient", "answered", "HTTP 429"),
    "barred": (_barred, "permanent", "answered", "headersFrom"),
    "no json": (_says("{"), "permanent", "lost", "no JSON"),
    "no result": (_says('{"jsonrpc":"2.0","id":ID}'), "permanent", "lost", "no result"),
    "another's": (_says('{"jsonrpc":"2.0","id":99999,"result":{}}'), "permanent", "lost", "without an answer"),
    "html": (_says("<p>", "text/html"), "permanent", "lost", "no JSON"),
    "nothing": (_says("", status=202), "permanent", "lost", "no JSON"),
    "error": (
        _says('{"jsonrpc":"2.0","id":ID,"error":{"code":-32602,"message":"bad"}}', status=400),
        "permanent",
        "answered",
        "-32602: bad",
    ),
    "broken": (_says("oops", "text/plain", 500), "transient", "answered", "HTTP 500: oops"),
}


async def test_whatever_a_server_answers_to_a_call_is_bounded_and_told(opened):
    async def one(name):
        behaviour, kind, reach, words = CALLS[name]
        box = await opened(ScriptedMcp(tools_call=behaviour), limit=LIMIT if f"{LIMIT} s" in words else 30.0)
        began = time.monotonic()
        failure = await box.call("maps__route", {"to": "Split"}, key="k")
        assert isinstance(failure, Failure), name
        assert (name, failure.kind, failure.reach) == (name, kind, reach), failure
        assert words in failure.message, (name, failure)
        assert len(failure.message) < 1000
        assert "oops" not in failure.public
        assert time.monotonic() - began < 20
        return failure

    failures = dict(zip(CALLS, await asyncio.gather(*map(one, CALLS)), strict=True))
    assert failures["busy"].retry_after == 17.0


async def test_a_session_that_is_lost_again_and_again_is_begun_anew_once_for_a_call(opened):
    box = await opened(hostile := ScriptedMcp(tools_call=_forgetful, initialize=_with_session))
    failure = await box.call("maps__route", {}, key="k")
    assert (failure.kind, failure.reach) == ("permanent", "unsent")
    assert [message["method"] for message in hostile.asked].count("tools/call") == 2


async def _with_session(_, message):
    return answer(message, {"protocolVersion": "2025-11-25"}, **{"Mcp-Session-Id": "s"})


@pytest.mark.parametrize(
    ("method", "behaviour", "words"),
    [
        ("initialize", _silent, "did not begin a session within 1 s"),
        ("initialize", _says('{"jsonrpc":"2.0","id":ID,"result":{"protocolVersion":"1999-01-01"}}'), "1999-01-01"),
        ("initialize", _elsewhere, "elsewhere.example"),
        ("initialize", _large, "longer than 4096 KiB"),
        ("tools_list", _says('{"jsonrpc":"2.0","id":ID,"result":{"tools":{}}}'), "is none"),
        ("tools_list", _cut, "cannot reach"),
    ],
    ids=["hanging", "old", "elsewhere", "large", "list", "cut"],
)
async def test_a_server_that_cannot_be_asked_for_its_tools_says_why_and_its_calls_are_not_sent(
    opened, monkeypatch, method, behaviour, words
):
    monkeypatch.setattr(client, "CONNECT_SECONDS", 1.0)
    box = await opened(hostile := ScriptedMcp(**{method: behaviour}))
    [health] = box.health
    assert (health.up, box.specs) == (False, ())
    assert words in health.reason
    failure = await box.call("maps__route", {}, key="k")
    assert (failure.kind, failure.reach) == ("transient", "unsent")
    assert "tools/call" not in [message.get("method") for message in hostile.asked]


async def test_a_list_without_an_end_and_one_of_a_hundred_thousand_give_what_a_model_can_take(opened):
    async def endless(_, message):
        cursor = int(message["params"].get("cursor", "0"))
        tools = [ROUTE | {"name": f"t{cursor + number}"} for number in range(1000)]
        return answer(message, {"tools": tools, "nextCursor": str(cursor + 1000)})

    box = await opened(ScriptedMcp(tools_list=endless))
    assert len(box.specs) == 128
    assert "allow" in box.health[0].left_out
    assert await box.call("maps__t5", {}, key="k") == ToolResult("fine")
    allowed = await opened(ScriptedMcp(tools_list=endless), allow=["t2500"])
    assert [spec.name for spec in allowed.specs] == ["maps__t2500"]


async def test_a_server_without_sessions_of_the_newest_version_is_spoken_to_as_it_wants(opened):
    async def refuses(_, message):
        error = {"code": -32022, "message": "unsupported", "data": {"supported": ["2026-07-28"]}}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error}, status=400)

    seen = {}

    async def call(request, message):
        seen.update(request.headers)
        seen["meta"] = message["params"]["_meta"]
        return answer(message, FINE | {"resultType": "complete"})

    box = await opened(ScriptedMcp(initialize=refuses, tools_call=call))
    assert await box.call("maps__route", {}, key="k") == ToolResult("fine")
    assert (seen["MCP-Protocol-Version"], seen["Mcp-Method"], seen["Mcp-Name"]) == ("2026-07-28", "tools/call", "route")
    assert seen["meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
