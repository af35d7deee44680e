"""`spec.model`: which LLM answers, reached through one Dapr conversation Component."""

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from holdfast_api.v1alpha1.types import (
    DIFFERENT,
    ApiModel,
    Duration,
    Line,
    ObjectName,
    Rule,
    SecretKeyRef,
    Url,
    keyword,
    list_map,
    list_set,
    obeys,
    seconds,
    unique,
)

Provider = Literal["openai", "anthropic", "googleai", "mistral", "deepseek", "huggingface", "ollama", "bedrock", "azure", "echo"]
ToolReference = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[a-zA-Z_]\S*$")]
OptionName = Annotated[str, StringConstraints(min_length=1, max_length=63)]

_LONGEST_CALL = 3600.0
_PUBLIC_ONLY = ("googleai", "mistral")
_RESERVED_PATTERN = "^(?i)(key|model|endpoint|apiType|responseCacheTTL|cacheTTL)$"
_FOUNDRY = "foundry"

_OPTIONS = Rule(
    f"self.all(name, !name.matches('{_RESERVED_PATTERN}') || (name == 'apiType' && self[name] == '{_FOUNDRY}'))",
    "key, model and endpoint are fields of their own, apiType follows from provider (but for anthropic's foundry), and a cache of answers "
    "would give a run the same wrong answer again and again: leave these out of options",
    lambda options: not any(_reserved(name) and (name, value) != ("apiType", _FOUNDRY) for name, value in options.items()),
)
_SECRET_OPTIONS = Rule(
    f"self.all(option, !option.name.matches('{_RESERVED_PATTERN}'))",
    "key is apiKeySecretRef, and model, endpoint, apiType and caches are no secrets: leave these out of optionsFrom",
    lambda options: not any(_reserved(option.name) for option in options),
)


def _reserved(name: str) -> bool:
    return bool(re.search(_RESERVED_PATTERN.replace("^(?i)", "(?i)^"), name))


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
        "!has(self.provider) || self.provider != 'azure' || (has(self.options) && 'apiVersion' in self.options)",
        "options.apiVersion is missing: azure needs the version of its API, for example 2025-04-01-preview",
        lambda model: model.provider != "azure" or "apiVersion" in (model.options or {}),
    ),
    Rule(
        "!has(self.provider) || !(self.provider in ['googleai', 'mistral']) || (!has(self.endpoint) && has(self.apiKeySecretRef))",
        "googleai and mistral need apiKeySecretRef, and Dapr ignores an endpoint for them: for another server use provider openai",
        lambda model: model.provider not in _PUBLIC_ONLY or (not model.endpoint and bool(model.api_key_secret_ref)),
    ),
    Rule(
        "!has(self.provider) || self.provider != 'bedrock' || !has(self.apiKeySecretRef)",
        "bedrock has no API key: give accessKey and secretKey in optionsFrom, or let the ServiceAccount have an AWS role",
        lambda model: model.provider != "bedrock" or not model.api_key_secret_ref,
    ),
    Rule(
        "!has(self.provider) || self.provider != 'bedrock' || !has(self.temperature) || double(self.temperature) > 0.0",
        "Dapr does not send a temperature of 0 to bedrock, whose own would be taken: give a small one, such as 0.01, or leave it out",
        lambda model: model.provider != "bedrock" or model.temperature is None or model.temperature > 0,
    ),
    Rule(
        "!has(self.component) || !has(self.optionsFrom)",
        "optionsFrom belongs to the Component: set it there, or use provider instead of component",
        lambda model: not model.component or not model.options_from,
    ),
    Rule(
        "!has(self.timeout) || duration(self.timeout) <= duration('1h')",
        "timeout is for one call of the model: give at most 1h; limits.runTimeout is for the whole run",
        lambda model: seconds(model.timeout) <= _LONGEST_CALL,
    ),
)


class OptionSource(ApiModel):
    """Metadata of a model's Component whose value is kept in a Secret."""

    name: OptionName = Field(description="Name of the entry, as the Component's reference calls it.")
    secret_key_ref: SecretKeyRef = Field(description="The Secret's key that holds the value.")


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
        default=None,
        description="Sampling temperature. Left out: 0, or the model's own where it takes none (gpt-5, o1, o3) and for bedrock.",
    )
    timeout: Duration = Field(default="120s", description="How long one call of the model may take.")
    component: ObjectName | None = Field(default=None, description="Name of an existing conversation Component, instead of provider.")
    options: (
        Annotated[dict[OptionName, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=32), obeys(_OPTIONS)] | None
    ) = Field(
        default=None,
        description="Further metadata of the Component, for example `apiVersion` for azure or `region` for bedrock.",
        json_schema_extra=keyword(_OPTIONS),
    )
    options_from: Annotated[
        list[OptionSource], list_map("name", rules=(_SECRET_OPTIONS,), max_length=8), unique("name"), obeys(_SECRET_OPTIONS)
    ] = Field(default_factory=list, description="Metadata from Secrets, for example `accessKey` and `secretKey` for bedrock.")
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
