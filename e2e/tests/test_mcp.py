"""Tools of a real MCP server, made with the official SDK, in runs of an Agent in a cluster."""

from collections.abc import Callable

import pytest

from e2e.tests.support import Caller, Manifest, Namespace, eventually
from e2e.tests.voyage import KEPT_OUT, NAVIGATOR, TASK, Voyage

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def calls_of(agent: Caller, run: str) -> dict[str, Manifest]:
    """The tool calls of a run, by the name that the model used."""
    steps = eventually(lambda: agent.attempt(f"/runs/{run}/steps"), within=60, what="the steps of a run are told")["steps"]
    return {step["name"]: step for step in steps if step["kind"] == "tool"}


def standing(agent: Caller) -> tuple[bool | None, str | None, str]:
    """How the server stands: in the agent's API, why, and in its metrics."""
    (server,) = (agent.attempt("/tools") or {"servers": [{}]})["servers"]
    told = [line for line in (agent.metrics() or "").splitlines() if line.startswith("holdfast_mcp_server_up{")]
    return server.get("up"), server.get("reason"), told[0].rpartition(" ")[2] if told else ""


def test_what_an_mcp_server_says_reaches_the_answer_and_one_that_dies_costs_its_calls_and_is_found_again(
    sea: Voyage, caller: Callable[[Namespace, str], Caller]
) -> None:
    agent = caller(sea.namespace, NAVIGATOR)
    eventually(lambda: standing(agent)[::2] == (True, "1.0"), within=60, what="API and metrics say that the server is up")

    run = agent.start(TASK)
    ended = agent.ended(run)

    assert (ended["status"], ended["result"]) == ("COMPLETED", "It is 382.5 km by road."), ended
    asked, *_ = [call for call in sea.server.calls("route") if call["headers"]["idempotency-key"].startswith(f"{run}/")]
    assert asked["arguments"] == {"origin": "Split", "goal": "Zadar"}
    assert asked["headers"]["authorization"] == f"Bearer {sea.canaries['maps']}"
    kept_out = calls_of(agent, run)[f"maps__{KEPT_OUT}"]
    assert (kept_out["status"], sea.server.calls(KEPT_OUT)) == ("failed", [])
    assert f"there is no tool 'maps__{KEPT_OUT}'" in kept_out["output"]

    sea.server.kill()
    try:
        run = agent.start(TASK)
        ended = agent.ended(run)

        assert (ended["status"], ended["result"]) == ("COMPLETED", "Nobody tells me the way."), ended
        calls = calls_of(agent, run)
        assert (calls["maps__route"]["status"], calls["log_book"]["status"]) == ("failed", "completed")
        eventually(lambda: standing(agent)[::2] == (False, "0.0"), within=90, what="API and metrics say that the server is down")
        assert "maps" in str(standing(agent)[1])
        assert sea.namespace.condition(NAVIGATOR, "Ready")["status"] == "True"
    finally:
        sea.server.start()
    assert agent.ended(agent.start(TASK))["result"] == "It is 382.5 km by road."
    eventually(lambda: standing(agent)[::2] == (True, "1.0"), within=90, what="API and metrics say that the server is up again")
