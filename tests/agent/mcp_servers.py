"""Real MCP servers as processes of a test's own."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from holdfast_agent.local.ports import free_ports
from holdfast_agent.local.process import Process
from holdfast_api.config import AgentConfig

PROGRAM = Path(__file__).with_name("mcp_program.py")
STARTING_SECONDS = 60.0
PATHS = {"streamableHttp": "mcp", "sse": "sse"}


@dataclass(frozen=True)
class McpServerProcess:
    """A server of `mcp_program`; `start()` and `kill()` it at will."""

    process: Process
    port: int
    ledger: Path

    def url(self, transport: str = "streamableHttp") -> str:
        return f"http://127.0.0.1:{self.port}/{PATHS[transport]}"

    def calls(self, tool: str) -> list[dict[str, Any]]:
        """What was asked of that tool, also by processes that were killed."""
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["tool"] == tool]

    async def answers(self) -> bool:
        assert self.process.running, self.process.tail()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def start(self) -> None:
        self.process.start()
        await self.process.until(self.answers, within=STARTING_SECONDS)

    async def kill(self) -> None:
        await self.process.kill()


def mcp_process(folder: Path) -> McpServerProcess:
    """A server that is not started yet."""
    (port,) = free_ports(1)
    ledger = folder / "mcp-ledger.jsonl"
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    return McpServerProcess(Process("mcp", [sys.executable, PROGRAM, str(port), ledger], env=env, log=folder / "mcp.log"), port, ledger)


@contextlib.asynccontextmanager
async def running_mcp(folder: Path) -> AsyncIterator[McpServerProcess]:
    """A running server, gone at the end."""
    server = mcp_process(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


def mcp_config(url: str | None, *, name: str = "maps", timeout: float = 20.0, delivery: str = "atLeastOnce", **mcp: Any) -> AgentConfig:
    """An agent with one MCP server."""
    tool = {"name": name, "timeoutSeconds": timeout, "delivery": delivery, "mcp": {"url": url, **mcp}}
    return AgentConfig.model_validate(
        {"name": "a", "model": {"component": "m", "label": "m"}, "stateComponent": "s", "memoryComponent": "s", "tools": [tool]}
    )


ROUTE = {"name": "route", "description": "A route.", "inputSchema": {"type": "object", "properties": {"to": {"type": "string"}}}}
FINE = {"content": [{"type": "text", "text": "fine"}]}


def answer(message, result, **headers):
    return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)


class ScriptedMcp:
    """A server in the test's own process, polite but for `behave[method]`, a coroutine function of (request, message)."""

    def __init__(self, **behave):
        self.behave = {name.replace("_", "/"): what for name, what in behave.items()}
        self.asked = []

    async def handle(self, request):
        if request.method != "POST":
            return web.Response(status=405)
        message = await request.json()
        self.asked.append(message)
        if own := self.behave.get(message.get("method")):
            return await own(request, message)
        if message.get("method") == "initialize":
            return answer(message, {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}})
        if "id" not in message or "method" not in message:
            return web.Response(status=202)
        return answer(message, {"tools": [ROUTE]} if message["method"] == "tools/list" else FINE)
