"""Tools of a real MCP server made with the official SDK, over both transports."""

import asyncio
import contextlib
import time

import pytest

from holdfast_agent.outcome import Failure
from holdfast_agent.tools import Toolbox, ToolboxError, ToolResult
from holdfast_agent.tools.mcp import wire
from tests.agent.mcp_servers import PATHS, mcp_config, mcp_process, running_mcp

WITHIN = 60.0


@contextlib.asynccontextmanager
async def _opened(config, environ=None):
    box = await Toolbox.open(config, environ=environ or {})
    try:
        await box.settled()
        yield box
    finally:
        await box.close()


def _names(box):
    return {spec.name for spec in box.specs}


def _looked(box):
    async def looked():
        [health] = box.health
        return health if health.up is not None else None

    return looked


async def _up(box, eventually):
    async def up():
        return all(health.up for health in box.health)

    await eventually(up, within=WITHIN)


async def test_the_tools_of_a_server_are_offered_checked_called_and_noticed_when_they_change(tmp_path, eventually):
    async with running_mcp(tmp_path) as server:
        for transport in PATHS:
            await _use(server, transport, eventually)
        await _use_without_sessions(server, eventually)


async def _use(server, transport, eventually):
    header = {"name": "Authorization", "env": "KEY", "prefix": "Bearer "}
    config = mcp_config(server.url(transport), transport=transport, headersFrom=[header])
    async with _opened(config, {"KEY": "canary-of-the-secret"}) as box:
        await _up(box, eventually)

        async def call(name, /, **arguments):
            return await box.call(f"maps__{name}", arguments, key=f"{transport}/2/0")

        [route] = [spec for spec in box.specs if spec.name == "maps__route"]
        assert (route.description, route.input_schema["required"]) == ("A route between two towns.", ["origin", "goal"])
        found = await call("route", origin="Split", goal="Zadar")
        assert isinstance(found, ToolResult)
        assert '"km": 382.5' in found.content
        asked = server.calls("route")[-1]
        assert asked["meta"]["holdfast.dev/idempotency-key"] == asked["headers"]["idempotency-key"] == f"{transport}/2/0"
        assert asked["headers"]["authorization"] == "Bearer canary-of-the-secret"

        before = len(server.calls("distance"))
        wrong = await call("distance", km="far")
        assert (wrong.kind, wrong.reach, "km" in wrong.message) == ("permanent", "unsent", True)
        assert (await box.check("maps__distance", {"km": "far"})).message == wrong.message
        assert len(server.calls("distance")) == before
        assert await call("distance", km=4) == ToolResult("8")

        assert (await call("picture")).content == "(image, image/png, about 9 bytes; it is not shown)"
        refused = await call("refuse")
        assert (refused.kind, refused.reach) == ("permanent", "answered")
        assert "the road is closed" in refused.message
        [odd] = [name for name in _names(box) if name.startswith("maps__places_find")]
        assert await box.call(odd, {}, key="k") == ToolResult("a harbour")

        assert await call("learn", name="fresh") == ToolResult("learned")
        assert await call("fresh") == ToolResult("I am fresh")
        assert "maps__fresh" in _names(box)
        assert (await call("forget", name="fresh")).content == "forgotten"
        gone = await call("fresh")
        assert isinstance(gone, Failure)
        assert gone.kind == "permanent"
        nowhere = await call("nowhere")
        assert (nowhere.kind, nowhere.reach) == ("permanent", "unsent")


async def _use_without_sessions(server, eventually):
    async with _opened(mcp_config(server.url())) as box:
        await _up(box, eventually)
        remote = box._sources[0]._remote
        await remote._transport.close()
        remote._version = wire.STATELESS
        [odd] = [name for name in _names(box) if name.startswith("maps__places_find")]
        assert await box.call(odd, {}, key="k") == ToolResult("a harbour")
        asked = server.calls("find")[-1]["headers"]
        assert (asked["mcp-protocol-version"], "mcp-session-id" in asked) == ("2026-07-28", False)
        refused = await box.call("maps__refuse", {}, key="k")
        assert "the road is closed" in refused.message


async def test_allow_is_enforced_at_the_call_and_a_server_that_comes_goes_and_returns_costs_its_calls(tmp_path, eventually):
    server = mcp_process(tmp_path)
    config = mcp_config(server.url(), timeout=20.0, allow=["distance", "route", "slow"])
    began = time.monotonic()
    async with _opened(config) as box:
        assert time.monotonic() - began < 30.0
        assert box.specs == ()
        health = await eventually(_looked(box), within=WITHIN)
        assert (health.up, "cannot reach 127.0.0.1" in health.reason) == (False, True)
        early = await box.call("maps__distance", {"km": 1}, key="k")
        assert (early.kind, early.reach) == ("transient", "unsent")
        assert "cannot reach" in early.message

        await server.start()
        try:
            await _up(box, eventually)
            assert _names(box) == {"maps__distance", "maps__route", "maps__slow"}
            assert await box.call("maps__distance", {"km": 1}, key="k") == ToolResult("2")
            forbidden = await box.call("maps__crash", {}, key="k")
            assert (forbidden.kind, forbidden.reach, server.calls("crash")) == ("permanent", "unsent", [])

            await server.kill()
            await server.start()
            # The session is gone with the process that knew it.
            assert await box.call("maps__distance", {"km": 2}, key="k") == ToolResult("4")

            slow = asyncio.create_task(box.call("maps__slow", {"seconds": 60}, key="k"))

            async def asked():
                return server.calls("slow")

            await eventually(asked, within=WITHIN)
            await server.kill()
            cut = await slow
            assert (cut.kind, cut.reach) == ("transient", "lost")
            refused = await box.call("maps__distance", {"km": 3}, key="k")
            assert (refused.kind, refused.reach) == ("transient", "unsent")
            assert "maps__distance" in _names(box), "the model goes on seeing what the server had"
        finally:
            await server.kill()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"headersFrom": [{"name": "X", "env": "MISSING"}]}, "MISSING"),
        ({"server": "maps"}, "exactly one of mcp.url and mcp.server"),
        ({"name": "m" * 41}, "at most 40 characters"),
        ({"url": None, "server": "maps", "delivery": "atMostOnce"}, "delivery cannot be atMostOnce"),
        ({"url": "ftp://maps.example"}, "must begin with http"),
    ],
    ids=["secret", "both", "name", "once", "url"],
)
async def test_an_item_that_cannot_be_served_as_it_is_written_is_refused_with_its_name(more, words):
    with pytest.raises(ToolboxError, match=words):
        await Toolbox.open(mcp_config(**{"url": "http://127.0.0.1:1/mcp"} | more), environ={})
