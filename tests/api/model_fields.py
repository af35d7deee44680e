"""Models, stores and tools that are somebody else's: what is taken, and what is refused with which words."""

from typing import Any

OPENAI = {"provider": "openai", "name": "m"}
SECRET = {"name": "keys", "key": "token"}
HTTP = {"url": "http://example.test/x"}
MCP = {"url": "https://example.test/mcp"}


def model(**fields: Any) -> dict[str, Any]:
    return {"model": fields}


def tools(*items: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [{"name": f"t{number}"} | item for number, item in enumerate(items)]}


TAKEN: list[dict[str, Any]] = [
    model(provider="googleai", name="m", apiKeySecretRef=SECRET),
    model(provider="mistral", name="m", apiKeySecretRef=SECRET),
    model(provider="bedrock", name="m", options={"region": "eu-west-1"}, optionsFrom=[{"name": "accessKey", "secretKeyRef": SECRET}]),
    model(provider="anthropic", name="m", endpoint="https://x.test/anthropic/v1", options={"apiType": "foundry"}),
    model(provider="deepseek", name="m", options={"maxTokens": "4096"}),
    model(provider="huggingface", name="m", endpoint="http://tgi:8080/v1"),
    model(provider="ollama", name="m", endpoint="http://ollama:11434/v1", temperature=0),
    model(**OPENAI, options=None, optionsFrom=None),
    {"model": OPENAI | {"routes": [{"tools": ["maps", "maps__route", "t"], "model": OPENAI}]}}
    | {"tools": [{"name": "maps", "mcp": MCP}, {"name": "t", "http": HTTP}]},
    {"model": OPENAI | {"routes": [{"tools": ["ask_teammate"], "model": OPENAI}]}, "team": "travel"},
    {"memory": {"model": OPENAI}},
    {"state": {"type": "state.mongodb"}},
    {"state": {"type": "state.my-own"}},
    tools({"mcp": MCP | {"allow": ["route", "a.b/c"], "headers": {"X": "y"}, "headersFrom": [{"name": "K", "secretKeyRef": SECRET}]}}),
    tools({"mcp": {"url": "http://x", "transport": "sse", "server": None}}, {"mcp": {"server": "shared"}}),
    tools({"agent": {"name": "critic"}, "http": None}),
    tools({"http": HTTP, "compensate": "bookings__cancel"}, {"name": "bookings", "mcp": MCP}),
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    (model(provider="googleai", name="m"), "need apiKeySecretRef"),
    (model(provider="mistral", name="m", apiKeySecretRef=SECRET, endpoint="http://x"), "Dapr ignores an endpoint"),
    (model(provider="azure", name="m", endpoint="https://x.test"), "options.apiVersion is missing"),
    (model(provider="bedrock", name="m", apiKeySecretRef=SECRET), "bedrock has no API key"),
    (model(provider="bedrock", name="m", temperature=0), "does not send a temperature of 0"),
    (model(component="x", optionsFrom=[{"name": "key", "secretKeyRef": SECRET}]), "leave these out of optionsFrom"),
    (model(component="x", optionsFrom=[{"name": "region", "secretKeyRef": SECRET}]), "optionsFrom belongs to the Component"),
    (model(**OPENAI, options={"Model": "other"}), "fields of their own"),
    (model(**OPENAI, options={"key": "in-clear"}), "fields of their own"),
    (model(**OPENAI, options={"responseCacheTTL": "10m"}), "a cache of answers"),
    (model(**OPENAI, options={"apiType": "azure"}), "apiType follows from provider"),
    ({"model": OPENAI | {"routes": [{"tools": ["nobody"], "model": OPENAI}]}}, "must name tools of this Agent"),
    ({"model": OPENAI | {"routes": [{"tools": ["ask_teammate"], "model": OPENAI}]}}, "must name tools of this Agent"),
    ({"team": "travel", "tools": [{"name": "ask_teammate", "http": HTTP}]}, "a member of a team asks the others"),
    ({"model": OPENAI | {"routes": [{"tools": [], "model": OPENAI}]}}, "spec.model.routes[0].tools"),
    ({"model": OPENAI | {"routes": [{"tools": ["t0"], "model": {}}]}} | tools({"http": HTTP}), "exactly one of provider"),
    ({"model": OPENAI | {"routes": [{"tools": ["t0", "t0"], "model": OPENAI}]}} | tools({"http": HTTP}), "Duplicate value"),
    ({"model": OPENAI | {"fallbacks": [{"provider": "googleai", "name": "m"}]}}, "need apiKeySecretRef"),
    ({"memory": {"model": {"provider": "openai"}}}, "say which model"),
    ({"state": {"type": "state.azure.blobstorage"}}, "need transactions and ETags"),
    ({"state": {"type": "state.memcached", "metadata": []}}, "need transactions and ETags"),
    (tools({"mcp": MCP, "agent": {"name": "b"}}), "exactly one of http, python, mcp and agent"),
    (tools({"mcp": {}}), "exactly one of url"),
    (tools({"mcp": MCP | {"server": "x"}}), "exactly one of url"),
    (tools({"mcp": {"server": "x", "headers": {"A": "b"}}}), "belong to the MCPServer"),
    (tools({"mcp": {"server": "x", "transport": "sse"}}), "belong to the MCPServer"),
    (tools({"mcp": {"server": "other/x"}}), "mcp.server"),
    (tools({"mcp": MCP | {"allow": []}}), "mcp.allow"),
    (tools({"mcp": MCP | {"allow": ["a", "a"]}}), "Duplicate value"),
    (tools({"mcp": MCP | {"transport": "stdio"}}), "Unsupported value"),
    (tools({"mcp": MCP, "name": "a__b"}), "must not hold __"),
    (tools({"mcp": MCP, "name": "a_"}), "must not hold __"),
    (tools({"mcp": MCP, "name": "a" * 41}), "at most 40 characters"),
    (tools({"mcp": {"server": "x"}, "delivery": "atMostOnce"}), "atMostOnce cannot be promised"),
    (
        tools({"mcp": MCP, "name": "maps"}, {"http": HTTP, "name": "maps__route"}),
        "tool maps__route: a tool's name must not begin with the name of an mcp tool",
    ),
    (tools({"agent": {"name": "a"}}), "an Agent cannot be its own tool"),
    (tools({"agent": {"name": "critic.other"}}), "agent.name"),
    (tools({"http": HTTP, "compensate": "t1"}, {"mcp": MCP}), "compensate must name another tool"),
    (tools({"http": HTTP, "compensate": "t1__x"}, {"mcp": MCP, "approval": {}}), "cannot ask for approval"),
]
