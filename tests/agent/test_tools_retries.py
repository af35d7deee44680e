"""How a tool's failures are met: as the tool says, as its server asks, and within the time that the run has."""

import pytest
from aiohttp import web


def _failing(status, *, times=1000, headers=None):
    asked = []

    async def handler(request):
        asked.append(request.headers["Idempotency-Key"])
        if len(asked) <= times:
            return web.Response(status=status, headers=headers or {}, text="no")
        return web.json_response({"ok": True})

    handler.asked = asked
    return handler


async def test_a_passing_failure_is_tried_again_as_often_and_as_slowly_as_the_tool_says(desk):
    retries = {"maxAttempts": 3, "initialSeconds": 0.5, "maxSeconds": 0.8}
    here = await desk(_failing(503), ("search", {}), tools={"search": {"retries": retries}})
    waits = []
    for failed in range(2):
        answer = await here.tool(attempt=failed + 1, failed=failed)
        assert answer["error"]["class"] == "transient"
        waits.append(answer["error"]["retryAfter"])
    assert 0.5 <= waits[0] <= 0.625
    assert 0.8 <= waits[1] <= 1.0
    assert (await here.tool(attempt=3, failed=2))["isError"]
    assert (here.outcome().outcome, here.outcome().content) == ("failed", "Error: HTTP 503: no")


async def test_waiting_for_other_calls_makes_no_pause_longer(desk):
    here = await desk(_failing(503), ("search", {}), tools={"search": {}})
    assert (await here.tool(attempt=40, failed=0))["error"]["retryAfter"] <= 1.25


async def test_what_the_server_asks_for_is_waited_for_however_long(desk):
    here = await desk(_failing(429, headers={"Retry-After": "420"}), ("search", {}), tools={"search": {"retries": {"maxSeconds": 1}}})
    assert (await here.tool())["error"]["retryAfter"] == 420
    assert here.head.trouble.message == "HTTP 429: no"


async def test_a_wait_that_the_run_has_no_time_for_is_told_to_the_model(desk):
    here = await desk(_failing(429, headers={"Retry-After": "420"}), ("search", {}), tools={"search": {}})
    assert (await here.tool(left=400))["isError"]
    assert here.outcome().content == "Error: HTTP 429: no"


async def test_one_attempt_is_one_attempt(desk):
    handler = _failing(503)
    here = await desk(handler, ("search", {}), tools={"search": {"retries": {"maxAttempts": 1}}})
    assert (await here.tool())["isError"]
    assert handler.asked == ["r/1/0"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "must be a JSON object, not list"),
        ('{"city": "\\ud800"}', "half of a surrogate pair"),
        ('{"city": 7}', "city: 7 is not of type 'string'"),
        ("[" * 100_000, "not JSON"),
    ],
)
async def test_arguments_that_do_not_fit_are_told_to_the_model_and_never_sent(desk, arguments, words):
    handler = _failing(503)
    for more in ({}, {"delivery": "atMostOnce"}, {"approval": {}}):
        here = await desk(handler, ("search", arguments), tools={"search": more})
        assert (await here.tool())["isError"]
        assert words in here.outcome().content
        assert here.head.approvals == {}
    assert handler.asked == []


async def test_the_answer_has_the_digests_of_what_is_stored_and_of_what_the_model_reads(desk):
    here = await desk(_failing(503, times=0), ("search", {"city": "Rome"}), ("search", {"city": "Oslo"}), tools={"search": {}})
    first, second = await here.tool(0), await here.tool(1)
    assert first["result"] == second["result"]
    assert first["digest"] != second["digest"]
    assert first == await here.tool(0, attempt=2)


async def test_the_run_is_canceled_before_the_call_or_before_the_next_attempt(desk):
    handler = _failing(503)
    here = await desk(handler, ("search", {}), ("search", {}), tools={"search": {}})
    assert (await here.tool(0))["error"]["class"] == "transient"
    await here.change(lambda head: head.canceled(1.0, "no longer wanted"))
    assert await here.tool(0, attempt=2, failed=1) == {"key": "r/1/0", "control": "cancel"}
    assert await here.tool(1) == {"key": "r/1/1", "control": "cancel"}
    assert handler.asked == ["r/1/0"]


async def test_a_cancel_during_the_call_is_seen_before_it_is_tried_again(desk):
    async def handler(_):
        await here.change(lambda head: head.canceled(1.0, ""))
        return web.Response(status=503)

    here = await desk(handler, ("search", {}), tools={"search": {}})
    assert await here.tool() == {"key": "r/1/0", "control": "cancel"}
