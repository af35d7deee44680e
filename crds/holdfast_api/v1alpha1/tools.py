"""`spec.tools`: what the model may call. Each tool is exactly one kind of thing."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from holdfast_api.v1alpha1.types import ApiModel, ConfigMapKeyRef, Duration, Line, Rule, SecretKeyRef, list_map, unique

ToolName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-zA-Z_][a-zA-Z0-9_-]*$")]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
_ONE_OF = Rule(
    "has(self.http) != has(self.python)",
    "give exactly one of http and python",
    lambda tool: (tool.http is None) != (tool.python is None),
)


def _describes_object(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type", "object") != "object":
        raise ValueError(f"type is {schema['type']!r}, it must be 'object': a model passes arguments by name")
    return schema


JsonSchema = Annotated[
    dict[str, Any],
    AfterValidator(_describes_object),
    Field(json_schema_extra={"x-free-object": True, "properties": {"type": {"type": "string", "enum": ["object"]}}}),
]


class HeaderSource(ApiModel):
    """A request header whose value is kept in a Secret."""

    name: HeaderName = Field(description="Name of the header, for example Authorization.")
    prefix: Annotated[str, StringConstraints(max_length=64)] = Field(
        default="", description="Text before the value, for example `Bearer `."
    )
    secret_key_ref: SecretKeyRef = Field(description="The Secret's key that holds the value.")


class HttpTool(ApiModel):
    """An HTTP request. `{argument}` in the URL is filled from the arguments; the rest go into the query, or into a JSON body."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"^https?://\S+$")] = Field(
        description="URL, with `{argument}` where an argument belongs into the path or the query."
    )
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="GET", description="Arguments not used in the URL become the query of GET and DELETE, else the JSON body."
    )
    headers: Annotated[dict[HeaderName, Annotated[str, StringConstraints(max_length=2048)]], Field(max_length=32)] = Field(
        default_factory=dict, description="Headers that are no secret."
    )
    headers_from: Annotated[list[HeaderSource], list_map("name", max_length=16), unique("name")] = Field(
        default_factory=list, description="Headers from Secrets."
    )
    input_schema: JsonSchema | None = Field(default=None, description="JSON Schema of the arguments. Left out: no arguments.")


class PythonTool(ApiModel):
    """A Python function from a ConfigMap. Its annotations (pydantic models too) are the schema of its arguments and its result."""

    config_map_key_ref: ConfigMapKeyRef = Field(description="The ConfigMap's key that holds the module's text.")
    function: Identifier = Field(description="Name of the function in that module, `def` or `async def`.")


class Tool(ApiModel):
    """One tool."""

    RULES = (_ONE_OF,)

    name: ToolName = Field(description="What the model calls it.")
    description: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        default=None, description="What the model reads about it. Left out for python: the function's docstring."
    )
    timeout: Duration = Field(default="60s", description="How long one call may take before it is ended.")
    http: HttpTool | None = Field(default=None, description="An HTTP request.")
    python: PythonTool | None = Field(default=None, description="A Python function.")


ToolList = Annotated[list[Tool], list_map("name", max_length=64), unique("name")]
InstructionList = Annotated[list[Line], Field(max_length=64)]
