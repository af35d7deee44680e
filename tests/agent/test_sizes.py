"""However long a run is and whatever its tools return, what Dapr holds of it stays small and does not grow with it."""

import asyncio
import contextlib
import sqlite3

import pytest

from holdfast_api.config import LimitsConfig, ModelConfig

pytestmark = [pytest.mark.dapr, pytest.mark.timeout(240)]

TURNS = 200
KIB = 1024
HISTORY_BYTES = 256 * KIB
"""A sixteenth of Dapr's limit for a message, which a history must not outgrow. The most that was measured is in docs/durability.md."""

WIDE = ModelConfig(component="llm", label="openai/scripted", context_tokens=100_000_000)
"""A model that holds every conversation here, so that none is summed up and the script goes on as it is written."""


class Histories:
    """What Dapr holds of a run's workflow, looked at while it runs."""

    def __init__(self, folder, run):
        self._database = sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True)
        self._run = run
        self.sizes = []

    def look(self):
        """Add the bytes that there are now: keys, values, and what is written in them."""
        query = "SELECT COALESCE(SUM(LENGTH(key) + LENGTH(value)), 0) FROM state WHERE key LIKE ?"
        with contextlib.suppress(sqlite3.OperationalError):  # locked for a moment
            self.sizes.append(self._database.execute(query, (f"%workflow||{self._run}||%",)).fetchone()[0])

    def documents(self):
        """Bytes of the run's own documents."""
        query = "SELECT SUM(LENGTH(value)) FROM state WHERE key LIKE ?"
        return self._database.execute(query, (f"%run/{self._run}%",)).fetchone()[0]

    async def watch(self):
        while True:
            self.look()
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def watching(folder, run):
    histories = Histories(folder, run)
    watch = asyncio.create_task(histories.watch())
    yield histories
    watch.cancel()
    histories.look()


def search(number, count=1):
    return {"toolCalls": [{"name": "search", "arguments": {"city": f"city {number}/{call}"}} for call in range(count)]}


async def test_the_history_of_two_hundred_turns_is_as_small_as_that_of_twenty(stage, tmp_path):
    turns = [*(search(number) for number in range(TURNS - 1)), {"answer": "done"}]
    script = {"rules": [{"turns": turns}], "tools": {"search": {"result": "x" * 2 * KIB}}}
    here = await stage(script, "search", model=WIDE, limits=LimitsConfig(max_iterations=TURNS))
    async with watching(tmp_path, "long") as histories:
        await here.agent.call("POST", "/run", json={"task": "go", "id": "long"})
        ended = await here.agent.ended("long", within=120.0)
    assert ended["status"] == "COMPLETED", ended["error"]
    assert (ended["status"], ended["result"], ended["turn"]) == ("COMPLETED", "done", TURNS), ended
    middle = len(histories.sizes) // 2
    assert 0 < max(histories.sizes) < HISTORY_BYTES
    assert max(histories.sizes[middle:]) < 2 * max(histories.sizes[:middle])
    assert histories.documents() > max(histories.sizes)


async def test_answers_of_a_mebibyte_do_not_pass_through_the_workflow(stage, tmp_path):
    turns = [*(search(number, count=3) for number in range(4)), {"answer": "done"}]
    script = {"rules": [{"turns": turns}], "tools": {"search": {"result": "x" * 1000 * KIB}}}
    here = await stage(script, "search", model=WIDE)
    async with watching(tmp_path, "wide") as histories:
        await here.agent.call("POST", "/run", json={"task": "go", "id": "wide"})
        ended = await here.agent.ended("wide")
    assert ended["status"] == "COMPLETED", ended["error"]
    assert 0 < max(histories.sizes) < HISTORY_BYTES / 4
    assert histories.documents() > 12 * 256 * KIB
