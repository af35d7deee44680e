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

from holdfast_api.names import GROUP_VERSION, MCP_SEPARATOR, TEAM_TOOL, digest


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


class RouteConfig(ConfigModel):
    """The turn that reads a result of one of `tools` goes to `model`; the agent's own and its fallbacks answer while that is down."""

    tools: tuple[str, ...]
    model: ModelConfig


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


class McpToolConfig(ConfigModel):
    """The tools of an MCP server, reached at `url` by the agent itself, or by Dapr as the `MCPServer` named `server`.

    Each of them is offered to the model as `<name of this tool>__<name there>`.
    """

    url: str | None = None
    server: str | None = None
    transport: Literal["streamableHttp", "sse"] = "streamableHttp"
    allow: tuple[str, ...] | None = Field(default=None, description="Names there that may be called; None: all.")
    headers: dict[str, str] = Field(default_factory=dict)
    headers_from: tuple[HeaderFromEnv, ...] = ()


class AgentToolConfig(ConfigModel):
    """Another Agent of the same namespace, called by Dapr's service invocation."""

    name: str | None = Field(default=None, description="Its name. None: the call says which member of the team.")


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
    """One tool; exactly one of `http`, `python`, `mcp` and `agent` is set."""

    name: str
    description: str | None = None
    timeout_seconds: float = 60.0
    http: HttpToolConfig | None = None
    python: PythonToolConfig | None = None
    mcp: McpToolConfig | None = None
    agent: AgentToolConfig | None = None
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
    max_depth: int | None = Field(default=None, description="Agents that may be in a row, this one counted; None: 5.")
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
    model: ModelConfig | None = Field(default=None, description="Sums up; None: the agent's own model.")


class RetentionConfig(ConfigModel):
    """How long documents are kept after a run's end, and after a session's last use (None: until it is deleted)."""

    completed_seconds: float = 259_200.0
    failed_seconds: float = 2_592_000.0
    sessions_seconds: float | None = None


class ScheduleConfig(ConfigModel):
    """When a trigger fires: five fields of cron in a time zone."""

    cron: str
    time_zone: str = "UTC"
    suspend: bool = False
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] = "Allow"
    starting_deadline_seconds: float | None = Field(
        default=None, description="A tick that could not be begun for longer than this is missed; None: the newest one is made up for."
    )


class TopicConfig(ConfigModel):
    """A topic of a pub/sub Component whose events begin runs."""

    component: str
    name: str
    dead_letter: str | None = Field(default=None, description="Topic that gets the events that cannot be taken.")


class TriggerConfig(ConfigModel):
    """What begins runs by itself; exactly one of `schedule` and `topic` is set."""

    name: str
    task: str | None = Field(default=None, description="What to do. None for a topic: the event says it.")
    schedule: ScheduleConfig | None = None
    topic: TopicConfig | None = None


class PubsubConfig(ConfigModel):
    """The Component that events come and go by, and the agent's own topics on it."""

    component: str
    topic: str | None = Field(default=None, description="`{task}` on it begins a run.")
    broadcast: str | None = Field(default=None, description="As `topic`, for every agent that listens to it.")
    publish_results: str | None = Field(default=None, description="Topic that the end of every run is told on.")


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
    callers: tuple[str, ...] = Field(default=(), description="App ids of this namespace that may call by service invocation.")
    pubsub: PubsubConfig | None = None
    triggers: tuple[TriggerConfig, ...] = ()
    routes: tuple[RouteConfig, ...] = Field(default=(), description="Other models for certain turns; the first that fits is taken.")
    capabilities: tuple[str, ...] = Field(default=(), description="What it can do, one phrase each, for other agents.")
    team: str | None = Field(default=None, description="Its members are in a ConfigMap that is mounted and read anew.")

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """All that may be called: the main one, those in its place, the critic, those for certain turns, and the one that sums up."""
        critic = (self.evaluation.model,) if self.evaluation and self.evaluation.model else ()
        memory = (self.memory.model,) if self.memory.model else ()
        return (self.model, *self.model.fallbacks, *critic, *(route.model for route in self.routes), *memory)

    @property
    def longest_call_seconds(self) -> float:
        """The longest that one call of a model or a tool may take. Other agents are waited for by the run, not by a call."""
        tools = [tool.timeout_seconds for tool in self.tools if not tool.agent]
        return max([model.timeout_seconds for model in self.models] + tools)

    @property
    def revision(self) -> str:
        """Twelve hex digits over the whole document."""
        return digest(self.document())

    def document(self) -> dict[str, Any]:
        """The document as JSON-ready data, without what was never set: a field that is new here leaves the revision of others alone."""
        found = self.model_dump(by_alias=True, exclude_none=True, mode="json")
        return {name: value for name, value in found.items() if value != [] or name == "tools"}

    def tool(self, name: str) -> ToolConfig | None:
        """The tool of that name, or None. Who is in a team has one by which to ask the others, for as long as a run may take."""
        if self.team and name == TEAM_TOOL:
            return ToolConfig(name=name, timeout_seconds=self.limits.run_timeout_seconds, agent=AgentToolConfig())
        for tool in self.tools:
            if tool.name == name:
                return tool
            if tool.mcp and name.startswith(tool.name + MCP_SEPARATOR):
                # All that is said about the item holds for each tool of its server.
                return tool.model_copy(update={"name": name})
        return None

    @classmethod
    def parse(cls, text: str | bytes) -> "AgentConfig":
        """Read a document that this or a newer operator wrote.

        Raises:
            pydantic.ValidationError: a field is missing or has another shape than this version knows.
        """
        return cls.model_validate_json(text)
