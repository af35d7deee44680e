"""Undoing one call: what the undoing tool gets, and what is kept of it."""

import pytest
from aiohttp import web

from holdfast_agent.activities.arguments import undoing

SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("city", "booking", "reason")} | {"arguments": {}, "result": {}},
}
TOOLS = {"book": {"compensate": "cancel"}, "cancel": {}}
BOOK = ("book", {"city": "Rome"})


@pytest.fixture
def office():
    """Books, and undoes after some failures; remembers who asked for what with which key."""
    asked = []

    async def handler(request):
        asked.append((request.path, request.headers["Idempotency-Key"], await request.json()))
        if request.path == "/book":
            return web.json_response({"booking": "b1", "price": 3})
        if handler.failures:
            handler.failures -= 1
            return web.Response(status=handler.status)
        return web.Response(text="undone")

    handler.asked, handler.failures, handler.status = asked, 0, 503
    return handler


async def test_the_undoing_tool_gets_what_it_has_properties_for_and_a_key_of_its_own(desk, office):
    here = await desk(office, BOOK, tools=TOOLS, schema=SCHEMA)
    assert (await here.tool())["undo"]
    answer = await here.undo()
    assert (answer["key"], answer["tool"], answer["isError"]) == ("r/1/0/undo", "cancel", False)
    path, key, arguments = office.asked[1]
    assert (path, key) == ("/cancel", "r/1/0/undo")
    assert arguments == {
        "city": "Rome",
        "booking": "b1",
        "reason": "the model is down",
        "arguments": {"city": "Rome"},
        "result": {"booking": "b1", "price": 3},
    }
    assert (here.outcome("r/1/0/undo").outcome, here.outcome("r/1/0/undo").content) == ("completed", "undone")


async def test_people_see_that_the_run_is_ending_and_the_first_ending_stands(desk, office):
    here = await desk(office, BOOK, tools=TOOLS, schema=SCHEMA)
    await here.tool()
    await here.change(lambda head: head.canceled(1.0, "too late"))
    await here.undo()
    assert here.head.ending["error"]["type"] == "ModelFailed"
    assert office.asked[1][2]["reason"] == "too late"


async def test_undoing_twice_is_undoing_once(desk, office):
    here = await desk(office, BOOK, tools=TOOLS, schema=SCHEMA)
    await here.tool()
    assert await here.undo() == await here.another().undo(attempt=2)
    assert len(office.asked) == 2


async def test_undoing_is_tried_five_times_at_least_and_then_it_is_kept_that_it_failed(desk, office):
    tools = {"book": {"compensate": "cancel"}, "cancel": {"retries": {"maxAttempts": 1}}}
    here = await desk(office, BOOK, tools=tools, schema=SCHEMA)
    await here.tool()
    office.failures = 100
    for failed in range(4):
        assert (await here.undo(attempt=failed + 1, failed=failed))["error"]["class"] == "transient"
        assert here.head.trouble.key == "r/1/0/undo"
    assert (await here.undo(attempt=5, failed=4))["isError"]
    assert (here.outcome("r/1/0/undo").outcome, here.outcome("r/1/0/undo").tool) == ("failed", "cancel")


async def test_a_cancel_does_not_keep_anything_from_being_undone(desk, office):
    here = await desk(office, BOOK, tools=TOOLS, schema=SCHEMA)
    await here.tool()
    await here.change(lambda head: head.canceled(1.0, ""))
    office.failures = 1
    assert (await here.undo())["error"]["class"] == "transient"
    assert not (await here.undo(attempt=2, failed=1))["isError"]


async def test_a_call_of_which_nobody_knows_is_undone_by_its_arguments(desk, office):
    here = await desk(office, BOOK, tools=TOOLS, schema=SCHEMA)
    await here.undo()
    assert office.asked[0][2] == {"city": "Rome", "reason": "the model is down", "arguments": {"city": "Rome"}}


async def test_a_run_that_was_ended_by_force_undoes_nothing(desk, office):
    here = await desk(office, BOOK, tools=TOOLS, schema=SCHEMA)
    await here.tool()
    await here.change(lambda head: head.failed({"type": "x", "message": "y"}, head.usage, 1.0))
    assert (await here.undo())["error"]["class"] == "fatal"
    assert len(office.asked) == 1


@pytest.mark.parametrize(
    ("properties", "arguments", "result", "expected"),
    [
        (["id"], {"id": 1}, '{"id": 2}', {"id": 2}),
        (["id"], {"id": 1}, '{"other": 2}', {"id": 1}),
        (["id"], {"id": 1}, "booked", {"id": 1}),
        (["id"], {}, "[1]", {}),
        (["result"], {}, "booked", {"result": "booked"}),
        (["result"], {}, '{"result": "mine"}', {"result": "mine"}),
        (["reason"], {"reason": "a holiday"}, "", {"reason": "a holiday"}),
        (["reason"], {}, "", {"reason": "canceled"}),
        ([], {"id": 1}, '{"id": 2}', {}),
        (["id"], {"id": None}, "", {}),
    ],
)
def test_each_property_is_looked_for_in_the_result_then_in_the_arguments(properties, arguments, result, expected):
    schema = {"type": "object", "properties": {name: {} for name in properties}}
    assert undoing(schema, arguments=arguments, result=result, reason="canceled") == expected
