"""Tools that are somebody else's: those of an MCP server, and other Agents."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from holdfast_api.v1alpha1.headers import Headers, HeaderSources
from holdfast_api.v1alpha1.types import DIFFERENT, AgentName, ApiModel, ObjectName, Rule, Url, list_set

RemoteName = Annotated[str, StringConstraints(min_length=1, max_length=128)]

_SERVER = (
    Rule(
        "has(self.url) != has(self.server)",
        "give exactly one of url (the agent reaches the MCP server itself) and server (the name of a Dapr MCPServer that exists)",
        lambda mcp: bool(mcp.url) != bool(mcp.server),
    ),
    Rule(
        "!has(self.server) || !(has(self.transport) || has(self.headers) || has(self.headersFrom))",
        "transport, headers and headersFrom belong to the MCPServer: set them there",
        lambda mcp: not mcp.server or not mcp.model_fields_set & {"transport", "headers", "headers_from"},
    ),
)


class McpTool(ApiModel):
    """The tools of an MCP server. The model sees each as `<name of this item>__<name there>`."""

    RULES = _SERVER

    url: Url | None = Field(default=None, description="URL of the server, for example https://maps.example/mcp.")
    server: ObjectName | None = Field(default=None, description="Name of an existing Dapr MCPServer, instead of url.")
    transport: Literal["streamableHttp", "sse"] = Field(default="streamableHttp", description="How the server at url is spoken to.")
    allow: Annotated[list[RemoteName], list_set(min_length=1, max_length=128), DIFFERENT] | None = Field(
        default=None, description="Names of the server's tools that may be called; the others are neither shown nor called. Left out: all."
    )
    headers: Headers = Field(default_factory=dict, description="Headers that are no secret.")
    headers_from: HeaderSources = Field(default_factory=list, description="Headers from Secrets.")


class AgentTool(ApiModel):
    """Another Agent of this namespace. Its `access.callers` must name this one."""

    name: AgentName = Field(description="Name of the other Agent.")
