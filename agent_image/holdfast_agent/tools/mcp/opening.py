"""The MCP servers of a configuration, opened: nothing is waited for, so a server that is down keeps nothing from starting."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import aiohttp

from holdfast_agent.tools.http import secret_headers
from holdfast_agent.tools.mcp.builtin import DaprServer
from holdfast_agent.tools.mcp.client import Client
from holdfast_agent.tools.mcp.server import McpServer, Remote
from holdfast_agent.tools.mcp.sse import EventStream
from holdfast_agent.tools.mcp.streamable import StreamableHttp
from holdfast_agent.tools.mcp.transport import Http
from holdfast_agent.tools.mcp.wire import Message
from holdfast_agent.tools.redaction import secrets_of
from holdfast_agent.tools.spec import ToolboxError
from holdfast_api.config import McpToolConfig, ToolConfig
from holdfast_api.names import MCP_ITEM_CHARACTERS, MCP_SEPARATOR


async def open_servers(
    tools: Sequence[ToolConfig], environ: Mapping[str, str], session: aiohttp.ClientSession, stack: AsyncExitStack
) -> list[McpServer]:
    """The servers, which are looked at from now on.

    Args:
        tools: all of the configuration.
        environ: variables that secret headers come from.
        session: for requests; closed by its owner, after the stack.
        stack: closes what is opened here.

    Raises:
        ToolboxError: an item cannot be served as it is written; the message names it, the problem and the fix.
    """
    opened = []
    for tool in tools:
        if tool.mcp:
            _check(tool, tool.mcp, tools)
            server = _server(tool, tool.mcp, environ, session)
            stack.push_async_callback(server.close)
            server.start()
            opened.append(server)
    return opened


def _check(tool: ToolConfig, config: McpToolConfig, tools: Sequence[ToolConfig]) -> None:
    if (config.url is None) == (config.server is None):
        raise ToolboxError(f"tool {tool.name!r}: give exactly one of mcp.url and mcp.server")
    if len(tool.name) > MCP_ITEM_CHARACTERS:
        room = f"give it a name of at most {MCP_ITEM_CHARACTERS} characters"
        raise ToolboxError(f"tool {tool.name!r} is an MCP server, whose tools are called {tool.name}{MCP_SEPARATOR}…: {room}")
    for other in tools:
        if other.name.startswith(tool.name + MCP_SEPARATOR):
            raise ToolboxError(f"tool {other.name!r} is called as if it were of the MCP server {tool.name!r}: rename one of them")
    if config.server is not None and tool.delivery == "atMostOnce":
        raise ToolboxError(f"tool {tool.name!r}: Dapr may make a call of an MCPServer twice, so delivery cannot be atMostOnce: use mcp.url")
    if config.server is not None and (config.headers or config.headers_from):
        raise ToolboxError(f"tool {tool.name!r}: mcp.headers and mcp.headersFrom belong into the MCPServer {config.server!r}")
    if config.url is not None and (urlsplit(config.url).scheme not in {"http", "https"} or not urlsplit(config.url).hostname):
        raise ToolboxError(f"tool {tool.name!r}: mcp.url {config.url!r} must begin with http:// or https:// and a host")


def _server(tool: ToolConfig, config: McpToolConfig, environ: Mapping[str, str], session: aiohttp.ClientSession) -> McpServer:
    made: list[McpServer] = []

    def heard(notice: Message) -> None:
        made[0].changed(notice)

    remote: Remote
    if config.url is None:
        assert config.server is not None
        remote = DaprServer(config.server)
    else:
        way = EventStream if config.transport == "sse" else StreamableHttp
        http = Http(session, secret_headers(tool, config, environ))
        remote = Client(way(config.url, http, heard=heard), host=urlsplit(config.url).hostname or "")
    made.append(McpServer(tool, remote, secrets_of(config, environ)))
    return made[0]
