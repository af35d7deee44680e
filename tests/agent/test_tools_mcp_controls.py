"""What an Agent says about an MCP server holds for each of its tools: undoing, rates, approval, delivery, pauses."""

from aiohttp import web

from holdfast_agent import scope
from holdfast_agent.metrics import Metrics
from holdfast_agent.model import spoken
from holdfast_agent.observer import Observer
from holdfast_agent.revisions import Revision
from holdfast_agent.tools import Toolbox, ToolResult
from tests.agent.mcp_servers import FINE, ROUTE, ScriptedMcp, answer, mcp_config

TO = {"to": "Split"}


async def _nobody(_):
    return web.json_response({"booking": "b1"})


def _maps(url, **more):
    return {"maps": {"http": None, "mcp": {"url": f"{url}/mcp"}} | more}


async def test_a_call_is_undone_by_a_tool_of_a_server_that_comes_back_in_time(desk, serve, eventually):
    cancel = {"name": "cancel", "inputSchema": {"type": "object", "properties": {"booking": {"type": "string"}, "reason": {}}}}
    down = True

    async def listing(_, message):
        return web.Response(status=503) if down else answer(message, {"tools": [cancel]})

    url = await serve((server := ScriptedMcp(tools_list=listing)).handle)
    here = await desk(_nobody, ("book", {"city": "Rome"}), tools={"book": {"compensate": "maps__cancel"}, **_maps(url)})
    assert (await here.tool())["undo"]
    first = await here.undo()
    assert (first["error"]["class"], "HTTP 503" in first["error"]["message"]) == ("transient", True)
    down = False

    async def undone():
        return "error" not in await here.undo(attempt=2, failed=1)

    await eventually(undone, within=60, every=0.1)
    assert (here.outcome("r/1/0/undo").tool, here.outcome("r/1/0/undo").content) == ("maps__cancel", "fine")
    [asked] = [message["params"] for message in server.asked if message.get("method") == "tools/call"]
    assert asked["arguments"] == {"booking": "b1", "reason": "the model is down"}
    assert asked["_meta"]["holdfast.dev/idempotency-key"] == "r/1/0/undo"


async def test_the_tools_of_a_server_share_its_rate_and_a_person_is_asked_about_the_one_that_is_called(desk, serve):
    async def listing(_, message):
        return answer(message, {"tools": [ROUTE, ROUTE | {"name": "walk"}]})

    url = await serve(ScriptedMcp(tools_list=listing).handle)
    calls = (("maps__route", TO), ("maps__walk", TO))
    here = await desk(_nobody, *calls, tools=_maps(url, rateLimitPerMinute=1))
    assert not (await here.tool(0))["isError"]
    assert "waiting" in await here.tool(1)

    asks = await desk(_nobody, *calls, ("maps__nowhere", TO), tools=_maps(url, approval={}))
    assert "waiting" in await asks.tool(0)
    assert [approval.tool for approval in asks.head.approvals.values()] == ["maps__route"]
    assert (await asks.tool(2))["isError"], "nobody is asked about a tool that there is not"
    assert len(asks.head.approvals) == 1


async def test_a_call_that_is_lost_is_repeated_or_not_as_its_delivery_says_and_a_pause_that_is_asked_for_is_kept(desk, serve):
    asked = []

    async def lose(request, message):
        asked.append(message["params"]["name"])
        if message["params"]["name"] == "walk":
            return web.Response(status=429, headers={"Retry-After": "17"})
        request.transport.abort()
        return answer(message, FINE)

    async def listing(_, message):
        return answer(message, {"tools": [ROUTE, ROUTE | {"name": "walk"}]})

    url = await serve(ScriptedMcp(tools_call=lose, tools_list=listing).handle)
    once = await desk(_nobody, ("maps__route", TO), tools=_maps(url, delivery="atMostOnce"))
    assert (await once.tool())["isError"]
    assert (once.outcome().outcome, asked) == ("unknown", ["route"])
    again = await desk(_nobody, ("maps__route", TO), ("maps__walk", TO), tools=_maps(url))
    assert (await again.tool(0))["error"]["class"] == "transient"
    assert (await again.tool(1))["error"]["retryAfter"] == 17.0


async def test_the_model_is_told_which_tools_cannot_be_reached_now_and_which_can(serve, eventually):
    async def busy(_, __):
        return web.Response(status=503)

    server = ScriptedMcp(initialize=busy)
    revision = await Revision.open(mcp_config(await serve(server.handle)), {})
    try:
        assert await revision.declarations() == ()
        assert [spoken(message)[1] for message in revision.preamble] == [
            "At the moment you cannot use these tools, because they cannot be reached: maps."
        ]
        server.behave.clear()

        async def back():
            return await revision.declarations()

        [route] = await eventually(back, within=60)
        assert (route.function.name, revision.preamble) == ("maps__route", ())
    finally:
        await revision.toolbox.close()


class _Watcher:
    def __init__(self):
        self.operations = []

    def operation(self, _, operation):
        self.operations.append(operation)


async def test_a_call_is_observed_under_the_name_of_its_item_and_a_secret_that_a_server_sends_back_is_told_to_nobody(
    serve, caplog, eventually
):
    async def echo(request, _):
        return web.Response(status=500, text=f"you sent {request.headers['Authorization']}")

    async def repeat(request, message):
        return answer(message, {"content": [{"type": "text", "text": f"you sent {request.headers['Authorization']}"}]})

    async def listed(request, message):
        return answer(message, {"tools": [ROUTE | {"description": f"you sent {request.headers['Authorization']}"}]})

    server = ScriptedMcp()
    url = await serve(server.handle)
    header = {"name": "Authorization", "env": "KEY", "prefix": "Bearer "}
    box = await Toolbox.open(mcp_config(url, headersFrom=[header]), environ={"KEY": "canary-of-the-secret"})
    try:

        async def up():
            return box.health[0].up

        await eventually(up, within=60)
        watcher = _Watcher()
        with scope.entered(scope.Scope("r", "r/1/0", 1, None, own=False, watcher=watcher)):
            assert await box.call("maps__route", TO, key="r/1/0") == ToolResult("fine")
        [operation] = watcher.operations
        facts = {"mcp.method.name": "tools/call", "mcp.protocol.version": "2025-06-18", "server.address": "127.0.0.1"}
        assert operation.name == "maps__route"
        assert operation.facts == facts | {"holdfast.tool": "maps"}
        metrics = Metrics()
        metrics.agent("a", "rev", ["maps"])
        Observer(metrics).operation("r", operation)
        metrics.call(tool="maps__route", outcome="completed")
        metrics.call(tool="other__route", outcome="completed")
        page = metrics.page().decode()
        assert 'holdfast_tool_call_duration_seconds_count{tool="maps"} 1.0' in page
        assert 'holdfast_tool_calls_total{outcome="completed",tool="unknown"} 1.0' in page
        assert "route" not in page

        server.behave = {"tools/call": echo}
        assert (await box.call("maps__route", TO, key="k")).message == "HTTP 500: you sent Bearer …"
        server.behave = {"tools/call": repeat}
        assert await box.call("maps__route", TO, key="k") == ToolResult("you sent Bearer …")

        server.behave = {"tools/list": listed}
        box._sources[0].changed({"method": "notifications/tools/list_changed"})
        await box.call("maps__elsewhere", {}, key="k")
        assert box.specs[0].description == "you sent Bearer …"

        server.behave = dict.fromkeys(("initialize", "tools/list"), echo)
        box._sources[0].changed({"method": "notifications/tools/list_changed"})
        await box.call("maps__elsewhere", {}, key="k")
        assert (box.health[0].up, box.health[0].reason) == (False, "HTTP 500: you sent Bearer …")
        assert "canary" not in caplog.text
    finally:
        await box.close()
