"""Work items past the SDK's queues: what is taken, what is left to the SDK, and what becomes of results."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import dapr.ext.workflow._durabletask.internal.protos as pb
import pytest

from holdfast_agent.workitems import WorkItems


class Worker:
    """What is used of the SDK's."""

    def __init__(self):
        self._shutdown, self._response_stream, self.sent, self.replayed = threading.Event(), None, [], []
        pools = {name: ThreadPoolExecutor(1) for name in ("thread_pool", "orchestration_thread_pool")}
        self._async_worker_manager = SimpleNamespace(**pools)

    def _make_stream_teardown(self, stream):
        return lambda: stream

    def _execute_orchestrator(self, request, token, teardown):
        self.replayed.append((request.instanceId, token, teardown()))

    def _build_activity_result_response(self, request, run, answer, token):
        return "result", answer

    def _build_activity_failure_response(self, request, run, error, token):
        return "failure", str(error)

    def _deliver_activity_response(self, request, response, token, run):
        self.sent.append((request.name, run, token, *response))

    def close(self):
        for pool in vars(self._async_worker_manager).values():
            pool.shutdown()


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.close()


def activity(name, text='{"n": 1}', token="t"):
    request = pb.ActivityRequest(name=name, workflowInstance=pb.WorkflowInstance(instanceId="run"))
    request.input.value = text
    return pb.WorkItem(activityRequest=request, completionToken=token)


def read(worker, items):
    """As the SDK's reader does: what is left of the items."""
    stream = list(items)
    worker._make_stream_teardown(stream)
    return list(worker._response_stream)


async def test_activities_run_here_workflows_in_their_pool_and_all_else_is_left_to_the_sdk(worker, eventually):
    home, passed = threading.get_ident(), []

    async def double(payload):
        assert threading.get_ident() == home
        return {"n": 2 * payload["n"], "text": "ž"}

    WorkItems(worker, {"double": double}, most=10, passed=passed.append)
    workflow = pb.WorkItem(workflowRequest=pb.WorkflowRequest(instanceId="run"), completionToken="w")
    items = [activity("double"), workflow, activity("unknown"), pb.WorkItem(healthPing=pb.HealthPing())]
    assert await asyncio.to_thread(read, worker, items) == items[2:]

    async def all_of_it():
        return worker.sent and worker.replayed

    await eventually(all_of_it)
    assert worker.sent == [("double", "run", "t", "result", '{"n":2,"text":"ž"}')]
    assert worker.replayed == [("run", "w", items)]
    assert passed == [len('{"n": 1}') + len('{"n":2,"text":"ž"}')]


async def test_an_activity_that_breaks_is_told_to_the_workflow(worker, eventually):
    async def broken(payload):
        raise RuntimeError("on purpose")

    WorkItems(worker, {"broken": broken}, most=10, passed=lambda _: None)
    await asyncio.to_thread(read, worker, [activity("broken"), activity("broken", "no JSON")])

    async def both():
        return len(worker.sent) == 2

    await eventually(both)
    assert [kind for *_, kind, _ in worker.sent] == ["failure", "failure"]


async def test_an_activity_whose_result_or_error_cannot_be_sent_is_told_to_the_workflow(worker, eventually, caplog):
    caplog.set_level(logging.CRITICAL)  # a report with half a surrogate pair cannot be sent between processes of pytest

    class Strict(Worker):
        """Takes what the SDK's can put into a message."""

        def _build_activity_result_response(self, request, run, answer, token):
            return "result", pb.ActivityRequest(name=answer).name

        def _build_activity_failure_response(self, request, run, error, token):
            return "failure", pb.ActivityRequest(name=str(error)).name

    async def half(payload):
        return {"text": "\ud800"}

    async def broken(payload):
        raise ValueError("\ud800")

    worker.__class__ = Strict
    WorkItems(worker, {"half": half, "broken": broken}, most=10, passed=lambda _: None)
    await asyncio.to_thread(read, worker, [activity("half"), activity("broken")])

    async def both():
        return len(worker.sent) == 2

    await eventually(both)
    assert [(name, kind, "surrogates not allowed" in text) for name, *_, kind, text in sorted(worker.sent)] == [
        ("broken", "failure", True),
        ("half", "failure", True),
    ]


async def test_no_more_run_at_once_than_may(worker, eventually):
    running, most, gate = set(), [], asyncio.Event()

    async def slow(payload):
        running.add(payload["n"])
        most.append(len(running))
        await gate.wait()
        running.discard(payload["n"])
        return {}

    WorkItems(worker, {"slow": slow}, most=2, passed=lambda _: None)
    await asyncio.to_thread(read, worker, [activity("slow", f'{{"n": {number}}}') for number in range(5)])

    async def two():
        return len(running) == 2

    await eventually(two)
    gate.set()

    async def all_of_them():
        return len(worker.sent) == 5

    await eventually(all_of_them)
    assert max(most) == 2


async def test_nothing_is_begun_and_nothing_raised_once_the_worker_stops(worker, eventually, caplog):
    begun, gate = [], asyncio.Event()

    async def slow(payload):
        begun.append(payload)
        await gate.wait()
        return {}

    WorkItems(worker, {"slow": slow}, most=10, passed=lambda _: None)
    await asyncio.to_thread(read, worker, [activity("slow")])

    async def one():
        return len(begun) == 1

    await eventually(one)
    worker.close()
    workflow = pb.WorkItem(workflowRequest=pb.WorkflowRequest(instanceId="run"))
    assert await asyncio.to_thread(read, worker, [workflow, activity("unknown")]) == []
    worker._shutdown.set()
    assert await asyncio.to_thread(read, worker, [activity("slow")]) == []
    with caplog.at_level("INFO"):
        gate.set()

        async def told():
            return "Dapr will ask for it again" in caplog.text

        await eventually(told)
    assert (len(begun), worker.sent) == (1, [])
