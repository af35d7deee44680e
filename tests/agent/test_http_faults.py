"""What callers hear when the store fails in the middle of their request."""

import time
from types import SimpleNamespace

import pytest
from aiohttp.test_utils import TestClient, TestServer

from holdfast_agent.documents import Head
from holdfast_agent.http.app import Server
from holdfast_agent.store import StoreError
from holdfast_api.config import LimitsConfig


class Runs:
    """Accepts and waits as told: the store fails in one of the two."""

    config = SimpleNamespace(name="agent", limits=LimitsConfig())

    def __init__(self, *, stored):
        self.stored, self.asked = stored, []

    async def accept(self, task, run, **more):
        self.asked.append(run)
        if not self.stored:
            raise StoreError("the store is away")
        now = time.time()
        return Head(run, task, "d", "abc", created=now, deadline=now + 60, max_iterations=5, longest_call=60.0)

    async def wait(self, head, seconds):
        raise StoreError("the store is away")


@pytest.fixture
async def call():
    clients = []

    async def call_(runs, body):
        server = Server("agent", token=None, ready=None)
        server.parts = SimpleNamespace(runs=runs)
        clients.append(TestClient(TestServer(server.app)))
        await clients[-1].start_server()
        response = await clients[-1].post("/run?wait=1s", json=body)
        return response, await response.json()

    yield call_
    for client in clients:
        await client.close()


@pytest.mark.parametrize("body", [{"task": "go"}, {"task": "go", "id": "mine"}])
async def test_who_cannot_be_told_whether_a_run_is_stored_gets_its_id_to_ask_again_with(call, body):
    runs = Runs(stored=False)
    response, problem = await call(runs, body)
    assert (response.status, response.headers["Retry-After"]) == (503, "2")
    assert runs.asked == [problem["instance_id"]]
    assert problem["instance_id"] == body.get("id", problem["instance_id"])
    assert "instance_id" in problem["fix"]


async def test_a_run_that_is_accepted_is_answered_as_such_though_it_cannot_be_waited_for(call):
    response, answer = await call(Runs(stored=True), {"task": "go", "id": "mine"})
    assert (response.status, answer["instance_id"]) == (202, "mine")
