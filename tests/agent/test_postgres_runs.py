"""Runs on PostgreSQL: it and the agent are killed in the middle, and what was finished is not done again."""

import pytest

pytestmark = pytest.mark.dapr

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}
BOOK = {"name": "book", "arguments": {"city": "Paris"}}
SCRIPT = {
    "rules": [{"turns": [{"toolCalls": [SEARCH]}, {"toolCalls": [BOOK]}, {"answer": "booked"}]}],
    "tools": {"search": {"result": "found"}, "book": {"result": "done", "latency": "3s"}},
}


async def test_a_run_outlives_a_kill_of_its_store_and_of_its_agent(stage, postgres_server):
    here = await stage(SCRIPT, "search", "book", store=postgres_server.component)
    run = await here.agent.begin("go")

    async def booking():
        return any(call["name"] == "book" and call["finished"] is None for call in (await here.ledger("tool"))["calls"])

    await here.agent.until(booking)
    await postgres_server.kill()
    await postgres_server.start()
    await here.agent.kill()
    await here.agent.start()
    ended = await here.agent.ended(run, within=90.0)
    assert (ended["status"], ended["result"]) == ("COMPLETED", "booked")
    keys = [call["key"] for call in (await here.ledger("tool"))["calls"]]
    assert keys.count(f"{run}/1/0") == 1
    assert set(keys) == {f"{run}/1/0", f"{run}/2/0"}
    status, answer = await here.agent.call("GET", "/runs")
    assert (status, [one["id"] for one in answer["runs"]]) == (200, [run])
