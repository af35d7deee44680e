"""What a failing store does to a step: what was not begun is tried again for long, what was paid for is not paid for without end."""

import pytest

from holdfast_agent import attempts, loop
from holdfast_agent.activities import Activity, Steps, steps
from holdfast_agent.activities.ending import end
from holdfast_agent.flights import Flights
from holdfast_agent.loop import Loop
from holdfast_agent.store import StoreError

MODEL = loop.model_step(Loop(run="r", revision="abc", deadline=1000.0, max_iterations=5))


class Away:
    """A store that does nothing of what is asked."""

    def __init__(self, *, hopeless):
        self._error = StoreError("away", hopeless=hopeless)

    async def create(self, key, value):
        raise self._error

    async def update(self, key, change, *, known=None):
        raise self._error


class Index:
    def add(self, run):
        pass


@pytest.fixture
def answer(monkeypatch):
    """The envelope of a model step whose work met a failing store."""
    monkeypatch.setattr(steps, "_PERSIST_SECONDS", -1.0)

    async def answer_(work, *, hopeless=False, attempt=1):
        store = Away(hopeless=hopeless)
        parts = Steps(sidecar=None, store=store, revisions=None, flights=Flights(), index=Index(), ended=lambda _: None)
        activity = Activity(lambda _: MODEL.key, lambda steps, _, __: work(steps))
        return await parts.once(activity, {"run": "r", "attempt": attempt})

    return answer_


async def test_a_result_that_the_store_refuses_ends_the_run_at_once(answer):
    refused = await answer(lambda steps: steps.persist(MODEL.key, {}), hopeless=True)
    assert attempts.judge(MODEL, {}, refused).result == refused
    assert loop.failed([MODEL], [refused]) == {"type": "StoreFailed", "message": "away"}


async def test_a_result_that_could_not_be_stored_for_long_is_asked_for_twice_more(answer):
    lost = await answer(lambda steps: steps.persist(MODEL.key, {}))
    assert attempts.judge(MODEL, {"unstored": 1}, lost).cause == "unstored"
    assert attempts.judge(MODEL, {"unstored": 2}, lost).result == lost
    assert loop.failed([MODEL], [lost])["type"] == "StoreFailed"


async def test_what_costs_nothing_to_do_again_is_tried_for_as_long_as_the_run_has(answer):
    waiting = await answer(lambda steps: end(steps, "r", lambda head: head))
    assert attempts.judge(MODEL, {"store": 500}, waiting).cause == "store"


async def test_an_end_that_the_store_refuses_fails_the_run(answer):
    refused = await answer(lambda steps: end(steps, "r", lambda head: head), hopeless=True)
    assert attempts.judge(MODEL, {}, refused).result == refused


async def test_a_further_attempt_begins_when_the_head_can_be_written(answer):
    began = await answer(lambda _: None, attempt=2)
    assert (began["error"]["class"], began["error"]["cause"]) == ("transient", "store")
