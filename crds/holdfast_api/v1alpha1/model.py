"""`spec.model`: which LLM answers, reached through one Dapr conversation Component."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from holdfast_api.v1alpha1.types import DIFFERENT, ApiModel, Duration, Line, ObjectName, Rule, SecretKeyRef, Url, list_set, seconds

Provider = Literal["openai", "anthropic", "googleai", "mistral", "deepseek", "huggingface", "ollama", "bedrock", "azure", "echo"]
ToolReference = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[a-zA-Z_]\S*$")]
OptionName = Annotated[str, StringConstraints(min_length=1, max_length=63)]

_LONGEST_CALL = 3600.0

_RULES = (
    Rule(
        "has(self.component) != has(self.provider)",
        "give exactly one of provider (Holdfast makes the Dapr Component) and component (the name of one that exists)",
        lambda model: bool(model.component) != bool(model.provider),
    ),
    Rule(
        "!has(self.provider) || self.provider == 'echo' || has(self.name)",
        "name is missing: say which model of this provider to use, for example gpt-5-mini",
        lambda model: model.provider in (None, "echo") or model.name,
    ),
    Rule(
        "!has(self.component) || !(has(self.endpoint) || has(self.apiKeySecretRef) || has(self.options))",
        "endpoint, apiKeySecretRef and options belong to the Component: set them there, or use provider instead of component",
        lambda model: not model.component or not (model.endpoint or model.api_key_secret_ref or model.options is not None),
    ),
    Rule(
        "!has(self.provider) || self.provider != 'azure' || has(self.endpoint)",
        "endpoint is missing: azure needs the URL of the resource, https://NAME.openai.azure.com",
        lambda model: model.provider != "azure" or model.endpoint,
    ),
    Rule(
        "!has(self.timeout) || duration(self.timeout) <= duration('1h')",
        "timeout is for one call of the model: give at most 1h; limits.runTimeout is for the whole run",
        lambda model: seconds(model.timeout) <= _LONGEST_CALL,
    ),
)


class OneModel(ApiModel):
    """One LLM. One Dapr conversation Component is made for it, named after its content, or an existing one is used."""

    RULES = _RULES

    provider: Provider | None = Field(
        default=None, description="Who serves the model. `echo` repeats its input and is for trying things out."
    )
    name: Line | None = Field(default=None, description="Name of the model at the provider, for example gpt-5-mini.")
    endpoint: Url | None = Field(
        default=None, description="Base URL of an API that speaks the provider's protocol, for example a gateway or vLLM."
    )
    api_key_secret_ref: SecretKeyRef | None = Field(default=None, description="The Secret's key that holds the API key.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="Sampling temperature. Left out: the provider's default."
    )
    timeout: Duration = Field(default="120s", description="How long one call of the model may take.")
    component: ObjectName | None = Field(default=None, description="Name of an existing conversation Component, instead of provider.")
    options: Annotated[dict[OptionName, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=32)] | None = Field(
        default=None, description="Further metadata of the Component, for example `apiVersion` for azure or `region` for bedrock."
    )
    context_tokens: Annotated[int, Field(ge=1024, le=100_000_000)] = Field(
        default=128_000,
        description="Tokens that the model can read in one call. A run past three quarters of it sums up what lies behind it.",
    )


class Route(ApiModel):
    """Turns for which another model is asked."""

    tools: Annotated[list[ToolReference], list_set(min_length=1, max_length=64), DIFFERENT] = Field(
        description="Names of tools. The turn that reads a result of one of them goes to this model. Of an mcp tool: its name for all "
        "tools of that server, or NAME__TOOL for one."
    )
    model: OneModel = Field(description="The model. While it stays down, the agent's own and its fallbacks answer.")


class Model(OneModel):
    """The LLM, others in its place while it stays down, and others for certain turns."""

    fallbacks: Annotated[list[OneModel], Field(max_length=4)] = Field(
        default_factory=list,
        description="Models taken in order while the one before stays down. Left out: none, a run waits for the model.",
    )
    routes: Annotated[list[Route], Field(max_length=8)] = Field(
        default_factory=list, description="Other models for turns after certain tools; the first that fits is taken. Left out: none."
    )
