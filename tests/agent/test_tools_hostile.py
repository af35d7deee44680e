"""Tools that do the worst that a tool can do, in a run on a real Dapr: it is bounded, the model is told, and the run goes on."""

import asyncio
import json

import pytest
from aiohttp import web

from holdfast_api.config import HttpToolConfig, PythonToolConfig, RetriesConfig

pytestmark = pytest.mark.dapr

EXPECTED = {
    "binary": ("unknown", "the answer is binary (image/png, 6 bytes)"),
    "huge": ("unknown", "more than 1024 KiB"),
    "drip": ("unknown", "no complete answer within 1 s"),
    "silent": ("unknown", "no complete answer within 1 s"),
    "broken": ("unknown", "calls itself JSON and is none"),
    "cut": ("unknown", "cannot reach 127.0.0.1"),
    "spin": ("unknown", "did not finish within 1 s and was ended"),
    "crash": ("unknown", "its process ended with exit code 3"),
    "flood": ("unknown", "more than 1024 KiB"),
    "half": ("failed", "UnicodeEncodeError"),
}
SOURCE = """
import os

def spin() -> str:
    while True:
        print("still here")

def crash() -> str:
    os._exit(3)

def flood() -> str:
    return "x" * 10_000_000

def half() -> str:
    raise UnicodeEncodeError("utf-8", "\\ud800", 0, 1, "surrogates not allowed")
"""


async def _hostile(request):
    kind = request.path.strip("/")
    if kind == "binary":
        return web.Response(body=b"\x89PNG\x00\xff", content_type="image/png")
    if kind == "huge":
        return web.Response(body=b"x" * 10_000_000)
    if kind == "broken":
        return web.Response(text='{"half": ', content_type="application/json")
    if kind == "silent":
        await asyncio.sleep(30)
    response = web.StreamResponse(headers={"Content-Length": "100"} if kind == "cut" else {})
    await response.prepare(request)
    while kind == "drip":
        await response.write(b".")
        await asyncio.sleep(0.01)
    await response.write(b"half of")
    request.transport.abort()
    return response


async def test_whatever_a_tool_does_is_bounded_and_told_to_the_model_and_the_run_goes_on(stage, serve):
    url = await serve(_hostile)
    once = {"retries": RetriesConfig(max_attempts=1)}
    changed = {}
    for name in EXPECTED:
        function = PythonToolConfig(source=SOURCE, function=name, filename="tools/tools.py") if f"def {name}(" in SOURCE else None
        over_http = None if function else HttpToolConfig(url=f"{url}/{name}")
        limit = 1.0 if "within 1 s" in EXPECTED[name][1] else 30.0
        changed[name] = once | {"timeout_seconds": limit, "python": function, "http": over_http}
    calls = [{"name": name, "arguments": {}} for name in EXPECTED] + [{"name": "fine", "arguments": {"city": "Rome"}}]
    script = {"rules": [{"turns": [{"toolCalls": calls}, {"answer": "done"}]}], "tools": {"fine": {"result": "fine"}}}
    here = await stage(script, *EXPECTED, "fine", changed=changed)
    answer = await here.agent.ask("go")
    assert answer["result"] == "done"
    steps = {step["name"]: step for step in await here.agent.steps(answer["instance_id"]) if step["kind"] == "tool"}
    assert steps["fine"]["output"] == '"fine"'
    for name, (status, words) in EXPECTED.items():
        assert (steps[name]["status"], words in steps[name]["output"]) == (status, True), steps[name]
    asked = (await here.ledger("model"))["calls"][1]
    assert len(json.dumps(asked)) < 100_000
