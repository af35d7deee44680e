"""Agent + defaults + texts of ConfigMaps -> AgentConfig and the Components it needs. Pure: the operator and the local runner share it.

What CEL cannot see is found here and raised as `Refused` with the field, the value and the fix; the operator shows it as
`Accepted=False`, the local runner as its only line of output.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from holdfast_api import conditions, dapr, names
from holdfast_api.config import (
    AgentConfig,
    EvaluationConfig,
    LimitsConfig,
    MemoryConfig,
    ModelConfig,
    OutputConfig,
    RetentionConfig,
    RouteConfig,
)
from holdfast_api.defaults import AgentDefaults
from holdfast_api.event_configs import event_configs, source_of
from holdfast_api.json_schema import checked
from holdfast_api.refused import Refused as Refused  # noqa: PLC0414 - also known from here
from holdfast_api.texts import ConfigMaps, text
from holdfast_api.tool_configs import header_secrets, tool_configs
from holdfast_api.v1alpha1 import Agent, Evaluation, Limits, Memory, Model, Observability, OneModel, Output, Retention, SecretKeyRef, State
from holdfast_api.v1alpha1.types import seconds


@dataclass(frozen=True)
class Resolved:
    """What an Agent comes to.

    Attributes:
        config: the document for the agent's program.
        components: Dapr Components to make, name -> `spec`.
        existing_components: names of Components that must exist already.
        sidecar_secrets: Secret keys that daprd needs in its environment.
        container_secrets: Secret keys that the agent's container needs in its environment.
        observability: traces, logs and metrics.
    """

    config: AgentConfig
    components: dict[str, dict[str, Any]] = field(default_factory=dict)
    existing_components: tuple[str, ...] = ()
    sidecar_secrets: tuple[SecretKeyRef, ...] = ()
    container_secrets: tuple[SecretKeyRef, ...] = ()
    observability: Observability = field(default_factory=Observability)


def config_maps_of(agent: Agent) -> set[str]:
    """Names of the ConfigMaps that resolving this Agent reads."""
    spec = agent.spec
    found = {tool.python.config_map_key_ref.name for tool in spec.tools if tool.python}
    if spec.system_prompt_from:
        found.add(spec.system_prompt_from.config_map_key_ref.name)
    return found


def components_of(agent: Agent, defaults: AgentDefaults) -> set[str]:
    """Names of the Components that the Agent, or a default, says are there."""
    spec, model, memory = agent.spec, agent.spec.model or defaults.model, _memory(agent, defaults)
    models = (model, *model.fallbacks, *(route.model for route in model.routes)) if model else ()
    critic = spec.evaluation.model if spec.evaluation else None
    parts = (*models, critic, memory.model, spec.state or defaults.state, memory, source_of(agent, defaults.pubsub))
    topics = {trigger.topic.component for trigger in spec.triggers if trigger.topic and trigger.topic.component}
    return topics | {part.component for part in parts if part and part.component}


def resolve(agent: Agent, defaults: AgentDefaults, config_maps: ConfigMaps) -> Resolved:
    """Everything that follows from an Agent.

    Raises:
        Refused: a text is missing, a schema is none, nothing says which model or store to use, or the document is too large.
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
    llms, store = _Models(name, components, spec.resiliency.model.timeout), _state_component(name, state, components)
    memory, events = _memory(agent, defaults), event_configs(agent, defaults.pubsub)
    components |= events.components
    config = AgentConfig(
        name=name,
        description=spec.description,
        system_prompt=_prompt(agent, config_maps),
        model=llms.config(model),
        tools=tool_configs(agent, config_maps),
        state_component=store,
        memory_component=memory.component or store,
        limits=_limits(spec.limits),
        output=_output(spec.output) if spec.output else None,
        evaluation=_evaluation(spec.evaluation, llms) if spec.evaluation else None,
        routes=tuple(RouteConfig(tools=tuple(route.tools), model=llms.config(route.model)) for route in model.routes),
        memory=MemoryConfig(
            max_messages=memory.max_messages,
            compaction=memory.compaction,
            model=llms.config(memory.model) if memory.model else None,
        ),
        retention=_retention(spec.retention),
        auth=spec.access.auth,
        callers=tuple(spec.access.callers),
        pubsub=events.pubsub,
        triggers=events.triggers,
        capabilities=tuple(spec.capabilities),
        team=spec.team,
    )
    size = len(json.dumps(config.document()).encode())
    if size > names.MAX_CONFIG_BYTES:
        raise Refused(
            conditions.CONFIG_TOO_LARGE,
            f"the resolved configuration has {size} bytes, {names.MAX_CONFIG_BYTES} are allowed: shorten spec.systemPrompt, "
            "the input schemas or the Python modules of the tools",
        )
    existing = components_of(agent, defaults)
    return Resolved(
        config=config,
        components=components,
        existing_components=tuple(sorted(existing)),
        sidecar_secrets=tuple(dict.fromkeys(dapr.secret_refs(llms.used, [state, events.source]))),
        container_secrets=tuple(dict.fromkeys(header_secrets(spec.tools))),
        observability=spec.observability or defaults.observability or Observability(),
    )


class _Models:
    """The models of one Agent: the main one, those in its place, the critic and so on; each gets its Component once.

    Attributes:
        used: as they are written, the main one first.
    """

    def __init__(self, agent: str, components: dict[str, dict[str, Any]], timeout: str | None) -> None:
        """`timeout` is for models that have none of their own."""
        self._agent, self._components, self._timeout = agent, components, timeout
        self.used: list[OneModel] = []

    def config(self, model: OneModel) -> ModelConfig:
        component = model.component
        if not component:
            spec = dapr.llm_spec(model)
            component = names.llm_component(self._agent, spec)
            self._components[component] = spec
        self.used.append(model)
        ref = model.api_key_secret_ref
        return ModelConfig(
            component=component,
            label=f"{model.provider}/{model.name or ''}".rstrip("/") if model.provider else f"component/{component}",
            temperature=model.temperature,
            timeout_seconds=seconds(self._timeout if self._timeout and "timeout" not in model.model_fields_set else model.timeout),
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
        max_depth=limits.max_depth,
        on_exceeded=limits.on_exceeded,
    )


def _output(output: Output) -> OutputConfig:
    return OutputConfig(json_schema=checked("spec.output.schema", output.json_schema), max_repairs=output.max_repairs)


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
        parts.append(text("spec.systemPromptFrom.configMapKeyRef", spec.system_prompt_from.config_map_key_ref, config_maps))
    elif spec.system_prompt:
        parts.append(spec.system_prompt)
    return "\n\n".join(part.strip() for part in parts) or None
