"""Runs that nobody else would carry on are found and looked after: not scheduled, timer lost, ended behind our back."""

import shutil
import time

import pytest
from dapr.conf import settings
from dapr.ext.workflow.aio import DaprWorkflowClient

from holdfast_agent.documents import Head, head_key, shard_key, task_digest
from holdfast_agent.openruns import SHARDS, OpenRuns
from holdfast_agent.sidecar import Sidecar
from holdfast_agent.store import Store
from tests.agent.agents import told

pytestmark = pytest.mark.dapr

EAGER = """
import asyncio, os, sys
from holdfast_agent import logs
from holdfast_agent.program import Program
from holdfast_agent.settings import Settings
logs.configure("info")
asyncio.run(Program(Settings.read(os.environ, host="127.0.0.1", port=int(sys.argv[1])), tidy_seconds=0.5, overdue_seconds=0.5).run())
"""
FORGETFUL = (
    """
from holdfast_agent import heads, janitor, program
from holdfast_api.config import AgentConfig
heads.Head.troubled = lambda head, trouble: head
janitor._SETTLE_SECONDS = janitor._AGAIN_SECONDS = 1.0
program._THOROUGH_EACH = 1
AgentConfig.longest_call_seconds = property(lambda config: 1.0)
"""
    + EAGER
)
"""No head tells of a wait, as if the store were away whenever one begins; and what is silent for two seconds is silent for long."""
SEARCH = {"name": "search", "arguments": {"city": "Paris"}}


@pytest.fixture
async def store_of(monkeypatch):
    opened = []

    def open_store(dapr):
        monkeypatch.setattr(settings, "DAPR_HTTP_PORT", dapr.http_port)
        monkeypatch.setattr(settings, "DAPR_GRPC_PORT", dapr.grpc_port)
        monkeypatch.setattr(settings, "DAPR_API_TOKEN", "token-of-the-sidecar")
        opened.append(Sidecar())
        return Store(opened[-1], "state")

    yield open_store
    for sidecar in opened:
        await sidecar.close()


def _head(run, task, *, revision, at):
    limits = {"deadline": at + 600, "max_iterations": 5, "longest_call": 60.0}
    return Head(id=run, task=task, digest=task_digest(task), revision=revision, created=at, **limits)


async def test_a_run_whose_process_died_before_scheduling_it_is_scheduled(stage, store_of):
    here = await stage({"rules": [{"turns": [{"answer": "hello"}]}]}, program=EAGER)
    revision = (await here.agent.ask("first"))["revision"]
    store = store_of(here.dapr)
    await store.create(head_key("orphan"), _head("orphan", "go", revision=revision, at=time.time() - 5).dump())
    await OpenRuns(store, pod="gone").ensure("orphan")
    assert (await here.agent.ended("orphan"))["result"] == "hello"


@pytest.mark.parametrize(
    ("program", "why"),
    [(EAGER, "a timer is overdue"), (FORGETFUL, "nothing has happened for long")],
    ids=["the head tells of it", "nobody knows of it"],
)
async def test_a_timer_that_went_with_the_schedulers_data_is_made_up_for(stage, store_of, tmp_path, program, why):
    script = {
        "rules": [{"turns": [{"toolCalls": [SEARCH]}, {"answer": "hello"}]}],
        "tools": {"search": {"faults": [{"status": 503, "retryAfter": 4}]}},
    }
    here = await stage(script, "search", program=program)
    run = await here.agent.begin("go")

    async def waiting():
        """The timer is in the history, so the scheduler has it; the head speaks of the wait a moment earlier."""
        store_of(here.dapr)
        return any("timerCreated" in str(event) for event in await told(lambda: DaprWorkflowClient().get_workflow_history(run)))

    await here.agent.until(waiting)
    await here.dapr.kill("scheduler")
    shutil.rmtree(tmp_path / "dapr-agent" / "scheduler")
    await here.dapr.restart("scheduler")
    assert (await here.agent.ended(run, within=60))["result"] == "hello"
    assert why in here.agent.log.read_text()


async def test_a_run_terminated_through_dapr_says_so(stage, store_of):
    here = await stage(
        {"rules": [{"turns": [{"toolCalls": [SEARCH]}, {"answer": "never"}]}], "tools": {"search": {"latency": "1s"}}},
        "search",
        program=EAGER,
    )
    run = await here.agent.begin("go")
    await here.agent.until(lambda: here.underway("tool"))
    store_of(here.dapr)
    await told(lambda: DaprWorkflowClient().terminate_workflow(run))
    view = await here.agent.ended(run)
    assert (view["status"], view["error"]["type"]) == ("FAILED", "WorkflowEnded")
    assert "TERMINATED" in view["error"]["message"]


async def test_a_run_whose_workflow_was_purged_begins_again_and_finds_what_was_finished(stage, store_of):
    script = {
        "rules": [{"turns": [{"toolCalls": [SEARCH]}, {"answer": "done"}]}],
        "tools": {"search": {"latency": "1s"}},
    }
    here = await stage(script, "search")
    run = await here.agent.begin("go", id="purged")
    await here.agent.until(lambda: here.underway("tool"))
    store_of(here.dapr)
    client = DaprWorkflowClient()
    await told(lambda: client.terminate_workflow(run))
    await told(lambda: client.wait_for_workflow_completion(run, timeout_in_seconds=30))
    await told(lambda: client.purge_workflow(run))
    assert await told(lambda: client.get_workflow_state(run)) is None
    assert (await here.agent.ask("go", id=run))["result"] == "done"
    summary = (await here.ledger())["summary"]
    assert (summary["model"]["requests"], summary["tool"]["requests"]) == (2, 1)


async def test_ended_runs_leave_the_index(stage, store_of):
    here = await stage({"rules": [{"turns": [{"answer": "hello"}]}]}, program=EAGER)
    index = OpenRuns(store_of(here.dapr), pod="watcher")
    for _ in range(3):
        await here.agent.ask("go")

    async def empty():
        return await index.all() == {}

    await here.agent.until(empty)


async def test_runs_that_arrive_together_share_writes_and_are_all_there(start_dapr, sqlite_component, store_of):
    store = store_of(await start_dapr([sqlite_component]))
    writes = []

    class Counting(Store):
        async def update(self, key, change):
            writes.append(key)
            return await super().update(key, change)

    index = OpenRuns(Counting(store._sidecar, "state"), pod="a")
    for number in range(49):
        index.add(f"run-{number}")
    await index.ensure("run-49")
    assert set(await index.all()) == {f"run-{number}" for number in range(50)}
    assert len(writes) == 1
    index.drop("run-0")
    await index.flush()
    assert len(await index.all()) == 49
    await OpenRuns(store, pod="b").forget(dict.fromkeys(["run-1", "run-2"], time.time()))
    assert len(await index.all()) == 47


async def test_a_run_that_ends_at_once_costs_no_entry(start_dapr, sqlite_component, store_of):
    store = store_of(await start_dapr([sqlite_component]))
    index = OpenRuns(store, pod="a")
    index.add("quick")
    index.drop("quick")
    await index.flush()
    assert await index.all() == {}
    assert not await store.get_many(shard_key(shard) for shard in range(SHARDS))


async def test_a_run_that_nobody_scheduled_or_indexed_is_mended_when_it_is_looked_at(stage, store_of):
    here = await stage({"rules": [{"turns": [{"answer": "hello"}]}]})
    revision = (await here.agent.ask("first"))["revision"]
    head = _head("zombie", "go", revision=revision, at=time.time() - 6)
    await store_of(here.dapr).create(head_key("zombie"), head.dump())
    assert (await here.agent.ended("zombie"))["result"] == "hello"


async def test_a_cancel_whose_event_was_never_raised_is_heeded_all_the_same(stage, store_of):
    script = {"rules": [{"turns": [{"answer": "done"}]}]}
    script["rules"][0]["turns"][0]["faults"] = [{"status": 503, "times": 99}]
    here = await stage(script, program=EAGER)
    run = await here.agent.begin("go")
    store = store_of(here.dapr)

    async def waits_for_long():
        """No attempt comes before the janitor does."""
        head = Head.load((await store.get(head_key(run))).value)
        return head.trouble and head.trouble.until - time.time() > 3

    await here.agent.until(waits_for_long, within=30)
    await store.update(head_key(run), lambda document: Head.load(document).canceled(time.time(), "by hand").dump())
    assert (await here.agent.ended(run, within=10))["status"] == "CANCELED"
    assert "has not seen its head" in here.agent.log.read_text()
