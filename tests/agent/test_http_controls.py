"""What people do to runs over HTTP, and what they hear: each answer is held against the OpenAPI document."""

import asyncio

import pytest

from holdfast_api.config import ApprovalConfig, LimitsConfig
from tests.agent.agents import http_tool
from tests.agent.contracts import Contract

pytestmark = pytest.mark.dapr

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}


def _script(*, turns=1, tool="1ms", model="1ms"):
    return {
        "rules": [{"turns": [*[{"toolCalls": [SEARCH], "latency": model}] * turns, {"answer": "done", "latency": model}]}],
        "tools": {"search": {"latency": tool, "result": "sunny"}, "unsearch": {"result": "forgotten"}},
    }


@pytest.fixture
async def open_api(stage):
    """`await open_api(script, tool={...}, **config)` -> the contract of an agent whose tool `search` is as told."""

    async def build(script, *, tool=None, **config):
        here = await stage(script)
        tools = (http_tool(here.script_url, "search").model_copy(update=tool or {}), http_tool(here.script_url, "unsearch"))
        await here.agent.terminate()
        here.agent.configure(here.config.model_copy(update={"tools": tools, **config}))
        await here.agent.start()
        contract = await Contract.of(here.agent)
        contract.here = here
        return contract

    return build


async def _until(api, run, probe):
    async def look():
        view = await api.get(f"/runs/{run}")
        return view if probe(view) else None

    return await api.agent.until(look, within=30)


async def _begun(api, **body):
    return (await api.post("/run", {"task": "go", **body}, 202))["instance_id"]


def _ended(view):
    return view["status"] in ("COMPLETED", "FAILED", "CANCELED")


async def test_a_canceled_run_is_undone_and_a_cancel_can_be_sent_as_often_as_one_likes(open_api):
    api = await open_api(_script(turns=2, model="700ms"), tool={"compensate": "unsearch"})
    run = await _begun(api)

    async def one_call_is_done():
        steps = (await api.get(f"/runs/{run}/steps"))["steps"]
        return any(step["kind"] == "tool" and step["status"] == "completed" for step in steps)

    await api.agent.until(one_call_is_done, within=30)
    first = await api.post(f"/runs/{run}/cancel", {"reason": "no longer wanted"})
    assert (first["cancel"]["reason"], first["cancel"]["forced"]) == ("no longer wanted", False)
    again = await api.post(f"/runs/{run}/cancel")
    assert again["cancel"] == first["cancel"]
    end = await _until(api, run, _ended)
    assert end["status"] == "CANCELED"
    assert (await api.post(f"/runs/{run}/cancel"))["status"] == "CANCELED"
    steps = (await api.get(f"/runs/{run}/steps"))["steps"]
    assert (steps[-1]["kind"], steps[-1]["name"], steps[-1]["undoes"], steps[-1]["id"]) == (
        "compensation",
        "unsearch",
        f"{run}/1/0",
        "undo.1",
    )
    assert (await api.get(f"/v1.0/workflows/dapr/{run}"))["runtimeStatus"] == "TERMINATED"
    async with api.agent.session.get(f"{api.agent.url}/runs/{run}/events", headers={"Authorization": "Bearer token-of-the-app"}) as stream:
        told = await stream.text()
    assert told.index("undo.1") < told.index("event: end")


async def test_a_forced_cancel_ends_a_run_at_once_and_says_so(open_api):
    api = await open_api(_script(tool="20s"))
    run = await _begun(api)
    await _until(api, run, lambda view: any(step["kind"] == "tool" for step in view.get("pending", ())))
    view = await api.post(f"/runs/{run}/cancel?force=true", {"reason": "stuck", "by": "ann"})
    assert (view["cancel"]["forced"], view["cancel"]["by"]) == (True, "ann")
    assert (await _until(api, run, _ended))["status"] == "CANCELED"
    status, problem = await api.call("POST", f"/runs/{run}/cancel?force=1")
    assert (status, problem["field"]) == (422, "force")


async def test_a_suspended_run_waits_at_its_next_turn_and_goes_on_when_it_is_let(open_api):
    api = await open_api(_script(tool="300ms"))
    run = await _begun(api)
    first = await api.post(f"/runs/{run}/suspend")
    assert first["status"] == "SUSPENDED"
    assert (await api.post(f"/runs/{run}/suspend"))["suspended"] == first["suspended"]
    waiting = await _until(api, run, lambda view: view.get("pending") and view["pending"][0]["status"] == "suspended")
    assert (await api.get(f"/v1.0/workflows/dapr/{run}"))["runtimeStatus"] == "SUSPENDED"
    assert [one["id"] for one in (await api.get("/runs?status=SUSPENDED"))["runs"]] == [run]
    assert waiting["status"] == "SUSPENDED"
    assert (await api.post(f"/runs/{run}/resume"))["status"] == "RUNNING"
    await api.post(f"/runs/{run}/resume") if not _ended(await api.get(f"/runs/{run}")) else None
    assert (await _until(api, run, _ended))["result"] == "done"


async def test_a_call_that_needs_a_yes_is_shown_with_what_it_would_do_and_where_to_say_it(open_api):
    api = await open_api(_script(), tool={"approval": ApprovalConfig(timeout_seconds=600)})
    run = await _begun(api)
    view = await _until(api, run, lambda view: view.get("approvals"))
    (asked,) = view["approvals"]
    assert (asked["call"], asked["tool"], asked["decide"]) == ("1.0", "search", f"/runs/{run}/approvals/1.0")
    assert "Paris" in asked["arguments"]
    assert view["pending"][0]["status"] == "awaiting_approval"
    await api.agent.kill()
    await api.agent.start()
    said = {"approved": True, "reason": "fine"}
    assert (await api.call("POST", asked["decide"], json=said, headers={"dapr-caller-app-id": "desk"}))[0] == 200
    end = await _until(api, run, _ended)
    assert end["result"] == "done"
    step = (await api.get(f"/runs/{run}/steps"))["steps"][1]
    assert [step["approval"][name] for name in ("decision", "reason", "by")] == ["approved", "fine", "desk"]
    (record,) = [one for one in (await api.get(f"/runs/{run}/audit"))["records"] if one["kind"] == "approval"]
    assert (record["decision"], record["by"]) == ("approved", "desk")
    assert (await api.post(asked["decide"], {"approved": True}))["status"] == "COMPLETED"
    status, problem = await api.call("POST", asked["decide"], json={"approved": False})
    assert (status, "COMPLETED" in problem["detail"], "rerun" in problem["fix"]) == (409, True, True)


async def test_of_two_people_who_disagree_the_second_one_hears_of_the_first(open_api):
    api = await open_api(_script(model="1s"), tool={"approval": ApprovalConfig(timeout_seconds=600)})
    run = await _begun(api)
    (asked,) = (await _until(api, run, lambda view: view.get("approvals")))["approvals"]
    await api.post(asked["decide"], {"approved": False, "reason": "too dear"})
    await api.post(asked["decide"], {"approved": False})
    status, problem = await api.call("POST", asked["decide"], json={"approved": True})
    assert (status, problem["field"]) == (409, "call")
    assert "rejected" in problem["detail"]
    await _until(api, run, _ended)
    assert (await api.get(f"/runs/{run}/steps"))["steps"][1]["status"] == "rejected"


async def test_controls_of_what_is_not_there_or_has_ended_are_refused_in_clear_words(open_api, subtests):
    api = await open_api(_script())
    run = (await api.post("/run?wait=30s", {"task": "go"}))["id"]
    bodies = {"approvals/1.0": {"approved": True}}
    for control in ("cancel", "cancel?force=true", "suspend", "resume", "approvals/1.0"):
        with subtests.test(control):
            status, problem = await api.call("POST", f"/runs/{run}/{control}", json=bodies.get(control))
            assert (status, problem["value"], "COMPLETED" in problem["detail"]) == (409, run, True)
            status, problem = await api.call("POST", f"/runs/unknown/{control}", json=bodies.get(control))
            assert (status, problem["field"], problem["value"]) == (404, "id", "unknown")
    for path, body, field in (
        (f"/runs/{run}/approvals/x", {"approved": True}, "call"),
        (f"/runs/{run}/approvals/1.0", {"approved": "yes"}, "approved"),
        (f"/runs/{run}/approvals/1.0", {}, "approved"),
        (f"/runs/{run}/cancel", {"reason": 7}, "reason"),
        (f"/runs/{run}/cancel", {"reason": "x" * 2001}, "reason"),
        (f"/runs/{run}/cancel", {"by": 7}, "by"),
        (f"/runs/{run}/approvals/1.0", {"approved": True, "by": "x" * 201}, "by"),
        (f"/runs/{run}/suspend", {"reason": "x"}, "reason"),
        (f"/runs/{run}/rerun", {"id": "-"}, "id"),
        ("/runs/a||b/cancel", None, "id"),
    ):
        with subtests.test(path, body=body):
            status, problem = await api.call("POST", path, json=body)
            assert (status, problem["field"], bool(problem["fix"])) == (422, field, True)
    status, problem = await api.call("POST", "/runs/unknown/rerun")
    assert (status, problem["field"]) == (404, "id")


async def test_a_rerun_is_a_run_of_its_own_that_names_the_first_and_asking_twice_for_one_id_is_one_run(open_api):
    api = await open_api(_script())
    run = (await api.post("/run?wait=30s", {"task": "go", "session_id": "s"}))["id"]
    answers = [await api.post(f"/runs/{run}/rerun", {"id": "again"}, 202) for _ in range(2)]
    assert [answer["instance_id"] for answer in answers] == ["again", "again"]
    end = await _until(api, "again", _ended)
    assert (end["rerun_of"], end["session_id"], end["result"]) == (run, "s", "done")
    other = await api.post(f"/runs/{run}/rerun", None, 202)
    assert other["instance_id"] not in (run, "again")


async def test_what_is_too_much_at_once_is_sent_away_with_the_time_to_come_back(open_api):
    api = await open_api(_script(tool="3s"), limits=LimitsConfig(max_concurrent_runs=1))
    run = await _begun(api, id="first")
    status, problem = await api.call("POST", "/run", json={"task": "go"})
    assert (status, "maxConcurrentRuns" in problem["detail"]) == (429, True)
    async with api.agent.session.post(
        f"{api.agent.url}/run", json={"task": "go"}, headers={"Authorization": "Bearer token-of-the-app"}
    ) as response:
        assert int(response.headers["Retry-After"]) >= 1
    assert await _begun(api, id="first") == run
    await _until(api, run, _ended)

    async def room():
        status, _ = await api.call("POST", "/run", json={"task": "go"})
        return status == 202

    await api.agent.until(room)


async def test_a_control_that_cannot_be_stored_says_so_and_when_to_ask_again(stage, redis_server):
    here = await stage(_script(tool="2s"), "search", store=redis_server.component)
    api = await Contract.of(here.agent)
    run = await _begun(api)
    await redis_server.kill()
    status, problem = await asyncio.wait_for(api.call("POST", f"/runs/{run}/suspend"), 60)
    assert (status, "asked for twice" in problem["fix"]) == (503, True)
    await redis_server.start()

    async def suspended():
        status, view = await api.call("POST", f"/runs/{run}/suspend")
        return status == 200 and view["status"] == "SUSPENDED"

    await api.agent.until(suspended, within=60)


async def test_a_rerun_under_the_id_of_another_run_is_refused_though_it_has_the_same_task(open_api):
    api = await open_api(_script())
    for run in ("first", "second"):
        await api.post("/run?wait=30s", {"task": "go", "id": run})
    await api.post("/runs/first/rerun", {"id": "again"}, 202)
    for run, taken in (("first", "first"), ("first", "second"), ("second", "again")):
        status, problem = await api.call("POST", f"/runs/{run}/rerun", json={"id": taken})
        assert (status, problem["field"], problem["value"]) == (409, "id", taken)
