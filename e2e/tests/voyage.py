"""The navigator of the examples with a Secret in every place that an Agent has for one, its scripted model, and its MCP server."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from e2e.caller import MODEL
from e2e.holdfast import ROOT, Images
from e2e.tests.mcp_server import McpServer, serving
from e2e.tests.support import RESTRICTED, Manifest, Namespace, new_namespace

NAVIGATOR = "navigator"
TASK = "How far is it by road from Split to Zadar?"
KEPT_OUT = "slow"
CALLS = [
    {"name": "maps__route", "arguments": {"origin": "Split", "goal": "Zadar"}},
    {"name": f"maps__{KEPT_OUT}", "arguments": {"seconds": 0}},
    {"name": "log_book", "arguments": {}},
]
# The answer of the first rule is only given to somebody who has read what the MCP server says.
SCRIPT = {
    "rules": [
        {"messages": r"382\.5", "turns": [{"answer": "never asked for"}, {"answer": "It is 382.5 km by road."}]},
        {"turns": [{"toolCalls": CALLS}, {"answer": "Nobody tells me the way."}]},
    ],
    "tools": {"log_book": {"result": "noted"}},
}
CANARY_KEYS = ("model", "maps", "log-book", "variable", "variables", "file")


@dataclass(frozen=True)
class Voyage:
    """Where the navigator is.

    Attributes:
        namespace: its namespace.
        server: the MCP server that it calls.
        canaries: what was planted in Secrets, by key of the Secret `canaries`.
    """

    namespace: Namespace
    server: McpServer
    canaries: dict[str, str]


@contextmanager
def voyage(images: Images, folder: Path) -> Iterator[Voyage]:
    """A restricted namespace with the navigator in it, Ready."""
    canaries = {key: f"canary-{key}-{secrets.token_hex(12)}" for key in CANARY_KEYS}
    with new_namespace("e2e-voyage", RESTRICTED) as namespace, serving(namespace, folder) as server:
        namespace.apply(*scripted_model(images.agent), *planted(canaries), navigator())
        namespace.run("rollout", "status", f"deployment/{MODEL}", "--timeout=120s", timeout=130)
        namespace.ready(NAVIGATOR)
        yield Voyage(namespace, server, canaries)


def scripted_model(image: str) -> list[Manifest]:
    """The model of the examples, with a script of its own."""
    text = (ROOT / "examples/scripted-model.yaml").read_text().replace("holdfast-agent:0.1.0", image)
    manifests: list[Manifest] = list(yaml.safe_load_all(text))
    for each in manifests:
        if each["kind"] == "ConfigMap":
            each["data"] = {"script.yaml": yaml.safe_dump(SCRIPT)}
    return manifests


def planted(canaries: dict[str, str]) -> list[Manifest]:
    """Two Secrets: one whose keys are named one by one, one that is taken as a whole."""
    whole = {"EVERY_KEY": canaries["variables"]}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        for name, values in (("canaries", canaries), ("whole", whole))
    ]


def navigator() -> Manifest:
    """The example, with a key of its model, headers of its tools, variables and a file, each from a Secret, and talkative logs."""

    def of(key: str) -> Manifest:
        return {"name": "canaries", "key": key}

    found: Manifest = yaml.safe_load((ROOT / "examples/mcp.yaml").read_text())
    spec = found["spec"]
    spec["model"]["apiKeySecretRef"] = of("model")
    (maps,) = spec["tools"]
    maps["mcp"]["headersFrom"] = [{"name": "Authorization", "prefix": "Bearer ", "secretKeyRef": of("maps")}]
    header = {"name": "X-Key", "secretKeyRef": of("log-book")}
    schema = {"type": "object", "properties": {}}
    http = {"url": f"http://{MODEL}:8080/tools/log_book", "method": "POST", "headersFrom": [header], "inputSchema": schema}
    spec["tools"].append({"name": "log_book", "description": "Writes into the log book.", "http": http})
    spec["env"] = [{"name": "PLANTED", "valueFrom": {"secretKeyRef": of("variable")}}]
    spec["envFrom"] = [{"secretRef": {"name": "whole"}}]
    spec["volumes"] = [{"name": "planted", "secret": {"secretName": "canaries", "items": [{"key": "file", "path": "file"}]}}]
    spec["volumeMounts"] = [{"name": "planted", "mountPath": "/mnt/planted", "readOnly": True}]
    spec["observability"] = {"logLevel": "debug", "apiLogging": True}
    return found
