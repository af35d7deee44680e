"""What a run did is undone when it does not end well: newest first, once each, whatever dies meanwhile. The ledger judges."""

import pytest

from holdfast_api.config import ApprovalConfig, LimitsConfig, RetriesConfig

pytestmark = pytest.mark.dapr

UNDOING = {"fly": {"compensate": "cancel_flight"}, "sleep": {"compensate": "cancel_room"}}
TOOLS = ("fly", "sleep", "cancel_flight", "cancel_room", "look")


def _call(name):
    return {"name": name, "arguments": {"city": "Rome"}}


def _script(*more, **tools):
    turns = [{"toolCalls": [_call("fly"), _call("look")]}, {"toolCalls": [_call("sleep")]}, *more]
    return {"rules": [{"turns": turns}], "tools": {name: tools.get(name, {}) for name in TOOLS}}


ENDLESS = {"toolCalls": [_call("look")], "repeat": 1000}


async def _undone(here):
    """Keys of what was undone, in the order in which it was, each once."""
    calls = (await here.ledger("tool"))["calls"]
    return list(dict.fromkeys(call["key"] for call in calls if call["key"].endswith("/undo") and call["outcome"] in {"result", "replay"}))


async def _cancel(here, run):
    status, view = await here.agent.call("POST", f"/runs/{run}/cancel", json={"reason": "plans changed"})
    assert status in {200, 202}, view


async def _once_under_way(here, name):
    async def under_way():
        return any(call["name"] == name and call["finished"] is None for call in (await here.ledger("tool"))["calls"])

    await here.agent.until(under_way, within=30)


async def test_a_run_that_fails_undoes_what_it_did_in_reverse_order(stage):
    here = await stage(_script(ENDLESS), *TOOLS, changed=UNDOING, limits=LimitsConfig(max_iterations=3))
    answer = await here.agent.ask("go", id="trip")
    assert (answer["status"], answer["error"]["type"]) == ("FAILED", "LimitExceeded")
    assert await _undone(here) == ["trip/2/0/undo", "trip/1/0/undo"]
    undone = [step for step in await here.agent.steps("trip") if step["key"].endswith("/undo")]
    assert [(step["key"], step["name"], step["status"]) for step in undone] == [
        ("trip/2/0/undo", "cancel_room", "completed"),
        ("trip/1/0/undo", "cancel_flight", "completed"),
    ]


async def test_a_run_that_ends_well_undoes_nothing(stage):
    here = await stage(_script({"answer": "booked"}), *TOOLS, changed=UNDOING)
    assert (await here.agent.ask("go"))["result"] == "booked"
    assert await _undone(here) == []


async def test_a_canceled_run_lets_its_call_settle_and_undoes_it_too(stage):
    here = await stage(_script({"answer": "booked"}, sleep={"latency": "1s"}), *TOOLS, changed=UNDOING)
    run = await here.agent.begin("go", id="trip")
    await _once_under_way(here, "sleep")
    await _cancel(here, run)
    view = await here.agent.ended(run)
    assert (view["status"], view["error"]["type"]) == ("CANCELED", "Canceled")
    assert await _undone(here) == ["trip/2/0/undo", "trip/1/0/undo"]
    assert (await here.ledger())["summary"]["tool"]["repeated"] == 0


@pytest.mark.parametrize("victim", ["agent", "daprd"])
async def test_what_is_killed_in_the_middle_of_undoing_goes_on_undoing(stage, victim):
    here = await stage(_script(ENDLESS, cancel_room={"latency": "1s"}), *TOOLS, changed=UNDOING, limits=LimitsConfig(max_iterations=3))
    run = await here.agent.begin("go", id="trip")
    await _once_under_way(here, "cancel_room")
    if victim == "agent":
        await here.agent.kill()
        await here.agent.start()
    else:
        await here.dapr.kill("daprd")
        await here.dapr.restart("daprd")
    assert (await here.agent.ended(run, within=90))["error"]["type"] == "LimitExceeded"
    assert await _undone(here) == ["trip/2/0/undo", "trip/1/0/undo"]
    keys = [call["key"] for call in (await here.ledger("tool"))["calls"] if call["key"].endswith("/undo")]
    assert keys.count("trip/1/0/undo") == 1
    assert keys.count("trip/2/0/undo") == (2 if victim == "agent" else 1)


async def test_an_undoing_that_fails_for_good_is_told_of_and_stops_no_other(stage):
    script = _script(ENDLESS, cancel_room={"faults": [{"status": 404, "times": 99}]}, cancel_flight={"faults": [{"status": 503}]})
    quick = {name: {"retries": RetriesConfig(initial_seconds=0.1)} for name in ("cancel_room", "cancel_flight")}
    here = await stage(script, *TOOLS, changed=UNDOING | quick, limits=LimitsConfig(max_iterations=3))
    answer = await here.agent.ask("go", id="trip")
    assert "not undone" in answer["error"]["message"]
    assert answer["error"]["message"].endswith("see the steps: 2/0")
    assert await _undone(here) == ["trip/1/0/undo"]
    steps = {step["key"]: step["status"] for step in await here.agent.steps("trip")}
    assert (steps["trip/2/0/undo"], steps["trip/1/0/undo"]) == ("failed", "completed")


async def test_a_call_that_a_lost_agent_began_is_undone_when_the_run_is_canceled_meanwhile(stage):
    short = {"sleep": UNDOING["sleep"] | {"timeout_seconds": 3}}
    here = await stage(_script({"answer": "booked"}, sleep={"latency": "2s"}), *TOOLS, changed=UNDOING | short)
    run = await here.agent.begin("go", id="trip")
    await _once_under_way(here, "sleep")
    await _cancel(here, run)
    await here.agent.kill()
    await here.agent.start()
    assert (await here.agent.ended(run, within=90))["status"] == "CANCELED"
    assert await _undone(here) == ["trip/2/0/undo", "trip/1/0/undo"]
    step = next(step for step in await here.agent.steps(run) if step["key"] == "trip/2/0")
    assert step["status"] == "unknown"


LOST = {"timeout_seconds": 0.3, "retries": RetriesConfig(initial_seconds=60)}


async def _retrying(here, run):
    async def retrying():
        return (await here.agent.run(run)).get("retrying")

    await here.agent.until(retrying)


async def test_a_call_without_an_answer_that_waits_for_its_next_attempt_is_undone_when_the_run_is_canceled(stage):
    script = _script({"answer": "booked"}, sleep={"faults": [{"hang": "2s"}]})
    here = await stage(script, *TOOLS, changed=UNDOING | {"sleep": UNDOING["sleep"] | LOST})
    run = await here.agent.begin("go", id="trip")
    await _retrying(here, run)
    await _cancel(here, run)
    assert (await here.agent.ended(run, within=20))["status"] == "CANCELED"
    assert await _undone(here) == ["trip/2/0/undo", "trip/1/0/undo"]
    steps = {step["key"]: step["status"] for step in await here.agent.steps(run)}
    assert steps["trip/2/0"] == "unknown"


async def test_a_call_without_an_answer_is_undone_when_another_call_of_its_turn_ends_the_run(stage):
    turns = [{"toolCalls": [_call("sleep"), _call("look")]}, {"answer": "booked"}]
    script = {"rules": [{"turns": turns}], "tools": {"sleep": {"faults": [{"hang": "2s"}]}, "cancel_room": {}}}
    never = {"look": {"approval": ApprovalConfig(timeout_seconds=2, on_timeout="fail")}}
    here = await stage(script, *TOOLS, changed=never | {"sleep": UNDOING["sleep"] | LOST})
    answer = await here.agent.ask("go", id="trip")
    assert (answer["status"], answer["error"]["type"]) == ("FAILED", "ToolFailed")
    assert await _undone(here) == ["trip/1/0/undo"]
