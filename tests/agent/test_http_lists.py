"""Lists over HTTP: runs with filters and cursors, and sessions. Each answer is held against the OpenAPI document."""

import pytest

from holdfast_api.config import ApprovalConfig
from tests.agent.contracts import Contract

pytestmark = pytest.mark.dapr

SCRIPT = {
    "rules": [
        {"task": "fail", "turns": [{"answer": "", "faults": [{"times": 99, "status": 400}]}]},
        {"turns": [{"answer": "hello"}]},
    ]
}


@pytest.fixture
async def api(stage):
    return await Contract.of((await stage(SCRIPT)).agent)


async def _pages(api, path):
    """All ids, and how many pages they came in."""
    ids, pages = [], 0
    while path:
        page = await api.get(path)
        ids += [one["id"] for one in page.get("runs", page.get("sessions"))]
        pages, path = pages + 1, page.get("next")
    return ids, pages


async def test_runs_are_listed_newest_first_in_pages_that_together_are_all(api):
    for number in range(7):
        await api.post("/run?wait=30s", {"task": f"task {number}", "id": f"run-{number}"})
    newest_first = [f"run-{number}" for number in reversed(range(7))]
    assert await _pages(api, "/runs") == (newest_first, 1)
    ids, pages = await _pages(api, "/runs?limit=3")
    assert (ids, pages) == (newest_first, 3)
    first = await api.get("/runs?limit=3")
    await api.post("/run?wait=30s", {"task": "later", "id": "later"})
    assert [one["id"] for one in (await api.get(first["next"]))["runs"]] == newest_first[3:6]
    await api.agent.kill()
    await api.agent.start()
    assert [one["id"] for one in (await api.get(first["next"]))["runs"]] == newest_first[3:6]


async def test_a_list_can_be_narrowed_to_a_session_and_to_how_runs_stand(api):
    for number in range(4):
        await api.post("/run?wait=30s", {"task": "talk", "id": f"talk-{number}", "session_id": f"s{number % 2}"})
    await api.post("/run?wait=30s", {"task": "fail", "id": "bad"})
    assert (await _pages(api, "/runs?session_id=s1&limit=1"))[0] == ["talk-3", "talk-1"]
    assert (await _pages(api, "/runs?status=FAILED"))[0] == ["bad"]
    (failed,) = (await api.get("/runs?status=FAILED&limit=5"))["runs"]
    assert (failed["status"], failed["error"]["type"]) == ("FAILED", "ModelFailed")
    assert (await _pages(api, "/runs?status=COMPLETED&session_id=s0"))[0] == ["talk-2", "talk-0"]
    assert (await _pages(api, "/runs?status=RUNNING"))[0] == []


async def test_a_session_is_listed_read_and_forgotten_and_forgetting_can_be_repeated(api):
    assert await _pages(api, "/sessions") == ([], 1)
    for number in range(3):
        await api.post("/run?wait=30s", {"task": f"hi {number}", "session_id": f"s{number}"})
    await api.post("/run?wait=30s", {"task": "and?", "id": "more", "session_id": "s1"})
    ids, pages = await _pages(api, "/sessions?limit=1")
    assert (sorted(ids), pages) == (["s0", "s1", "s2"], 3)
    session = await api.get("/sessions/s1")
    assert [(entry["task"], entry["answer"]) for entry in session["entries"]] == [("hi 1", "hello"), ("and?", "hello")]
    assert session["entries"][1]["run"] == "more"
    recall = (await api.get("/runs/more/steps"))["steps"][0]
    assert (recall["kind"], recall["name"], recall["entries"]) == ("recall", "s1", 1)
    for _ in range(2):
        assert await api.call("DELETE", "/sessions/s1") == (200, {"id": "s1", "deleted": True})
    problem = await api.get("/sessions/s1", 404)
    assert (problem["field"], problem["value"]) == ("id", "s1")
    assert sorted((await _pages(api, "/sessions"))[0]) == ["s0", "s2"]


async def test_lists_refuse_what_is_no_place_no_page_and_no_filter(api, subtests):
    for path, field in (
        ("/runs?cursor=", "cursor"),
        ("/runs?cursor=x", "cursor"),
        (f"/runs?cursor={'9' * 201}", "cursor"),
        ("/runs?cursor=nan~a", "cursor"),
        ("/runs?cursor=1e999~a", "cursor"),
        ("/runs?limit=0", "limit"),
        ("/runs?limit=501", "limit"),
        ("/runs?limit=%C2%B2", "limit"),
        ("/runs?limit=1&limit=2", "limit"),
        ("/runs?status=running", "status"),
        ("/runs?session_id=a/b", "session_id"),
        ("/runs?page=2", "page"),
        ("/sessions?cursor=99.x", "cursor"),
        ("/sessions?cursor=%C2%B2.x", "cursor"),
        ("/sessions?status=RUNNING", "status"),
        ("/sessions/a.b", "id"),
    ):
        with subtests.test(path):
            problem = await api.get(path, 422)
            assert (problem["field"], bool(problem["fix"])) == (field, True)


async def test_a_list_can_be_narrowed_to_what_runs_wait_for(stage):
    turns = [{"toolCalls": [{"name": "book", "arguments": {"city": "Rome"}}]}, {"answer": "done"}]
    script = {"rules": [{"task": "book", "turns": turns}, {"turns": [{"answer": "hello"}]}], "tools": {"book": {}}}
    here = await stage(script, "book", changed={"book": {"approval": ApprovalConfig()}})
    api = await Contract.of(here.agent)
    await api.post("/run?wait=30s", {"task": "hi", "id": "done"})
    for run in ("asks", "held"):
        await api.post("/run", {"task": "book", "id": run}, 202)

    async def found(word):
        return (await _pages(api, f"/runs?waiting_for={word}&limit=1"))[0]

    async def both_ask():
        return await found("awaiting_approval") == ["held", "asks"]

    await here.agent.until(both_ask)
    await api.post("/runs/held/suspend")
    assert (await found("awaiting_approval"), await found("suspended"), await found("retrying")) == (["asks"], ["held"], [])
    [run] = (await api.get("/runs?waiting_for=suspended"))["runs"]
    assert (run["status"], run["waiting_for"]) == ("SUSPENDED", "suspended")
    assert (await api.get("/runs?waiting_for=approval", 422))["field"] == "waiting_for"
