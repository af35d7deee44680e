"""Calls that may have happened though nobody heard of it are undone as well, and not before they must be over. The ledger judges."""

import asyncio
import time

import pytest

from holdfast_api.config import ApprovalConfig, LimitsConfig, RetriesConfig
from tests.agent.replay import ROOT

pytestmark = pytest.mark.dapr

PAY = {"name": "pay", "arguments": {"city": "Rome"}}
AGAIN = {"toolCalls": [{"name": "look", "arguments": {"city": "Rome"}}], "repeat": 1000}


def _script(*then, **pay):
    return {"rules": [{"turns": [{"toolCalls": [PAY]}, *then]}], "tools": {"pay": pay, "refund": {}, "look": {}}}


async def _call(here, key):
    return next((call for call in (await here.ledger("tool"))["calls"] if call["key"] == key), None)


async def _status(here, key):
    return next(step["status"] for step in await here.agent.steps("trip") if step["key"] == key)


async def test_a_call_that_is_refused_after_an_attempt_without_an_answer_is_undone(stage):
    refused = _script(AGAIN, faults=[{"hang": "2s"}, {"status": 409}])
    pay = {"compensate": "refund", "timeout_seconds": 0.3, "retries": RetriesConfig(initial_seconds=0.1)}
    here = await stage(refused, "pay", "refund", "look", changed={"pay": pay}, limits=LimitsConfig(max_iterations=2))
    assert (await here.agent.ask("go", id="trip"))["error"]["type"] == "LimitExceeded"
    assert await _status(here, "trip/1/0") == "unknown"
    assert (await _call(here, "trip/1/0/undo"))["outcome"] == "result"


async def test_a_call_that_goes_on_after_its_agent_was_lost_is_undone_once_it_is_over(stage):
    here = await stage(
        _script({"answer": "paid"}, latency="6s"), "pay", "refund", changed={"pay": {"compensate": "refund", "timeout_seconds": 7}}
    )
    await here.agent.begin("go", id="trip")
    await here.agent.until(lambda: here.underway("tool"))
    await here.agent.call("POST", "/runs/trip/cancel", json={})
    await here.agent.kill()
    await here.agent.start()

    async def awaited():
        return await _status(here, "trip/1/0") == "awaiting_outcome"

    await here.agent.until(awaited, within=30)
    assert await _call(here, "trip/1/0/undo") is None
    assert (await here.agent.ended("trip"))["status"] == "CANCELED"
    paid, refunded = await _call(here, "trip/1/0"), await _call(here, "trip/1/0/undo")
    assert paid["finished"] < refunded["started"]
    assert (await here.ledger())["summary"]["tool"]["requests"] == 2


OUTAGE = """
import pathlib, sys
sys.path.insert(0, {root!r})
from holdfast_agent.store import Store, StoreError

flag = pathlib.Path({flag!r})
plain = {{name: getattr(Store, name) for name in ("get_many", "create", "update")}}

def away(name):
    async def asked(self, *args, **more):
        if flag.exists():
            raise StoreError("away")
        found = await plain[name](self, *args, **more)
        if name == "create" and args[0] == "run/trip/1/0":
            flag.touch()
        return found
    return asked

for name in plain:
    setattr(Store, name, away(name))
from holdfast_agent.__main__ import main
sys.exit(main(["serve", "--host", "127.0.0.1", "--port", sys.argv[1]]))
"""


async def test_a_call_that_was_stored_just_before_the_store_went_away_until_the_deadline_is_undone(stage, tmp_path):
    flag = tmp_path / "away"
    pay = {"compensate": "refund", "approval": ApprovalConfig(timeout_seconds=600)}
    here = await stage(
        _script({"answer": "paid"}),
        *("pay", "refund"),
        changed={"pay": pay},
        limits=LimitsConfig(run_timeout_seconds=6),
        program=OUTAGE.format(root=str(ROOT), flag=str(flag)),
    )
    began = time.monotonic()
    await here.agent.begin("go", id="trip")

    async def approved():
        return (await here.agent.call("POST", "/runs/trip/approvals/1.0", json={"approved": True}))[0] == 200

    await here.agent.until(approved)

    async def outage():
        return flag.exists()

    await here.agent.until(outage)
    await asyncio.sleep(began + 7 - time.monotonic())
    flag.unlink()
    view = await here.agent.ended("trip")
    assert (view["status"], view["error"]["type"]) == ("FAILED", "RunTimeout")
    assert await _status(here, "trip/1/0") == "completed"
    assert (await _call(here, "trip/1/0/undo"))["outcome"] == "result"
