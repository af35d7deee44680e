"""`spec.tools` -> the tools of the AgentConfig."""

from collections.abc import Iterable

from holdfast_api import conditions, names
from holdfast_api.config import (
    AgentToolConfig,
    ApprovalConfig,
    HeaderFromEnv,
    HttpToolConfig,
    McpToolConfig,
    PythonToolConfig,
    RetriesConfig,
    ToolConfig,
)
from holdfast_api.json_schema import checked
from holdfast_api.refused import Refused
from holdfast_api.texts import ConfigMaps, text
from holdfast_api.v1alpha1 import Agent, HeaderSource, HttpTool, McpTool, Retries, SecretKeyRef, Tool
from holdfast_api.v1alpha1.types import seconds


def tool_configs(agent: Agent, config_maps: ConfigMaps) -> tuple[ToolConfig, ...]:
    """The tools of an Agent.

    Raises:
        Refused: a module is missing, an inputSchema is none, or a tool is to be undone by one that may not be called.
    """
    tools, defaults = agent.spec.tools, agent.spec.resiliency.tools
    for tool in tools:
        _check_undoing(tool, tools)
    return tuple(
        _tool(f"spec.tools[{index}]", _with_defaults(tool, _time(tool, agent) or defaults.timeout, defaults.retries), config_maps)
        for index, tool in enumerate(tools)
    )


def _time(tool: Tool, agent: Agent) -> str | None:
    """Another agent may take as long as the run that calls it; what a tool's call takes as a rule says nothing of it."""
    return agent.spec.limits.run_timeout if tool.agent else None


def header_secrets(tools: Iterable[Tool]) -> list[SecretKeyRef]:
    """Secret keys that the agent's container needs for headers of requests."""
    return [source.secret_key_ref for tool in tools for part in (tool.http, tool.mcp) if part for source in part.headers_from]


def _with_defaults(tool: Tool, timeout: str | None, retries: Retries | None) -> Tool:
    """The tool with what `spec.resiliency.tools` says where it says nothing itself."""
    given = {"timeout": timeout, "retries": retries}
    return tool.model_copy(update={name: value for name, value in given.items() if value and name not in tool.model_fields_set})


def _tool(path: str, tool: Tool, config_maps: ConfigMaps) -> ToolConfig:
    python = None
    if tool.python:
        ref = tool.python.config_map_key_ref
        source = text(f"{path}.python.configMapKeyRef ({tool.name})", ref, config_maps)
        python = PythonToolConfig(source=source, function=tool.python.function, filename=f"{ref.name}/{ref.key}")
    asks = tool.approval if tool.approval and tool.approval.required else None
    return ToolConfig(
        name=tool.name,
        description=tool.description,
        timeout_seconds=seconds(tool.timeout),
        http=_http(f"tool {tool.name!r}: {path}.http.inputSchema", tool.http) if tool.http else None,
        python=python,
        mcp=_mcp(tool.mcp) if tool.mcp else None,
        agent=AgentToolConfig(name=tool.agent.name) if tool.agent else None,
        retries=RetriesConfig(
            max_attempts=tool.retries.max_attempts,
            initial_seconds=seconds(tool.retries.initial),
            max_seconds=seconds(tool.retries.max),
        ),
        rate_limit_per_minute=tool.rate_limit.per_minute if tool.rate_limit else None,
        delivery=tool.delivery,
        approval=ApprovalConfig(timeout_seconds=seconds(asks.timeout), on_timeout=asks.on_timeout) if asks else None,
        compensate=tool.compensate,
    )


def _http(field: str, http: HttpTool) -> HttpToolConfig:
    schema = checked(field, http.input_schema or {"type": "object", "properties": {}})
    return HttpToolConfig(
        url=http.url,
        method=http.method,
        headers=http.headers,
        headers_from=_headers(http.headers_from),
        input_schema={"type": "object"} | schema,
    )


def _mcp(mcp: McpTool) -> McpToolConfig:
    return McpToolConfig(
        url=mcp.url,
        server=mcp.server,
        transport=mcp.transport,
        allow=None if mcp.allow is None else tuple(mcp.allow),
        headers=mcp.headers,
        headers_from=_headers(mcp.headers_from),
    )


def _headers(sources: Iterable[HeaderSource]) -> tuple[HeaderFromEnv, ...]:
    return tuple(
        HeaderFromEnv(name=s.name, env=names.secret_env(s.secret_key_ref.name, s.secret_key_ref.key), prefix=s.prefix) for s in sources
    )


def _check_undoing(tool: Tool, tools: Iterable[Tool]) -> None:
    """What undoes a call has to be callable; the API server does not look into `allow`."""
    for other in tools:
        if tool.compensate and other.mcp and other.mcp.allow and tool.compensate.startswith(f"{other.name}__"):
            there = tool.compensate.removeprefix(f"{other.name}__")
            if there not in other.mcp.allow:
                raise Refused(
                    conditions.INVALID_SPEC,
                    f"compensate of the tool {tool.name!r} is {tool.compensate!r}, and mcp.allow of {other.name!r} lacks {there!r}: add it",
                )
