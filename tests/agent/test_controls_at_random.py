"""Two replicas that are rolled, and people who cancel, suspend, resume and decide at random: what they were promised holds."""

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from holdfast_api.config import ApprovalConfig, RetriesConfig
from tests.agent.agents import second_replica

pytestmark = pytest.mark.dapr

PAY = {"name": "pay", "arguments": {"city": "Paris"}}
BOOK = {"name": "book", "arguments": {"city": "Rome"}}
TURNS = [{"toolCalls": [BOOK, PAY]}, {"toolCalls": [BOOK]}, {"answer": "done", "latency": "200ms"}]
TOOLS = {"book": {"latency": "200ms", "faults": [{"status": 503, "times": 1}]}, "pay": {"latency": "100ms"}, "refund": {}}
CHANGED = {
    "pay": {"approval": ApprovalConfig(timeout_seconds=300), "compensate": "refund", "timeout_seconds": 5.0},
    "book": {"retries": RetriesConfig(initial_seconds=0.5, max_seconds=2), "compensate": "refund", "timeout_seconds": 5.0},
}
IN_FLIGHT = timedelta(seconds=0.5)
"""A call that was about to be made when its run was suspended is made."""
ENDS = ("COMPLETED", "FAILED", "CANCELED")


class People:
    """They ask whichever replica is there."""

    def __init__(self, agents):
        self.agents, self.random = agents, random.Random(4)
        self.canceled, self.ends = set(), {}
        self.suspended, self.intervals = {}, []

    async def call(self, method, path, **body):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                status, answer = await self.random.choice(self.agents).call(method, path, **body)
                if status < 500:
                    return status, answer
            await asyncio.sleep(0.1)

    async def look_after(self, run):
        while run not in self.ends:
            _, view = await self.call("GET", f"/runs/{run}")
            if view["status"] in ENDS:
                self.ends[run] = view["status"]
                self._no_longer(run)
                return
            what = self.random.random()
            if what < 0.15:
                if (await self.call("POST", f"/runs/{run}/suspend"))[1].get("status") == "SUSPENDED":
                    self.suspended.setdefault(run, datetime.now(UTC))
            elif what < 0.25:
                self._no_longer(run)
                if (await self.call("POST", f"/runs/{run}/cancel", json={}))[0] == 200:
                    self.canceled.add(run)
            elif what < 0.4:
                self._no_longer(run)
                await self.call("POST", f"/runs/{run}/resume")
            for asked in view.get("approvals", []):
                said = {"approved": self.random.random() < 0.8}
                await self.call("POST", f"/runs/{run}/approvals/{asked['call']}", json=said)
            await asyncio.sleep(0.3 * self.random.random())

    def _no_longer(self, run):
        """Note how long a run was surely suspended: from an answer that says so until somebody is about to ask for something else."""
        if run in self.suspended:
            self.intervals.append((run, self.suspended.pop(run), datetime.now(UTC)))


async def test_what_people_were_promised_holds_and_what_was_done_is_undone_or_answered_for(stage, redis_server, tmp_path):
    here = await stage(
        {"rules": [{"turns": TURNS}], "tools": TOOLS}, "pay", "book", "refund", changed=CHANGED, store=redis_server.component
    )
    async with second_replica(here, tmp_path) as (other, _):
        people = People([here.agent, other])
        runs = [f"r{number}" for number in range(16)]
        for run in runs:
            assert (await people.call("POST", "/run", json={"task": run, "id": run}))[0] == 202
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(people.look_after(run))
            for agent in people.agents:
                await agent.terminate()
                await agent.start()
    assert {people.ends[run] for run in people.canceled} <= {"CANCELED"}
    assert {people.ends[run] for run in set(runs) - people.canceled} <= {"COMPLETED"}
    calls = (await here.ledger("tool"))["calls"]
    begun = [(call["key"], datetime.fromisoformat(call["started"])) for call in calls]
    assert people.intervals
    for run, since, until in people.intervals:
        assert not [key for key, at in begun if key.split("/")[0] == run and since + IN_FLIGHT < at < until]
    done, undone = set(), set()
    for call in calls:
        if call["outcome"] == "result":
            (undone if call["name"] == "refund" else done).add(call["key"])
    completed = {run for run, status in people.ends.items() if status == "COMPLETED"}
    assert {key for key in done if key.split("/")[0] not in completed} <= {key.removesuffix("/undo") for key in undone}
    assert not {key for key in undone if key.split("/")[0] in completed}
