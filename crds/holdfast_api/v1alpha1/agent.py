"""The Agent: one durable LLM agent. Ten lines must do; every default is what a careful person would choose."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from holdfast_api.names import GROUP_VERSION, KIND, TEAM_TOOL
from holdfast_api.v1alpha1.access import Access
from holdfast_api.v1alpha1.model import Model
from holdfast_api.v1alpha1.network import NetworkPolicy
from holdfast_api.v1alpha1.observability import Observability
from holdfast_api.v1alpha1.pod import PodFields
from holdfast_api.v1alpha1.pubsub import Pubsub
from holdfast_api.v1alpha1.resiliency import Resiliency
from holdfast_api.v1alpha1.runs import Evaluation, Limits, Output, Retention
from holdfast_api.v1alpha1.store import Memory, State
from holdfast_api.v1alpha1.tools import InstructionList, ToolList
from holdfast_api.v1alpha1.triggers import TriggerList
from holdfast_api.v1alpha1.types import ApiModel, ConfigMapKeyRef, Line, Rule, Ruled, Text, of_each, seconds

NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
TeamName = Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=NAME_PATTERN)]
CapabilityList = Annotated[list[Line], Field(max_length=32)]
MAX_NAME = 58  # the sidecar's Service is <name>-dapr and a label has 63 characters

AGENT_RULES = (
    Rule(
        f"self.metadata.name.matches('{NAME_PATTERN}')",
        "metadata.name must start with a letter and hold only lower-case letters, digits and dashes: it is a Service and a Dapr app id",
        lambda agent: bool(re.fullmatch(NAME_PATTERN, agent.metadata.name)),
    ),
    Rule(
        f"self.metadata.name.size() <= {MAX_NAME}",
        f"metadata.name must have at most {MAX_NAME} characters: Dapr adds -dapr to it",
        lambda agent: len(agent.metadata.name) <= MAX_NAME,
    ),
    Rule(
        "!has(self.spec.tools) || self.spec.tools.all(t, !has(t.agent) || t.agent.name != self.metadata.name)",
        "an Agent cannot be its own tool: spec.tools[].agent.name must name another one",
        lambda agent: all(tool.agent.name != agent.metadata.name for tool in agent.spec.tools if tool.agent),
    ),
    Rule(
        "!self.metadata.name.endsWith('-dapr')",
        "metadata.name must not end with -dapr: Dapr gives that name to the sidecar's Service of another agent",
        lambda agent: not agent.metadata.name.endswith("-dapr"),
    ),
)
_SPEC_RULES = (
    Rule(
        "!(has(self.systemPrompt) && has(self.systemPromptFrom))",
        "give systemPrompt or systemPromptFrom, not both",
        lambda spec: not (spec.system_prompt and spec.system_prompt_from),
    ),
    Rule(
        "!has(oldSelf.state) || (has(self.state) && self.state == oldSelf.state)",
        "state cannot be changed: runs live there. Make a new Agent for another store",
    ),
    Rule(
        "!has(oldSelf.memory) || !has(oldSelf.memory.component)"
        " || (has(self.memory) && has(self.memory.component) && self.memory.component == oldSelf.memory.component)",
        "memory.component cannot be changed: documents of runs live there. Make a new Agent for another store",
    ),
    of_each(
        "tool",
        "has(t.approval) && has(t.approval.timeout)"
        " && duration(t.approval.timeout) > duration(has(self.limits) && has(self.limits.runTimeout) ? self.limits.runTimeout : '24h')",
        "approval.timeout of a tool must not be longer than limits.runTimeout (24h where it is left out): the run would have ended by then",
        lambda tool, spec: bool(
            tool.approval
            and "timeout" in tool.approval.model_fields_set
            and seconds(tool.approval.timeout) > seconds(spec.limits.run_timeout)
        ),
        field="tools",
    ),
    Rule(
        f"!has(self.model) || !has(self.model.routes) || self.model.routes.all(r, r.tools.all(n, (has(self.team) && n == '{TEAM_TOOL}') ||"
        " (has(self.tools) && self.tools.exists(t, n == t.name || (has(t.mcp) && n.startsWith(t.name + '__'))))))",
        f"model.routes must name tools of this Agent, NAME__TOOL of an mcp tool, or {TEAM_TOOL} where there is a team",
        lambda spec: all(_has_tool(spec, name) for route in (spec.model.routes if spec.model else ()) for name in route.tools),
    ),
    Rule(
        f"!has(self.team) || !has(self.tools) || self.tools.all(t, t.name != '{TEAM_TOOL}')",
        f"{TEAM_TOOL} is the tool by which a member of a team asks the others: choose another name, or leave team out",
        lambda spec: not (spec.team and any(tool.name == TEAM_TOOL for tool in spec.tools)),
    ),
)


def _has_tool(spec: "AgentSpec", name: str) -> bool:
    if spec.team and name == TEAM_TOOL:
        return True
    return any(name == tool.name or (tool.mcp and name.startswith(f"{tool.name}__")) for tool in spec.tools)


class SystemPromptSource(ApiModel):
    """Where the prompt's text comes from."""

    config_map_key_ref: ConfigMapKeyRef = Field(description="The ConfigMap's key that holds the text.")


class AgentSpec(PodFields):
    """What the user wants."""

    RULES = _SPEC_RULES

    description: Line | None = Field(default=None, description="One line for people and other agents.")
    role: Line | None = Field(default=None, description="Who the agent is. Composed into the prompt with goal and instructions.")
    goal: Line | None = Field(default=None, description="What it is to reach.")
    instructions: InstructionList = Field(default_factory=list, description="What it is to mind, one sentence each.")
    system_prompt: Text | None = Field(default=None, description="Free text, after role, goal and instructions.")
    system_prompt_from: SystemPromptSource | None = Field(default=None, description="The same, from a ConfigMap; read once per revision.")
    model: Model | None = Field(default=None, description="The LLM. Left out: the default that the operator is configured with.")
    tools: ToolList = Field(default_factory=list, description="What the model may call.")
    state: State | None = Field(default=None, description="Store of workflows. Left out: the operator's default. Cannot be changed later.")
    memory: Memory | None = Field(default=None, description="Store of documents, and how much of a session a run begins with.")
    output: Output | None = Field(default=None, description="What the final answer must look like. Left out: it is free text.")
    evaluation: Evaluation | None = Field(default=None, description="A critic who reads each answer before it is given. Left out: none.")
    limits: Limits = Field(default_factory=Limits, description="What runs may use at most.")
    retention: Retention = Field(default_factory=Retention, description="How long what was done is kept.")
    access: Access = Field(default_factory=Access, description="Who may call the agent.")
    capabilities: CapabilityList = Field(
        default_factory=list, description="What it can do, one phrase each, for its team and its agent card. Left out: its tools tell."
    )
    team: TeamName | None = Field(
        default=None, description="Name of the team of this namespace that it belongs to; the members know of each other. Left out: none."
    )
    pubsub: Pubsub | None = Field(default=None, description="The broker, and the agent's topics on it. Left out: none.")
    triggers: TriggerList = Field(default_factory=list, description="What begins runs by itself. Left out: only callers do.")
    resiliency: Resiliency = Field(default_factory=Resiliency, description="Time limits and circuit breakers.")
    observability: Observability | None = Field(
        default=None, description="Traces, logs and metrics. Left out: the default that the operator is configured with."
    )
    network_policy: NetworkPolicy | None = Field(default=None, description="Who reaches the pods and what they reach. Left out: no policy.")
    suspend: bool = Field(default=False, description="true: no pods; runs wait in the store until it is false again.")
    replicas: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1, description="Number of pods. An autoscaler targets the Agent's /scale."
    )


class Condition(BaseModel):
    """A condition as in the Kubernetes API conventions."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    type: Annotated[str, StringConstraints(min_length=1, max_length=316)] = Field(description="What it is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is so.")
    observed_generation: Annotated[int, Field(ge=0)] | None = Field(default=None, description="metadata.generation it was found at.")
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = Field(description="When status last changed.")
    reason: Annotated[str, StringConstraints(max_length=1024)] = Field(description="One word for programs.")
    message: Annotated[str, StringConstraints(max_length=32768)] = Field(
        description="A sentence for people: what is the matter and what mends it."
    )


class AgentStatus(BaseModel):
    """What the operator found."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    observed_generation: int | None = Field(
        default=None, description="metadata.generation that this status is about; -1 before the first visit."
    )
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra={"x-list-map-keys": ["type"]})] = Field(
        default_factory=list, description="Ready sums up Accepted, ReferencesResolved, DaprConfigured and Available."
    )
    revision: str | None = Field(default=None, description="Hash of the resolved configuration.")
    endpoint: str | None = Field(default=None, description="URL of the agent's HTTP API inside the cluster.")
    replicas: int | None = Field(default=None, description="Pods that exist.")
    ready_replicas: int | None = Field(default=None, description="Pods that are ready.")
    selector: str | None = Field(default=None, description="Label selector of the pods, for autoscalers.")
    model: str | None = Field(default=None, description="provider/name of the model, for people.")


class ObjectMeta(BaseModel):
    """The part of metadata that Holdfast reads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Agent(Ruled):
    """An Agent as the API server holds it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")
    RULES = AGENT_RULES

    api_version: Literal[GROUP_VERSION] = Field(default=GROUP_VERSION)  # type: ignore[valid-type]
    kind: Literal[KIND] = Field(default=KIND)  # type: ignore[valid-type]
    metadata: ObjectMeta
    spec: AgentSpec = Field(default_factory=AgentSpec)
    status: dict[str, Any] = Field(default_factory=dict)
