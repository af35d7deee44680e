"""A call whose answer cannot be used may have had its effect: it is undone like one that has."""

import pytest
from aiohttp import web

from holdfast_api.config import HttpToolConfig, LimitsConfig, PythonToolConfig

pytestmark = pytest.mark.dapr

UNDOING = {"sleep": {"compensate": "cancel_room"}, "fly": {"compensate": "cancel_room"}}
SOURCE = """
def sleep(city: str) -> int:
    return "room 12"

def fly(city: str) -> str:
    raise RuntimeError("no seats left")
"""


def _script():
    calls = [{"name": name, "arguments": {"city": "Rome"}} for name in ("pay", "sleep", "fly")]
    tools = {name: {} for name in ("pay", "sleep", "fly", "cancel_room", "refund")}
    return {"rules": [{"turns": [{"toolCalls": calls, "repeat": 9}]}], "tools": tools}


async def test_a_call_whose_answer_cannot_be_used_is_undone_and_one_that_failed_is_not(stage, serve):
    async def paid(_):
        return web.Response(body=b"\x89PNG\x00\xff", content_type="image/png")

    pay = {"http": HttpToolConfig(url=await serve(paid), method="POST"), "compensate": "refund"}
    functions = {
        name: UNDOING[name] | {"http": None, "python": PythonToolConfig(source=SOURCE, function=name, filename="tools/tools.py")}
        for name in UNDOING
    }
    changed = {"pay": pay} | functions
    here = await stage(_script(), *changed, "cancel_room", "refund", changed=changed, limits=LimitsConfig(max_iterations=1))
    answer = await here.agent.ask("go", id="trip")
    assert answer["error"]["type"] == "LimitExceeded"
    steps = {step["key"]: step["status"] for step in await here.agent.steps("trip") if step["kind"] != "model"}
    assert {key: status for key, status in steps.items() if not key.endswith("/undo")} == {
        "trip/1/0": "unknown", "trip/1/1": "unknown", "trip/1/2": "failed"
    }  # fmt: skip
    assert [call["key"] for call in (await here.ledger("tool"))["calls"]] == ["trip/1/1/undo", "trip/1/0/undo"]
