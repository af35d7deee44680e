"""`spec.tools`: what the model may call. Each tool is exactly one kind of thing."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from holdfast_api.names import MCP_ITEM_CHARACTERS
from holdfast_api.v1alpha1.headers import Headers, HeaderSources
from holdfast_api.v1alpha1.remote import AgentTool, McpTool
from holdfast_api.v1alpha1.types import ApiModel, ConfigMapKeyRef, Duration, Line, Rule, Url, list_map, obeys, of_each, seconds, unique

ToolName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-zA-Z_][a-zA-Z0-9_-]*$")]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
_ONE_OF = Rule(
    "[has(self.http), has(self.python), has(self.mcp), has(self.agent)].filter(given, given).size() == 1",
    "give exactly one of http, python, mcp and agent",
    lambda tool: [tool.http, tool.python, tool.mcp, tool.agent].count(None) == 3,  # noqa: PLR2004 - all but one
)
_MCP_NAME = Rule(
    f"!has(self.mcp) || !(self.name.contains('__') || self.name.endsWith('_') || size(self.name) > {MCP_ITEM_CHARACTERS})",
    f"name of an mcp tool must not hold __ nor end with _, and have at most {MCP_ITEM_CHARACTERS} characters: the model sees NAME__TOOL",
    lambda tool: tool.mcp is None or not ("__" in tool.name or tool.name.endswith("_") or len(tool.name) > MCP_ITEM_CHARACTERS),
)
_NOT_ONCE = Rule(
    "!has(self.mcp) || !has(self.mcp.server) || !has(self.delivery) || self.delivery != 'atMostOnce'",
    "delivery atMostOnce cannot be promised for an MCPServer: Dapr makes a call again if a sidecar dies in the middle of it. Use mcp.url",
    lambda tool: not (tool.mcp and tool.mcp.server and tool.delivery == "atMostOnce"),
)
_ORDERED = Rule(
    "duration(has(self.initial) ? self.initial : '1s') <= duration(has(self.max) ? self.max : '60s')",
    "initial must not be longer than max, and they are 1s and 60s where they are left out",
    lambda retries: seconds(retries.initial) <= seconds(retries.max),
)
_UNDOES = "((!has({a}.mcp) && {a}.name == {b}.compensate) || (has({a}.mcp) && {b}.compensate.startsWith({a}.name + '__')))"
"""CEL: the tool `a` is, or the MCP server `a` has, what `b` names in `compensate`."""
_NAMED = f"self.exists(o, has(o.compensate) && {_UNDOES.format(a='t', b='o')})"
_LIST_RULES = (
    of_each(
        "tool",
        f"has(t.compensate) && !self.exists(o, o.name != t.name && {_UNDOES.format(a='o', b='t')})",
        "compensate must name another tool of this Agent: the one that undoes what this one did. One of an mcp tool is NAME__TOOL",
        lambda tool, tools: bool(tool.compensate) and not any(_undoes(other, tool) for other in tools if other.name != tool.name),
    ),
    of_each(
        "tool",
        f"has(t.compensate) && {_NAMED}",
        "a tool that another one names in compensate must have no compensate itself: what was undone is not done again",
        lambda tool, tools: bool(tool.compensate) and _is_named(tool, tools),
    ),
    of_each(
        "tool",
        f"has(t.approval) && (!has(t.approval.required) || t.approval.required) && {_NAMED}",
        "a tool that another one names in compensate cannot ask for approval: it runs when a run fails or is canceled, with nobody there",
        lambda tool, tools: bool(tool.approval and tool.approval.required) and _is_named(tool, tools),
    ),
    of_each(
        "tool",
        "self.exists(o, has(o.mcp) && t.name.startsWith(o.name + '__'))",
        "a tool's name must not begin with the name of an mcp tool and __: the tools of that server are called so",
        lambda tool, tools: any(tool.name.startswith(f"{other.name}__") for other in tools if other.mcp),
    ),
)


def _undoes(other: "Tool", tool: "Tool") -> bool:
    """Whether `other` is what undoes a tool, or the MCP server that has it."""
    named = tool.compensate or ""
    return named.startswith(f"{other.name}__") if other.mcp else other.name == named


def _is_named(tool: "Tool", tools: "list[Tool]") -> bool:
    """Whether another tool names this one in `compensate`."""
    return any(_undoes(tool, other) for other in tools if other.compensate)


def _describes_object(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type", "object") != "object":
        raise ValueError(f"type is {schema['type']!r}, it must be 'object': a model passes arguments by name")
    return schema


JsonSchema = Annotated[
    dict[str, Any],
    AfterValidator(_describes_object),
    Field(json_schema_extra={"x-free-object": True, "properties": {"type": {"type": "string", "enum": ["object"]}}}),
]


class HttpTool(ApiModel):
    """An HTTP request. `{argument}` in the URL is filled from the arguments; the rest go into the query, or into a JSON body."""

    url: Url = Field(description="URL, with `{argument}` where an argument belongs into the path or the query.")
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="GET", description="Arguments not used in the URL become the query of GET and DELETE, else the JSON body."
    )
    headers: Headers = Field(default_factory=dict, description="Headers that are no secret.")
    headers_from: HeaderSources = Field(default_factory=list, description="Headers from Secrets.")
    input_schema: JsonSchema | None = Field(default=None, description="JSON Schema of the arguments. Left out: no arguments.")


class PythonTool(ApiModel):
    """A Python function from a ConfigMap. Its annotations (pydantic models too) are the schema of its arguments and its result."""

    config_map_key_ref: ConfigMapKeyRef = Field(description="The ConfigMap's key that holds the module's text.")
    function: Identifier = Field(description="Name of the function in that module, `def` or `async def`.")


class Retries(ApiModel):
    """How often a call that failed for a passing reason is made again, and how long the waits between are."""

    RULES = (_ORDERED,)

    max_attempts: Annotated[int, Field(ge=1, le=100)] = Field(default=5, description="Attempts in all. 1: none is made again.")
    initial: Duration = Field(default="1s", description="Wait before the second attempt; each further one is twice as long.")
    max: Duration = Field(default="60s", description="Longest wait. A server's own Retry-After is heeded beyond it.")


class RateLimit(ApiModel):
    """How often a tool is called at most; what comes above it waits."""

    per_minute: Annotated[int, Field(ge=1, le=100_000)] = Field(description="Calls in a minute, of each replica.")


class Approval(ApiModel):
    """A person decides on each call, by the HTTP API, before it is made."""

    required: bool = Field(default=True, description="false: nobody is asked.")
    timeout: Duration = Field(
        default="24h",
        description="How long a call waits for a decision. The run's own runTimeout goes on meanwhile, and ends the wait with the run.",
    )
    on_timeout: Literal["reject", "approve", "fail"] = Field(
        default="reject",
        description="What happens when nobody has decided. reject: the model is told so; approve: the call is made; fail: the run ends.",
    )


class Tool(ApiModel):
    """One tool."""

    RULES = (_ONE_OF, _MCP_NAME, _NOT_ONCE)

    name: ToolName = Field(description="What the model calls it.")
    description: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        default=None, description="What the model reads about it. Left out for python: the function's docstring."
    )
    timeout: Duration = Field(
        default="60s", description="How long one call may take before it is ended. Left out of a call of an agent: limits.runTimeout."
    )
    retries: Retries = Field(default_factory=Retries, description="How passing failures are met.")
    rate_limit: RateLimit | None = Field(default=None, description="How often it is called at most. Left out: as often as the model asks.")
    delivery: Literal["atLeastOnce", "atMostOnce"] = Field(
        default="atLeastOnce",
        description="atLeastOnce: a call that was interrupted is made again, with the same idempotency key. "
        "atMostOnce: it is not, and the model is told that its outcome is unknown.",
    )
    approval: Approval | None = Field(default=None, description="A person decides before each call. Left out: nobody is asked.")
    compensate: ToolName | None = Field(
        default=None, description="Name of another tool of this Agent that undoes what this one did, when the run fails or is canceled."
    )
    http: HttpTool | None = Field(default=None, description="An HTTP request.")
    python: PythonTool | None = Field(default=None, description="A Python function.")
    mcp: McpTool | None = Field(default=None, description="The tools of an MCP server.")
    agent: AgentTool | None = Field(default=None, description="Another Agent of this namespace.")


ToolList = Annotated[list[Tool], list_map("name", rules=_LIST_RULES, max_length=64), unique("name"), obeys(*_LIST_RULES)]
InstructionList = Annotated[list[Line], Field(max_length=64)]
