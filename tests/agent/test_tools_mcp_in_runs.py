"""MCP tools in runs on a real Dapr: reached by the agent itself and by Dapr's own MCPServer, also when the agent is killed meanwhile."""

import base64
import re
import sqlite3
from contextlib import closing

import pytest

from holdfast_api.config import McpToolConfig, RetriesConfig
from tests.agent.agents import TOKEN, step_key
from tests.agent.mcp_servers import running_mcp

pytestmark = pytest.mark.dapr

SPLIT = {"origin": "Split", "goal": "Zadar"}
SLOW = {"seconds": 6}
TURNS = [
    {
        "toolCalls": [
            {"name": "maps__route", "arguments": SPLIT},
            {"name": "built__distance", "arguments": {"km": 21}},
            {"name": "maps__forget", "arguments": {"name": "route"}},
            {"name": "built__refuse", "arguments": {}},
            {"name": "built__unheard", "arguments": {}},
            {"name": "gone__route", "arguments": {}},
        ]
    },
    {"toolCalls": [{"name": "maps__slow", "arguments": SLOW}, {"name": "built__slow", "arguments": SLOW}]},
    {"answer": "done"},
]


def _tool(**mcp):
    return {"http": None, "mcp": McpToolConfig(**mcp)}


def _history(database, run):
    """All that Dapr keeps of a run's workflow."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT key, value FROM state WHERE key LIKE '%.workflow||%'").fetchall()
    texts = {key: value if isinstance(value, bytes) else str(value).encode() for key, value in rows}
    assert any(f"||{run}||" in key for key in texts)
    return {key: text + b"".join(_decoded(part) for part in re.findall(rb"[A-Za-z0-9+/=]{16,}", text)) for key, text in texts.items()}


def _decoded(part):
    try:
        return base64.b64decode(part)
    except ValueError:
        return b""


async def test_mcp_tools_are_called_within_runs_and_a_killed_agent_repeats_a_call_under_its_key_or_joins_it(stage, tmp_path):
    async with running_mcp(tmp_path) as server:
        mcp_server = {
            "apiVersion": "dapr.io/v1alpha1",
            "kind": "MCPServer",
            "metadata": {"name": "maps-server"},
            "spec": {"endpoint": {"streamableHTTP": {"url": server.url()}}},
        }
        here = await stage(
            {"rules": [{"turns": TURNS}]},
            *("maps", "built", "gone"),
            resources=[mcp_server],
            changed={
                "maps": _tool(url=server.url(), allow=("route", "distance", "slow")),
                "built": _tool(server="maps-server"),
                "gone": _tool(url="http://127.0.0.1:9/mcp") | {"retries": RetriesConfig(max_attempts=1)},
            },
        )
        run = await here.agent.begin("go", id="trip")

        async def both_asked():
            return len(server.calls("slow")) == 2

        await here.agent.until(both_asked, within=60)
        await here.agent.kill()
        await here.agent.start()
        assert (await here.agent.ended(run, within=90))["result"] == "done"

        steps = {step["name"]: step for step in await here.agent.steps(run) if step["kind"] == "tool"}
        assert '"km": 382.5' in steps["maps__route"]["output"]
        assert steps["built__distance"]["output"] == "42"
        assert (steps["maps__forget"]["status"], steps["built__refuse"]["status"], steps["gone__route"]["status"]) == ("failed",) * 3
        assert "the road is closed" in steps["built__refuse"]["output"]
        assert "there is no tool 'maps__forget'" in steps["maps__forget"]["output"]
        assert "there is no tool 'built__unheard'; of this server there are: built__" in steps["built__unheard"]["output"], "looked again"
        assert "cannot reach 127.0.0.1" in steps["gone__route"]["output"]
        assert (steps["maps__slow"]["output"], steps["built__slow"]["output"]) == ("at last", "at last")

        ours = [call for call in server.calls("slow") if call["meta"]]
        assert {step_key(call["meta"]["holdfast.dev/idempotency-key"]) for call in ours} == {"trip/2/0"}
        assert (len(ours), len(server.calls("slow"))) == (2, 3), "Dapr's call was joined, ours was made again under its key"

        for key, text in _history(tmp_path / "state.db", run).items():
            assert f"||{run}||" not in key or (b"382.5" not in text and b"at last" not in text)

        status, listed = await here.agent.call("GET", "/tools")
        standing = {entry["name"]: entry for entry in listed["servers"]}
        assert (status, standing["maps"]["up"], standing["built"]["up"], standing["gone"]["up"]) == (200, True, True, False)
        assert "cannot reach 127.0.0.1" in standing["gone"]["reason"]
        assert {tool["name"] for tool in listed["tools"]} >= {"maps__route", "built__route"}
        async with here.agent.session.get(f"{here.agent.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            metrics = await response.text()
        told = {
            line.rpartition(" ")[0]: line.rpartition(" ")[2]
            for line in metrics.splitlines()
            if "mcp_server" in line or "tool_calls" in line
        }
        assert (told['holdfast_mcp_server_up{tool="maps"}'], told['holdfast_mcp_server_up{tool="gone"}']) == ("1.0", "0.0")
        assert told['holdfast_tool_calls_total{outcome="completed",tool="built"}'] == "1.0"
        assert "Zadar" not in here.agent.log.read_text()
        assert "an MCP server is down" in here.agent.log.read_text()

        async def purged():
            return not [key for key in _history(tmp_path / "state.db", run) if f"||mcp:{run}:" in key or "||mcp:maps-server:list:" in key]

        await here.agent.until(purged, within=30)
