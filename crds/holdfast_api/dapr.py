"""The Dapr Components that follow from a model or a store, as plain manifests.

Both the operator and the local runner need them, and they must agree: an Agent tried on a laptop has to behave the same in a cluster.
API keys are never in a Component. They reach daprd as environment variables (`envRef`), because a Secret that is missing is then the
kubelet's own clear error in the pod's status and heals by itself; with `secretKeyRef` daprd would end with a log line only.
"""

from collections.abc import Iterable
from typing import Any

from pydantic.alias_generators import to_camel

from holdfast_api import names
from holdfast_api.config import AgentConfig
from holdfast_api.subscriptions import deliveries, publishes
from holdfast_api.v1alpha1 import Agent, CircuitBreaker, ComponentSource, OneModel, Resiliency, SecretKeyRef, State
from holdfast_api.v1alpha1.types import seconds

_TYPES = {
    "openai": "conversation.openai",
    "azure": "conversation.openai",
    "anthropic": "conversation.anthropic",
    "googleai": "conversation.googleai",
    "mistral": "conversation.mistral",
    "deepseek": "conversation.deepseek",
    "huggingface": "conversation.huggingface",
    "ollama": "conversation.ollama",
    "bedrock": "conversation.aws.bedrock",
    "echo": "conversation.echo",
}
_KEYLESS = {"ollama", "bedrock", "echo"}
_PLACEHOLDER_KEY = "none"  # the OpenAI component refuses to start without a key; a local server ignores it
_DEFAULT_VERSIONS = {"state.postgresql": "v2"}

_API_ALLOWED = (
    ("conversation", "v1alpha2", "grpc"),
    ("state", "v1", "grpc"),
    ("metadata", "v1", "grpc"),
    ("metadata", "v1", "http"),
    ("healthz", "v1", "http"),
    ("shutdown", "v1", "http"),
)
_MORE_APIS = {"publish": ("publish", "v1", "grpc"), "invoke": ("invoke", "v1", "http")}
_STATE, _AGENTS = "state", "agents"

Manifest = dict[str, Any]


def secret_refs(models: Iterable[OneModel], sources: Iterable[ComponentSource | None]) -> list[SecretKeyRef]:
    """Secret keys that daprd needs in its environment for these."""
    found = [ref for model in models for ref in (model.api_key_secret_ref, *(s.secret_key_ref for s in model.options_from)) if ref]
    entries = [entry for source in sources if source for entry in source.metadata or ()]
    return found + [entry.secret_key_ref for entry in entries if entry.secret_key_ref]


def llm_spec(model: OneModel) -> Manifest:
    """`spec` of the conversation Component for a model with a provider.

    `ignoreErrors`: a model that cannot be initialised must not keep the workflow engine, and so every run, from starting.
    """
    assert model.provider is not None
    metadata: list[Manifest] = []
    if model.api_key_secret_ref:
        metadata.append({"name": "key", "envRef": names.secret_env(model.api_key_secret_ref.name, model.api_key_secret_ref.key)})
    elif model.provider not in _KEYLESS:
        metadata.append({"name": "key", "value": _PLACEHOLDER_KEY})
    if model.name:
        metadata.append({"name": "model", "value": model.name})
    if model.endpoint:
        metadata.append({"name": "endpoint", "value": model.endpoint})
    if model.provider == "azure":
        metadata.append({"name": "apiType", "value": "azure"})
    metadata += [{"name": name, "value": value} for name, value in sorted((model.options or {}).items())]
    metadata += [
        {"name": source.name, "envRef": names.secret_env(source.secret_key_ref.name, source.secret_key_ref.key)}
        for source in model.options_from
    ]
    return {"type": _TYPES[model.provider], "version": "v1", "ignoreErrors": True, "metadata": metadata}


def state_spec(state: State) -> Manifest:
    """`spec` of the state Component for a store with a type; workflows need `actorStateStore`.

    `keyPrefix: namespace`: Dapr's default puts only the app id before a key, so equally named Agents of two namespaces that share one
    store would read each other's documents.
    """
    assert state.type is not None
    metadata = [entry for entry in _entries(state) if entry["name"].lower() != "actorstatestore"]
    metadata.append({"name": "actorStateStore", "value": "true"})
    if not any(entry["name"].lower() == "keyprefix" for entry in metadata):
        metadata.append({"name": "keyPrefix", "value": "namespace"})
    return {"type": state.type, "version": state.version or _DEFAULT_VERSIONS.get(state.type, "v1"), "metadata": metadata}


def pubsub_spec(broker: ComponentSource, agent: Agent) -> Manifest:
    """`spec` of the pub/sub Component for a broker with a type.

    `consumerID`: Dapr's default is the app id, so equally named Agents of two namespaces that share one broker would take each other's
    events. `ignoreErrors`: a broker that is away must not keep the workflow engine, and so every run, from starting.
    """
    assert broker.type is not None
    metadata = _entries(broker)
    if not any(entry["name"].lower() == "consumerid" for entry in metadata):
        metadata.append({"name": "consumerID", "value": f"{agent.metadata.namespace}_{agent.metadata.name}"})
    return {"type": broker.type, "version": broker.version or "v1", "ignoreErrors": True, "metadata": metadata}


def _entries(source: ComponentSource) -> list[Manifest]:
    """Metadata as it is written, Secrets as names of variables."""
    return [
        {"name": entry.name, "envRef": names.secret_env(entry.secret_key_ref.name, entry.secret_key_ref.key)}
        if entry.secret_key_ref
        else {"name": entry.name, "value": entry.value or ""}
        for entry in source.metadata or ()
    ]


def component(name: str, spec: Manifest, *, app_id: str) -> Manifest:
    """A Component scoped to one app id. Scopes matter twice: who sees it, and whose sidecar restarts when it changes."""
    return {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec, "scopes": [app_id]}


def more_apis(config: AgentConfig) -> frozenset[str]:
    """What only some agents ask of their sidecar: `publish`, and `invoke` to call others."""
    calls = bool(config.team) or any(tool.agent for tool in config.tools)
    return frozenset(name for name, needed in (("publish", publishes(config)), ("invoke", calls)) if needed)


def api_spec(config: AgentConfig | None = None, earlier: frozenset[str] = frozenset()) -> Manifest:
    """`spec.api` of the Configuration: what the agent may ask of its sidecar.

    The list names protocols, because Dapr's rule without one matches nothing and a list for HTTP alone leaves gRPC open. What only some
    agents need, publishing and calling others, is there for those alone.

    Args:
        config: the current revision; None: one that needs nothing special.
        earlier: what earlier revisions that runs are pinned to need, of `more_apis`.
    """
    wanted = earlier | (more_apis(config) if config else frozenset())
    allowed = [*_API_ALLOWED, *(found for name, found in _MORE_APIS.items() if name in wanted)]
    return {"allowed": [{"name": name, "version": version, "protocol": protocol} for name, version, protocol in allowed]}


def resiliency_spec(config: AgentConfig, earlier: Iterable[tuple[str, int]] = (), *, wanted: Resiliency | None = None) -> Manifest:
    """`spec` of the Resiliency: a call of a model ends in bounded time, and a model that is down is not hammered.

    No retries here: the workflow retries on durable timers, and retries of retries multiply.

    Args:
        config: the current revision.
        earlier: Components of earlier revisions that runs are pinned to, and the milliseconds that a call of them may take.
        wanted: what the Agent says.
    """
    wanted = wanted or Resiliency()
    timeouts, targets = {}, {}
    for component, limit in model_limits(config).items():
        name = "model" if component == config.model.component else f"other-{component}"
        timeouts[name], targets[component] = f"{limit}ms", _bounds(name)
    for component, limit in earlier:
        name = f"earlier-{component}"
        timeouts[name], targets[component] = f"{limit}ms", _bounds(name)
    breakers = {"model": _breaker(wanted.model.circuit_breaker)}
    if state := {name: _STATE for name, found in wanted.state if found}:
        if wanted.state.timeout:
            timeouts[_STATE] = f"{round(seconds(wanted.state.timeout) * 1000)}ms"
        if wanted.state.circuit_breaker:
            breakers[_STATE] = _breaker(wanted.state.circuit_breaker)
        for component in dict.fromkeys((config.state_component, config.memory_component)):
            targets[component] = {"outbound": {to_camel(name): policy for name, policy in state.items()}}
    found: Manifest = {"policies": {"timeouts": timeouts, "circuitBreakers": breakers}, "targets": {"components": targets}}
    if (breaker := wanted.tools.circuit_breaker) and (agents := [tool.agent.name for tool in config.tools if tool.agent]):
        breakers[_AGENTS] = _breaker(breaker)
        found["targets"]["apps"] = {agent: {"circuitBreaker": _AGENTS} for agent in agents}
    retries, incoming = deliveries(config)
    if retries:
        found["policies"]["retries"] = retries
        targets |= incoming
    return found


def model_limits(config: AgentConfig) -> dict[str, int]:
    """Component of each model -> the milliseconds that one call may take; the longest where two models share a Component."""
    found: dict[str, int] = {}
    for model in config.models:
        found[model.component] = max(round(model.timeout_seconds * 1000), found.get(model.component, 0))
    return found


def _breaker(breaker: CircuitBreaker) -> Manifest:
    trip = f"consecutiveFailures >= {breaker.consecutive_failures}"
    return {"maxRequests": 1, "timeout": breaker.timeout, "trip": trip}


def _bounds(timeout: str) -> Manifest:
    return {"outbound": {"timeout": timeout, "circuitBreaker": "model"}}
