"""AgentConfig: the one document that a running agent reads.

The operator writes it into an immutable ConfigMap, the local runner hands it over in a file. Texts that the Agent refers to (prompt,
Python modules) are copied in, so the document's hash, the *revision*, pins what an agent does. Secrets stay references: `env` names
the variable that will hold the value.

Compatibility: a newer operator may write fields that an older image does not know. The image therefore ignores unknown fields
(`AgentConfig.parse`), while the operator, which builds these models, can never write one that the models do not have.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from holdfast_api.names import GROUP_VERSION, digest


class ConfigModel(BaseModel):
    """Base of the parts: camelCase in the document, immutable, unknown fields ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class ModelConfig(ConfigModel):
    """How to reach the model: the name of a Dapr conversation Component, and what to ask for."""

    component: str
    label: str = Field(description="provider/name, for people.")
    temperature: float | None = None
    timeout_seconds: float = 120.0


class HeaderFromEnv(ConfigModel):
    """A header whose value is `prefix` followed by the environment variable `env`."""

    name: str
    env: str
    prefix: str = ""


class HttpToolConfig(ConfigModel):
    """An HTTP request; see `v1alpha1.HttpTool`."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = Field(default_factory=dict)
    headers_from: tuple[HeaderFromEnv, ...] = ()
    input_schema: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})


class PythonToolConfig(ConfigModel):
    """A function of a module whose text is in the document."""

    source: str
    function: str
    filename: str = Field(description="Shown in tracebacks: configmap/key.")


class ToolConfig(ConfigModel):
    """One tool; exactly one of `http` and `python` is set."""

    name: str
    description: str | None = None
    timeout_seconds: float = 60.0
    http: HttpToolConfig | None = None
    python: PythonToolConfig | None = None


class LimitsConfig(ConfigModel):
    """Bounds of one run."""

    max_iterations: int = 25
    run_timeout_seconds: float = 86400.0


class AgentConfig(ConfigModel):
    """Everything that decides what an agent does. Equal documents have equal revisions."""

    api_version: Literal[GROUP_VERSION] = GROUP_VERSION  # type: ignore[valid-type]
    kind: Literal["AgentConfig"] = "AgentConfig"
    name: str
    description: str | None = None
    system_prompt: str | None = Field(default=None, description="role, goal, instructions and free text, composed.")
    model: ModelConfig
    tools: tuple[ToolConfig, ...] = ()
    state_component: str = Field(description="Component that Dapr keeps workflows in.")
    memory_component: str = Field(description="Component that the agent keeps its documents in.")
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    auth: Literal["token", "none"] = "token"

    @property
    def revision(self) -> str:
        """Twelve hex digits over the whole document."""
        return digest(self.document())

    def document(self) -> dict[str, Any]:
        """The document as JSON-ready data, without what was never set."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")

    def tool(self, name: str) -> ToolConfig | None:
        """The tool of that name, or None."""
        return next((tool for tool in self.tools if tool.name == name), None)

    @classmethod
    def parse(cls, text: str | bytes) -> "AgentConfig":
        """Read a document that this or a newer operator wrote.

        Raises:
            pydantic.ValidationError: a field is missing or has another shape than this version knows.
        """
        return cls.model_validate_json(text)
