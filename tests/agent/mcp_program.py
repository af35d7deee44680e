"""A real MCP server made with the official SDK: streamable HTTP at /mcp, SSE at /sse, and a ledger of what was asked of it.

`python tests/agent/mcp_program.py PORT [LEDGER [HOST]]`; the ledger is a file, so that it outlives a kill.
"""

import asyncio
import json
import sys
from pathlib import Path

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.utilities.types import Image
from pydantic import BaseModel

PNG = bytes.fromhex("89504e470d0a1a0a")
server = MCPServer("maps", "Maps", log_level="WARNING")
ledger = Path(sys.argv[2]) if len(sys.argv) > 2 else None


class Route(BaseModel):
    km: float
    via: list[str]


def _note(ctx: Context, tool: str, **arguments) -> None:
    meta = ctx.request_context.meta or {}
    headers = {name.lower(): value for name, value in (ctx.headers or {}).items()}
    entry = {"tool": tool, "arguments": arguments, "meta": dict(meta), "headers": headers}
    if ledger:
        with ledger.open("a") as file:
            file.write(json.dumps(entry, default=str) + "\n")


@server.tool(description="A route between two towns.")
def route(origin: str, goal: str, ctx: Context) -> Route:
    _note(ctx, "route", origin=origin, goal=goal)
    return Route(km=382.5, via=[origin, goal])


@server.tool()
def distance(km: int, ctx: Context) -> int:
    _note(ctx, "distance", km=km)
    return 2 * km


@server.tool(name="places.find near/by", structured_output=False)
def find(ctx: Context) -> str:
    _note(ctx, "find")
    return "a harbour"


@server.tool()
def picture() -> Image:
    return Image(data=PNG, format="png")


@server.tool()
def refuse() -> str:
    raise ToolError("the road is closed")


@server.tool(structured_output=False)
async def slow(seconds: float, ctx: Context) -> str:
    _note(ctx, "slow", seconds=seconds)
    await ctx.report_progress(1, 2)
    await asyncio.sleep(seconds)
    return "at last"


@server.tool(structured_output=False)
async def crash(ctx: Context) -> str:
    _note(ctx, "crash")
    sys.stdout.flush()
    import os

    os._exit(9)


@server.tool(structured_output=False)
async def learn(name: str, ctx: Context) -> str:
    """A tool that is new from now on."""
    server.add_tool(lambda: f"I am {name}", name=name, description="New.", structured_output=False)
    await ctx.notify_tools_changed()
    return "learned"


@server.tool(structured_output=False)
async def forget(name: str) -> str:
    server.remove_tool(name)
    return "forgotten"


def main() -> None:
    host = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
    # The SDK answers to no other Host than the local ones as long as it is served at one of them.
    app = server.streamable_http_app(host=host)
    app.router.routes.extend(server.sse_app(host=host).routes)
    uvicorn.run(app, host=host, port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
