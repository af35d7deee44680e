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
    secret: str | None = Field(default=None, description="NAME/KEY of the Secret with the API key, for messages.")
    context_tokens: int = Field(
        default=128_000, description="What the model can take in one call; a run past three quarters of it is compacted."
    )
    fallbacks: tuple["ModelConfig", ...] = Field(
        default=(), description="Taken in order while this one stays down. They have none themselves."
    )


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


class RetriesConfig(ConfigModel):
    """How a tool's transient failures are met: `max_attempts` in all, `initial_seconds` before the second, doubling up to `max_seconds`."""

    max_attempts: int = 5
    initial_seconds: float = 1.0
    max_seconds: float = 60.0


class ApprovalConfig(ConfigModel):
    """A person decides before the call is made; what happens if nobody does in time."""

    timeout_seconds: float = 86400.0
    on_timeout: Literal["reject", "approve", "fail"] = "reject"


class ToolConfig(ConfigModel):
    """One tool; exactly one of `http` and `python` is set."""

    name: str
    description: str | None = None
    timeout_seconds: float = 60.0
    http: HttpToolConfig | None = None
    python: PythonToolConfig | None = None
    retries: RetriesConfig = Field(default_factory=RetriesConfig)
    rate_limit_per_minute: int | None = Field(default=None, description="Calls a minute and replica; more wait.")
    delivery: Literal["atLeastOnce", "atMostOnce"] = "atLeastOnce"
    approval: ApprovalConfig | None = Field(default=None, description="None: no approval is asked.")
    compensate: str | None = Field(default=None, description="Name of the tool that undoes this one.")


class LimitsConfig(ConfigModel):
    """Bounds of one run; `max_concurrent_runs` of one replica. None: no bound."""

    max_iterations: int = 25
    run_timeout_seconds: float = 86400.0
    max_tokens: int | None = Field(default=None, description="Input and output tokens, as the providers count them.")
    max_tool_calls: int | None = None
    max_repeated_calls: int | None = Field(
        default=None, description="How often a tool may give the same result for the same arguments before it counts as a loop."
    )
    max_concurrent_runs: int | None = Field(default=None, description="Runs that are not waiting; more are answered 429.")
    on_exceeded: Literal["fail", "answer"] = "fail"


class OutputConfig(ConfigModel):
    """What the final answer must be: JSON that `schema` holds for."""

    json_schema: dict[str, Any] = Field(alias="schema")
    max_repairs: int = Field(default=2, description="How often the model is told what is wrong before the run fails.")


class EvaluationConfig(ConfigModel):
    """A critic reads the answer before it is given."""

    criteria: str
    model: ModelConfig | None = Field(default=None, description="The critic; None: the agent's own model.")
    max_rounds: int = Field(default=2, description="Answers that the critic may send back; the one after them is given as it is.")


class MemoryConfig(ConfigModel):
    """How much of a session a run begins with."""

    max_messages: int = Field(default=50, description="A task and its answer are two.")
    compaction: Literal["summarize", "truncate"] = "summarize"


class RetentionConfig(ConfigModel):
    """How long documents are kept after a run's end, and after a session's last use (None: until it is deleted)."""

    completed_seconds: float = 259_200.0
    failed_seconds: float = 2_592_000.0
    sessions_seconds: float | None = None


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
    output: OutputConfig | None = None
    evaluation: EvaluationConfig | None = None
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    retention: RetentionConfig = Field(default_factory=RetentionConfig)
    auth: Literal["token", "none"] = "token"

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """All that may be called: the main one, those in its place, and the critic."""
        critic = (self.evaluation.model,) if self.evaluation and self.evaluation.model else ()
        return (self.model, *self.model.fallbacks, *critic)

    @property
    def longest_call_seconds(self) -> float:
        """The longest that one call of a model or a tool may take."""
        return max([model.timeout_seconds for model in self.models] + [tool.timeout_seconds for tool in self.tools])

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
