"""Two replicas share the runs: whoever is there carries on, and nothing is done twice."""

import asyncio

import pytest

from tests.agent.agents import second_replica

pytestmark = pytest.mark.dapr

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}
SCRIPT = {
    "rules": [{"turns": [{"toolCalls": [SEARCH, SEARCH], "latency": "100ms"}, {"toolCalls": [SEARCH]}, {"answer": "done"}]}],
    "tools": {"search": {"latency": "300ms"}},
}


@pytest.fixture
async def pair(stage, redis_server, tmp_path):
    """Two agents, each beside a sidecar of its own, on one Redis."""
    here = await stage(SCRIPT, "search", store=redis_server.component)
    async with second_replica(here, tmp_path) as (other, daprd):
        yield here, other, daprd


async def test_runs_of_both_replicas_end_and_can_be_asked_for_at_either(pair):
    here, other, _ = pair
    runs = [await agent.begin(f"task {number}") for number in range(6) for agent in (here.agent, other)]
    for run in runs:
        assert (await other.ended(run))["result"] == (await here.agent.ended(run))["result"] == "done"
    summary = (await here.ledger())["summary"]
    assert (summary["model"]["requests"], summary["tool"]["requests"]) == (3 * len(runs), 3 * len(runs))


async def test_when_a_replica_and_its_sidecar_die_the_other_carries_their_runs_on(pair):
    here, other, daprd = pair
    runs = [await agent.begin(f"task {number}") for number in range(4) for agent in (here.agent, other)]
    await asyncio.sleep(0.2)
    await asyncio.gather(other.kill(), daprd.kill())
    for run in runs:
        assert (await here.agent.ended(run, within=60))["result"] == "done"
    ledger = await here.ledger()
    finished = [call for call in ledger["calls"] if call["kind"] == "tool" and call["delivered"]]
    assert {call["key"] for call in finished} == {f"{run}/{step}" for run in runs for step in ("1/0", "1/1", "2/0")}
    model, tool = ledger["summary"]["model"], ledger["summary"]["tool"]
    # Each run was met by the one kill at most once: at a call of the model, or at the two tools of its first turn.
    assert model["requests"] - 3 * len(runs) + (tool["requests"] - 3 * len(runs)) / 2 <= len(runs)


async def test_the_same_request_at_both_replicas_at_once_is_one_run(pair):
    here, other, _ = pair
    answers = await asyncio.gather(*(agent.ask("go", id="once") for agent in (here.agent, other) for _ in range(3)))
    assert {answer["result"] for answer in answers} == {"done"}
    assert (await here.ledger())["summary"]["model"]["requests"] == 3
