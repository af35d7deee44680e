"""Agent + defaults + texts of ConfigMaps -> AgentConfig and the Components it needs. Pure: the operator and the local runner share it.

What CEL cannot see is found here and raised as `Refused` with the field, the value and the fix; the operator shows it as
`Accepted=False`, the local runner as its only line of output.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast_api import conditions, dapr, names
from holdfast_api.config import (
    AgentConfig,
    ApprovalConfig,
    EvaluationConfig,
    HeaderFromEnv,
    HttpToolConfig,
    LimitsConfig,
    MemoryConfig,
    ModelConfig,
    OutputConfig,
    PythonToolConfig,
    RetentionConfig,
    RetriesConfig,
    ToolConfig,
)
from holdfast_api.defaults import AgentDefaults
from holdfast_api.v1alpha1 import (
    Agent,
    ConfigMapKeyRef,
    Evaluation,
    Limits,
    Memory,
    Model,
    OneModel,
    Retention,
    SecretKeyRef,
    State,
    Tool,
)
from holdfast_api.v1alpha1.types import seconds

ConfigMaps = Mapping[str, Mapping[str, str] | None]
"""Name of a ConfigMap -> its data; None when it does not exist."""


class Refused(Exception):  # noqa: N818 - it reads as a verdict: raise Refused(...)
    """The Agent cannot be carried out as it is written.

    Attributes:
        condition: type of the condition that says so, `Accepted` or `ReferencesResolved`.
        reason: one of `conditions`' reasons.
        message: field, value and fix.
    """

    def __init__(self, reason: str, message: str, *, condition: str = conditions.ACCEPTED) -> None:
        super().__init__(message)
        self.reason, self.message, self.condition = reason, message, condition


@dataclass(frozen=True)
class Resolved:
    """What an Agent comes to.

    Attributes:
        config: the document for the agent's program.
        components: Dapr Components to make, name -> `spec`.
        existing_components: names of Components that must exist already.
        sidecar_secrets: Secret keys that daprd needs in its environment.
        container_secrets: Secret keys that the agent's container needs in its environment.
    """

    config: AgentConfig
    components: dict[str, dict[str, Any]] = field(default_factory=dict)
    existing_components: tuple[str, ...] = ()
    sidecar_secrets: tuple[SecretKeyRef, ...] = ()
    container_secrets: tuple[SecretKeyRef, ...] = ()


def config_maps_of(agent: Agent) -> set[str]:
    """Names of the ConfigMaps that resolving this Agent reads."""
    spec = agent.spec
    found = {tool.python.config_map_key_ref.name for tool in spec.tools if tool.python}
    if spec.system_prompt_from:
        found.add(spec.system_prompt_from.config_map_key_ref.name)
    return found


def components_of(agent: Agent, defaults: AgentDefaults) -> set[str]:
    """Names of the Components that the Agent, or a default, says are there."""
    spec, model = agent.spec, agent.spec.model or defaults.model
    critic = spec.evaluation.model if spec.evaluation else None
    parts = (model, *(model.fallbacks if model else ()), critic, spec.state or defaults.state, _memory(agent, defaults))
    return {part.component for part in parts if part and part.component}


def resolve(agent: Agent, defaults: AgentDefaults, config_maps: ConfigMaps) -> Resolved:
    """Everything that follows from an Agent.

    Raises:
        Refused: a text is missing, nothing says which model or store to use, or the document is too large.
    """
    name, spec = agent.metadata.name, agent.spec
    model, state = spec.model or defaults.model, spec.state or defaults.state
    if model is None:
        raise Refused(
            conditions.MODEL_MISSING, "spec.model is missing and the operator has no default: set spec.model, or the chart's agents.model"
        )
    if state is None:
        raise Refused(
            conditions.STATE_MISSING, "spec.state is missing and the operator has no default: set spec.state, or the chart's agents.state"
        )
    components: dict[str, dict[str, Any]] = {}
    llms, store = _Models(name, components), _state_component(name, state, components)
    memory = _memory(agent, defaults)
    config = AgentConfig(
        name=name,
        description=spec.description,
        system_prompt=_prompt(agent, config_maps),
        model=llms.config(model),
        tools=tuple(_tool(index, tool, config_maps) for index, tool in enumerate(spec.tools)),
        state_component=store,
        memory_component=memory.component or store,
        limits=_limits(spec.limits),
        output=OutputConfig(json_schema=spec.output.json_schema, max_repairs=spec.output.max_repairs) if spec.output else None,
        evaluation=_evaluation(spec.evaluation, llms) if spec.evaluation else None,
        memory=MemoryConfig(max_messages=memory.max_messages, compaction=memory.compaction),
        retention=_retention(spec.retention),
        auth=spec.access.auth,
    )
    size = len(json.dumps(config.document()).encode())
    if size > names.MAX_CONFIG_BYTES:
        raise Refused(
            conditions.CONFIG_TOO_LARGE,
            f"the resolved configuration has {size} bytes, {names.MAX_CONFIG_BYTES} are allowed: shorten spec.systemPrompt, "
            "the input schemas or the Python modules of the tools",
        )
    existing = {part for part in (*llms.names, store, config.memory_component) if part not in components}
    headers = [source.secret_key_ref for tool in spec.tools if tool.http for source in tool.http.headers_from]
    return Resolved(
        config=config,
        components=components,
        existing_components=tuple(sorted(existing)),
        sidecar_secrets=tuple(dict.fromkeys(dapr.secret_refs(llms.used, state))),
        container_secrets=tuple(dict.fromkeys(headers)),
    )


class _Models:
    """The models of one Agent: the main one, those in its place, and the critic; each gets its Component once.

    Attributes:
        used: as they are written, the main one first.
        names: their Components.
    """

    def __init__(self, agent: str, components: dict[str, dict[str, Any]]) -> None:
        self._agent, self._components = agent, components
        self.used: list[OneModel] = []
        self.names: list[str] = []

    def config(self, model: OneModel) -> ModelConfig:
        component = model.component
        if not component:
            spec = dapr.llm_spec(model)
            component = names.llm_component(self._agent, spec)
            self._components[component] = spec
        self.used.append(model)
        self.names.append(component)
        ref = model.api_key_secret_ref
        return ModelConfig(
            component=component,
            label=f"{model.provider}/{model.name or ''}".rstrip("/") if model.provider else f"component/{component}",
            temperature=model.temperature,
            timeout_seconds=seconds(model.timeout),
            secret=f"{ref.name}/{ref.key}" if ref else None,
            context_tokens=model.context_tokens,
            fallbacks=tuple(self.config(other) for other in model.fallbacks) if isinstance(model, Model) else (),
        )


def _memory(agent: Agent, defaults: AgentDefaults) -> Memory:
    """What the Agent says; the store is the administrator's where it names none."""
    own, default = agent.spec.memory, defaults.memory or Memory()
    if own is None or own.component:
        return own or default
    return own.model_copy(update={"component": default.component})


def _limits(limits: Limits) -> LimitsConfig:
    return LimitsConfig(
        max_iterations=limits.max_iterations,
        run_timeout_seconds=seconds(limits.run_timeout),
        max_tokens=limits.max_tokens,
        max_tool_calls=limits.max_tool_calls,
        max_repeated_calls=limits.max_repeated_calls,
        max_concurrent_runs=limits.max_concurrent_runs,
        on_exceeded=limits.on_exceeded,
    )


def _evaluation(evaluation: Evaluation, llms: _Models) -> EvaluationConfig:
    critic = llms.config(evaluation.model) if evaluation.model else None
    return EvaluationConfig(criteria=evaluation.criteria, model=critic, max_rounds=evaluation.max_rounds)


def _retention(retention: Retention) -> RetentionConfig:
    return RetentionConfig(
        completed_seconds=seconds(retention.completed),
        failed_seconds=seconds(retention.failed),
        sessions_seconds=seconds(retention.sessions) if retention.sessions else None,
    )


def _state_component(agent: str, state: State, components: dict[str, dict[str, Any]]) -> str:
    if state.component:
        return state.component
    name = names.state_component(agent)
    components[name] = dapr.state_spec(state)
    return name


def _prompt(agent: Agent, config_maps: ConfigMaps) -> str | None:
    """role, goal and instructions as sentences, then the free text."""
    spec = agent.spec
    parts = [f"Your role: {spec.role}"] if spec.role else []
    parts += [f"Your goal: {spec.goal}"] if spec.goal else []
    parts += ["Instructions:\n" + "\n".join(f"- {line}" for line in spec.instructions)] if spec.instructions else []
    if spec.system_prompt_from:
        parts.append(_text("spec.systemPromptFrom.configMapKeyRef", spec.system_prompt_from.config_map_key_ref, config_maps))
    elif spec.system_prompt:
        parts.append(spec.system_prompt)
    return "\n\n".join(part.strip() for part in parts) or None


def _tool(index: int, tool: Tool, config_maps: ConfigMaps) -> ToolConfig:
    http = python = None
    if tool.http:
        schema = tool.http.input_schema or {"type": "object", "properties": {}}
        sources = tuple(
            HeaderFromEnv(name=s.name, env=names.secret_env(s.secret_key_ref.name, s.secret_key_ref.key), prefix=s.prefix)
            for s in tool.http.headers_from
        )
        http = HttpToolConfig(
            url=tool.http.url,
            method=tool.http.method,
            headers=tool.http.headers,
            headers_from=sources,
            input_schema={"type": "object"} | schema,
        )
    if tool.python:
        ref = tool.python.config_map_key_ref
        source = _text(f"spec.tools[{index}].python.configMapKeyRef ({tool.name})", ref, config_maps)
        python = PythonToolConfig(source=source, function=tool.python.function, filename=f"{ref.name}/{ref.key}")
    asks = tool.approval if tool.approval and tool.approval.required else None
    return ToolConfig(
        name=tool.name,
        description=tool.description,
        timeout_seconds=seconds(tool.timeout),
        http=http,
        python=python,
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


def _text(path: str, ref: ConfigMapKeyRef, config_maps: ConfigMaps) -> str:
    data = config_maps.get(ref.name)
    if data is None:
        raise Refused(
            conditions.CONFIG_MAP_NOT_FOUND,
            f"{path}: ConfigMap {ref.name!r} does not exist: create it in the Agent's namespace",
            condition=conditions.REFERENCES_RESOLVED,
        )
    if ref.key not in data:
        have = ", ".join(sorted(data)) or "none"
        raise Refused(
            conditions.CONFIG_MAP_KEY_NOT_FOUND,
            f"{path}: ConfigMap {ref.name!r} has no key {ref.key!r} (it has: {have}): add the key, or name one that is there",
            condition=conditions.REFERENCES_RESOLVED,
        )
    return data[ref.key]
