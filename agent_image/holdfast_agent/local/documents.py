"""The YAML that the user gives: an Agent and what it names. The very file that `kubectl apply -f` takes; other kinds are passed over."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from holdfast_agent.local.faults import LocalError
from holdfast_api import names
from holdfast_api.v1alpha1 import Agent

_MAX_PROBLEMS = 8


@dataclass(frozen=True)
class Documents:
    """What was found.

    Attributes:
        agent: the Agent.
        config_maps: name -> data.
        secrets: name -> decoded data.
        components: Dapr Components by name, as they are written.
        mcp_servers: Dapr MCPServers likewise.
    """

    agent: Agent
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    components: dict[str, dict[str, Any]] = field(default_factory=dict)
    mcp_servers: dict[str, dict[str, Any]] = field(default_factory=dict)


def read(paths: Sequence[Path], *, name: str | None = None) -> Documents:
    """Read files of documents.

    Args:
        paths: the files.
        name: which Agent, when there are several.

    Raises:
        LocalError: a file cannot be read, or there is not exactly one Agent, or it is not valid.
    """
    return _read(paths, name, several=False)[0]


def read_all(paths: Sequence[Path], *, name: str | None = None) -> list[Documents]:
    """The same for each Agent in the files, or for the one of that name.

    Raises:
        LocalError: a file cannot be read, there is no such Agent, two have one name, or one is not valid.
    """
    return _read(paths, name, several=name is None)


def _read(paths: Sequence[Path], name: str | None, *, several: bool) -> list[Documents]:
    agents: list[tuple[Path, dict[str, Any]]] = []
    config_maps, secrets, components, mcp_servers = {}, {}, {}, {}
    for path in paths:
        for document in _documents(path):
            called = str((document.get("metadata") or {}).get("name", ""))
            match (str(document.get("apiVersion", "")).partition("/")[0], document.get("kind")):
                case (names.GROUP, names.KIND):
                    agents.append((path, document))
                case ("v1", "ConfigMap"):
                    config_maps[called] = {key: str(value) for key, value in (document.get("data") or {}).items()}
                case ("v1", "Secret"):
                    secrets[called] = _secret(path, called, document)
                case ("dapr.io", "Component"):
                    components[called] = document
                case ("dapr.io", "MCPServer"):
                    mcp_servers[called] = document
    chosen = agents if several and agents else [_choose(agents, paths, name)]
    found = [Documents(_agent(path, agent), config_maps, secrets, components, mcp_servers) for path, agent in chosen]
    titles = [documents.agent.metadata.name for documents in found]
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise LocalError(f"{', '.join(map(str, paths))}: there are two Agents {twice[0]!r}: rename one of them")
    return found


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    try:
        loaded = list(yaml.safe_load_all(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise LocalError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    for document in loaded:
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from (item for item in document.get("items") or [] if isinstance(item, dict))
        elif isinstance(document, dict):
            yield document
        elif document is not None:
            raise LocalError(f"{path} holds a document that is no Kubernetes object: {str(document)[:60]!r}")


def _choose(agents: list[tuple[Path, dict[str, Any]]], paths: Sequence[Path], name: str | None) -> tuple[Path, dict[str, Any]]:
    where = ", ".join(str(path) for path in paths)
    have = [str((document.get("metadata") or {}).get("name")) for _, document in agents]
    wanted = [each for each, called in zip(agents, have, strict=True) if name in {None, called}]
    if len(wanted) == 1:
        return wanted[0]
    if not agents:
        raise LocalError(f"{where}: there is no Agent (apiVersion {names.GROUP_VERSION}, kind {names.KIND})")
    if not wanted:
        raise LocalError(f"{where}: there is no Agent {name!r}; there are: {', '.join(have)}")
    raise LocalError(f"{where}: there are several Agents ({', '.join(have)}): choose one with --agent NAME")


def _agent(path: Path, document: dict[str, Any]) -> Agent:
    called = (document.get("metadata") or {}).get("name", "?")
    try:
        return Agent.model_validate(document)
    except ValidationError as error:
        problems = [_problem(one["loc"], one["msg"]) for one in error.errors(include_url=False)]
    more = [f"and {len(problems) - _MAX_PROBLEMS} more"] if len(problems) > _MAX_PROBLEMS else []
    raise LocalError("\n  ".join([f"{path}: Agent {called!r} is not valid:", *problems[:_MAX_PROBLEMS], *more]))


def _problem(location: tuple[int | str, ...], message: str) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    words = message.removeprefix("Value error, ")
    return f"{path}: {words}" if path else words


def _secret(path: Path, called: str, document: dict[str, Any]) -> dict[str, str]:
    found = {}
    for key, value in (document.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(str(value), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise LocalError(f"{path}: Secret {called!r}: data.{key} is no base64 of a text: use stringData for plain text") from None
    return found | {key: str(value) for key, value in (document.get("stringData") or {}).items()}
