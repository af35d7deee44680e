"""What daprd reads here: the same Components and Resiliency as in a cluster, on SQLite."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from holdfast_agent.local.documents import Documents
from holdfast_agent.local.faults import LocalError
from holdfast_api import conditions, dapr, names
from holdfast_api.config import AgentConfig
from holdfast_api.defaults import AgentDefaults
from holdfast_api.resolve import Refused, Resolved, resolve
from holdfast_api.subscriptions import subscription, subscriptions
from holdfast_api.v1alpha1 import Agent, Broker, ComponentMetadata, OneModel, Resiliency, SecretKeyRef, State, Tool

M = TypeVar("M", bound=OneModel)
_BROKER: Final = "pubsub.in-memory"


@dataclass(frozen=True)
class Plan:
    """What an Agent comes to on this machine.

    Attributes:
        resolved: as in a cluster, on the store here.
        resources: documents for daprd's folder.
        sidecar_secrets: all Secret keys that daprd needs.
        notes: what is different from a cluster, for people.
    """

    resolved: Resolved
    resources: tuple[dict[str, Any], ...]
    sidecar_secrets: tuple[SecretKeyRef, ...]
    notes: tuple[str, ...]


def plan(documents: Documents, database: Path, others: frozenset[str] = frozenset()) -> Plan:
    """Resolve an Agent with its state in a file.

    Args:
        documents: what it is.
        database: the file.
        others: names of the Agents that are served beside it.

    Raises:
        LocalError: it cannot be carried out as it is written.
    """
    agent, notes = _on_this_machine(documents.agent, others)
    metadata = [ComponentMetadata(name="connectionString", value=str(database)), ComponentMetadata(name="busyTimeout", value="10s")]
    defaults = AgentDefaults(state=State(type="state.sqlite", metadata=metadata), pubsub=Broker(type=_BROKER))
    try:
        resolved = resolve(agent, defaults, documents.config_maps)
    except Refused as refused:
        if refused.reason == conditions.MODEL_MISSING:
            raise LocalError("spec.model is missing: set it; a default of the operator is known in its cluster only") from None
        raise LocalError(refused.message) from None
    name = agent.metadata.name
    made = [dapr.component(component, spec, app_id=name) for component, spec in resolved.components.items()]
    secrets = list(resolved.sidecar_secrets)
    servers = [tool.mcp.server for tool in resolved.config.tools if tool.mcp and tool.mcp.server]
    made += [_own_server(server, documents, secrets) for server in dict.fromkeys(servers)]
    for component in resolved.existing_components:
        if component not in documents.components:
            raise LocalError(
                f"Component {component!r}, which the Agent names, is not in the files: put it there, or use spec.model.provider, or the "
                "broker's type in spec.pubsub"
            )
        made.append(_own_component(documents.components[component], secrets))
    made += [subscription(title, spec, app_id=name) for title, spec in subscriptions(resolved.config).items()]
    return Plan(resolved, (*made, _resiliency(resolved.config, agent.spec.resiliency)), tuple(dict.fromkeys(secrets)), tuple(notes))


def write(resources: tuple[dict[str, Any], ...], folder: Path) -> None:
    """Put the documents into a folder, which then holds nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for document in resources:
        path = folder / f"{document['kind'].lower()}-{document['metadata']['name']}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))


def configuration(config: AgentConfig) -> dict[str, Any]:
    """`spec` of the Configuration: the allow-list of a cluster. Access control needs mTLS, and here only we can call."""
    return {"api": dapr.api_spec(config), "tracing": {"samplingRate": "0"}}


def unprompted(documents: Documents) -> Documents:
    """The same without what begins runs by itself: whoever asks for one run wants no other."""
    spec = documents.agent.spec
    pubsub = spec.pubsub.model_copy(update={"topic": None, "broadcast": None}) if spec.pubsub else None
    without = spec.model_copy(update={"triggers": [], "pubsub": pubsub})
    return replace(documents, agent=documents.agent.model_copy(update={"spec": without}))


def redirected(agent: Agent, *, endpoint: str | None, mappings: dict[str, str]) -> Agent:
    """The Agent with addresses that exist here: names inside a cluster mean nothing outside.

    Args:
        agent: as it is written.
        endpoint: base URL of the model; None to keep it.
        mappings: beginning of a URL -> what to put in its place, for all models, HTTP tools and MCP servers.

    Raises:
        LocalError: there is no endpoint to set.
    """
    spec = agent.spec
    model = spec.model
    if endpoint and (model is None or not model.provider):
        raise LocalError("--endpoint needs spec.model.provider: the endpoint of a Component stands in the Component")
    if model:
        others: dict[str, Any] = {"fallbacks": [_elsewhere(other, mappings) for other in model.fallbacks]}
        others["routes"] = [route.model_copy(update={"model": _elsewhere(route.model, mappings)}) for route in model.routes]
        model = _elsewhere(model, mappings).model_copy(update=others | ({"endpoint": endpoint} if endpoint else {}))
    evaluation, memory = spec.evaluation, spec.memory
    if memory and memory.model:
        memory = memory.model_copy(update={"model": _elsewhere(memory.model, mappings)})
    if evaluation and evaluation.model:
        evaluation = evaluation.model_copy(update={"model": _elsewhere(evaluation.model, mappings)})
    tools = [_tool_elsewhere(tool, mappings) for tool in spec.tools]
    changed = {"model": model, "evaluation": evaluation, "memory": memory, "tools": tools}
    return agent.model_copy(update={"spec": spec.model_copy(update=changed)})


def _elsewhere(model: M, mappings: dict[str, str]) -> M:
    return model.model_copy(update={"endpoint": _mapped(model.endpoint, mappings)}) if model.endpoint else model


def _tool_elsewhere(tool: Tool, mappings: dict[str, str]) -> Tool:
    if tool.http:
        return tool.model_copy(update={"http": tool.http.model_copy(update={"url": _mapped(tool.http.url, mappings)})})
    if tool.mcp and tool.mcp.url:
        return tool.model_copy(update={"mcp": tool.mcp.model_copy(update={"url": _mapped(tool.mcp.url, mappings)})})
    return tool


def _mapped(url: str, mappings: dict[str, str]) -> str:
    for beginning, instead in mappings.items():
        if url.startswith(beginning):
            return instead + url.removeprefix(beginning)
    return url


def _on_this_machine(agent: Agent, others: frozenset[str]) -> tuple[Agent, list[str]]:
    """Without what only a cluster has."""
    spec, notes = agent.spec, []
    if spec.state or (spec.memory and spec.memory.component):
        notes.append("spec.state and spec.memory.component are not used here: everything is in one SQLite file")
    if spec.pubsub and not (spec.pubsub.component or spec.pubsub.type):
        notes.append(f"spec.pubsub names no broker, so it is Dapr's {_BROKER} here: only this agent's own process hears of its events")
    if spec.observability and spec.observability.tracing:
        notes.append("spec.observability.tracing is not used here: set OTEL_EXPORTER_OTLP_ENDPOINT in spec.env")
    if spec.volumes or spec.volume_mounts:
        notes.append("spec.volumes are not mounted here")
    if spec.suspend:
        notes.append("spec.suspend is not heeded here")
    if called := sorted({tool.agent.name for tool in spec.tools if tool.agent} - others):
        away = f"calls of {', '.join(called)} fail and the model is told so"
        notes.append(f"{away}: serve all of them together, `serve` with the files of each and without --agent")
    if spec.team and not others:
        notes.append(f"no other member of team {spec.team} is known here: in a cluster the operator keeps the list")
    memory = spec.memory.model_copy(update={"component": None}) if spec.memory else None
    return agent.model_copy(update={"spec": spec.model_copy(update={"state": None, "memory": memory})}), notes


def _resiliency(config: AgentConfig, wanted: Resiliency) -> dict[str, Any]:
    return {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Resiliency",
        "metadata": {"name": config.name},
        "scopes": [config.name],
        "spec": dapr.resiliency_spec(config, wanted=wanted),
    }


def _own_component(document: dict[str, Any], secrets: list[SecretKeyRef]) -> dict[str, Any]:
    """A Component of the user's, its Secrets taken from the environment: there is no secret store here."""
    entries = _from_environment(document.get("spec", {}).get("metadata"), secrets)
    return {key: value for key, value in document.items() if key != "auth"} | {"spec": document.get("spec", {}) | {"metadata": entries}}


def _own_server(name: str, documents: Documents, secrets: list[SecretKeyRef]) -> dict[str, Any]:
    """An MCPServer of the user's, its Secrets taken from the environment."""
    if name not in documents.mcp_servers:
        raise LocalError(f"MCPServer {name!r}, which the Agent names, is not in the files: put it there, or use mcp.url")
    document = documents.mcp_servers[name]
    endpoint = dict(document.get("spec", {}).get("endpoint") or {})
    for way, where in endpoint.items():
        if isinstance(where, dict) and where.get("headers"):
            endpoint[way] = where | {"headers": _from_environment(where["headers"], secrets)}
    return document | {"spec": document.get("spec", {}) | {"endpoint": endpoint}}


def _from_environment(given: list[dict[str, Any]] | None, secrets: list[SecretKeyRef]) -> list[dict[str, Any]]:
    entries = []
    for entry in given or []:
        if ref := entry.get("secretKeyRef"):
            secrets.append(SecretKeyRef(name=ref["name"], key=ref.get("key") or ref["name"]))
            entries.append({"name": entry["name"], "envRef": names.secret_env(secrets[-1].name, secrets[-1].key)})
        else:
            entries.append(entry)
    return entries
