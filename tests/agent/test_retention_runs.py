"""On a real Dapr: a run that is past its retention leaves nothing, in the agent's documents and in Dapr's, whatever dies meanwhile."""

import sqlite3

import pytest

from holdfast_api.config import RetentionConfig

pytestmark = pytest.mark.dapr

EAGER = """
import asyncio, os, sys
from holdfast_agent import logs, sweeper
from holdfast_agent.program import Program
from holdfast_agent.settings import Settings
sweeper._CLAIM_SECONDS = sweeper._AGAIN_SECONDS = 1.0
sweeper._SETTLE_SECONDS = -3600.0
logs.configure("info")
asyncio.run(Program(Settings.read(os.environ, host="127.0.0.1", port=int(sys.argv[1])), tidy_seconds=0.3, overdue_seconds=30.0).run())
"""
SEARCH = {"name": "search", "arguments": {"city": "Paris"}}
SCRIPT = {"rules": [{"turns": [{"toolCalls": [SEARCH, SEARCH]}, {"answer": "done"}]}], "tools": {"search": {"result": "found"}}}
SOON = RetentionConfig(completed_seconds=1.0)  # Dapr has ended the workflow by then, too


def keys_of(folder, run):
    """Every key that is left of a run, the agent's and Dapr's."""
    with sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True) as database:
        return [key for (key,) in database.execute("SELECT key FROM state") if run in key]


async def listed(agent):
    status, answer = await agent.call("GET", "/runs")
    assert status == 200, answer
    return [run["id"] for run in answer["runs"]]


async def test_a_run_is_kept_and_listed_until_its_retention_has_passed(stage, tmp_path):
    here = await stage(SCRIPT, "search", program=EAGER)
    run = await here.agent.begin("go")
    await here.agent.ended(run)
    assert await listed(here.agent) == [run]
    assert keys_of(tmp_path, run)


async def test_a_run_that_is_past_its_retention_leaves_nothing_behind(stage, tmp_path):
    here = await stage(SCRIPT, "search", program=EAGER, retention=SOON)
    for run in ("expired-1", "expired-2"):
        await here.agent.call("POST", "/run?wait=20s", json={"task": "go", "id": run})

    async def gone():
        return not keys_of(tmp_path, "expired")

    await here.agent.until(gone)
    assert await listed(here.agent) == []
    assert (await here.agent.call("GET", "/runs/expired-1"))[0] == 404
    assert len((await here.ledger("tool"))["calls"]) == 4


async def test_an_agent_that_is_killed_while_it_sweeps_leaves_the_rest_to_the_next_one(stage, tmp_path):
    here = await stage(SCRIPT, "search", program=EAGER)
    runs = [f"expired-{number}" for number in range(10)]
    for run in runs:
        status, answer = await here.agent.call("POST", "/run?wait=20s", json={"task": "go", "id": run})
        assert status == 200, answer
    await here.agent.terminate()
    here.agent.configure(here.config.model_copy(update={"retention": SOON}))
    await here.agent.start()

    async def begun():
        return any(not keys_of(tmp_path, run) for run in runs)

    async def gone():
        return not keys_of(tmp_path, "expired")

    await here.agent.until(begun)
    await here.agent.kill()
    assert keys_of(tmp_path, "expired"), "killed too late to prove anything"
    await here.agent.start()
    await here.agent.until(gone, within=30.0)
    assert await listed(here.agent) == []
    assert len((await here.ledger("tool"))["calls"]) == 2 * len(runs)


async def test_runs_of_a_process_that_was_killed_are_listed_by_the_next_one(stage):
    slow = {"rules": [{"turns": [{"answer": "hello", "latency": "2s"}]}]}
    here = await stage(slow)
    run = await here.agent.begin("go")
    await here.agent.until(lambda: here.underway("model"))
    await here.agent.kill()
    await here.agent.start()
    await here.agent.ended(run)
    assert await listed(here.agent) == [run]


async def test_a_run_that_ended_just_before_its_process_was_killed_is_listed_by_the_next_one(stage):
    here = await stage({"rules": [{"turns": [{"answer": "hello"}]}]}, program=EAGER)
    run = (await here.agent.ask("go"))["id"]
    await here.agent.kill()
    await here.agent.start()

    async def is_listed():
        return run in await listed(here.agent)

    await here.agent.until(is_listed)
