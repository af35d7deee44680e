"""The HTTP API: who gets in, what is refused and how. Every refusal is a problem that names field, value and fix."""

import asyncio

import aiohttp
import pytest

from tests.agent.agents import TOKEN, agent_config

pytestmark = pytest.mark.dapr

ANSWER = {"rules": [{"turns": [{"answer": "hello"}]}]}
LONG = "x" * (256 * 1024 + 1)

BAD_BODIES = [
    pytest.param(b"", 400, "body", id="nothing"),
    pytest.param(b"{", 400, "body", id="cut off"),
    pytest.param(b"\xff\xfe{}", 400, "body", id="not UTF-8"),
    pytest.param(b'"task"', 422, "body", id="a string"),
    pytest.param(b"[1]", 422, "body", id="a list"),
    pytest.param(b"null", 422, "body", id="null"),
    pytest.param(b"[" * 100_000, 400, None, id="nested"),
    pytest.param(b"{" * 100_000, 400, "body", id="nested objects"),
    pytest.param(b'{"task": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "body", id="a nested task"),
    pytest.param(b'{"task": "a"} trailing', 400, "body", id="trailing garbage"),
    pytest.param(b'{"task": "a"}{"task": "b"}', 400, "body", id="two bodies"),
    pytest.param(b'{"task": "a", "task": "b"}', 400, "task", id="a field twice"),
    pytest.param(b'{"task": "a", "id": NaN}', 400, "body", id="not a number"),
    pytest.param(b'{"task": "a", "id": ' + b"9" * 5000 + b"}", 400, "body", id="a number of 5000 digits"),
    pytest.param('{"task": "a"}'.encode("utf-16"), 400, "body", id="UTF-16"),
    pytest.param(b'\xef\xbb\xbf{"task": "a"}', 400, "body", id="a byte order mark"),
    pytest.param(b'{"task": "a", "\\ud800": 1}', 422, None, id="half a surrogate pair as a name"),
    pytest.param(b'{"task": "a", "session_id": "s/1"}', 422, "session_id", id="a session's id with a path"),
    pytest.param(b'{"task": "a", "session_id": ["s"]}', 422, "session_id", id="a list as session"),
    pytest.param(b'{"task": "a", "session_id": "\\ud800"}', 422, "session_id", id="half a surrogate pair as session"),
    pytest.param(b'{"task": "a", "id": "\\ud800"}', 422, "id", id="half a surrogate pair as id"),
    pytest.param(b"{}", 422, "task", id="no task"),
    pytest.param(b'{"task": null}', 422, "task", id="null task"),
    pytest.param(b'{"task": 7}', 422, "task", id="a number as task"),
    pytest.param(b'{"task": {"a": 1}}', 422, "task", id="an object as task"),
    pytest.param(b'{"task": " \\n"}', 422, "task", id="a blank task"),
    pytest.param(b'{"task": "\\ud800"}', 422, "task", id="half a surrogate pair"),
    pytest.param(b'{"task": "a", "tsak": "b"}', 422, "tsak", id="an unknown field"),
    pytest.param(b'{"task": "a", "id": 7}', 422, "id", id="a number as id"),
    pytest.param(b'{"task": "a", "id": ""}', 422, "id", id="an empty id"),
    pytest.param(b'{"task": "a", "id": "../run"}', 422, "id", id="an id with a path"),
    pytest.param(b'{"task": "a", "id": "a||b"}', 422, "id", id="an id with the store's separator"),
    pytest.param(b'{"task": "a", "id": "-a"}', 422, "id", id="an id that begins with a dash"),
    pytest.param(b'{"task": "a", "id": "a\\n"}', 422, "id", id="an id with a newline"),
    pytest.param(('{"task": "a", "id": "' + "a" * 65 + '"}').encode(), 422, "id", id="a long id"),
    pytest.param(b'{"task": "a", "id": 1e999}', 422, "id", id="a number beyond all numbers as id"),
    pytest.param(b'{"task": "a", "id": ' + b"7" * 100 + b"}", 422, "id", id="a number of 100 digits"),
    pytest.param(('{"task": "' + LONG + '"}').encode(), 413, "task", id="a long task"),
    pytest.param(b'{"task": "' + b"x" * 2_000_000 + b'"}', 413, "body", id="a huge body"),
]
AUTH = {"Authorization": f"Bearer {TOKEN}"}
BAD_REQUESTS = [
    pytest.param("GET", "/runs/unknown", 404, "id", id="unknown run"),
    pytest.param("GET", "/runs/unknown/steps", 404, "id", id="steps of an unknown run"),
    pytest.param("GET", "/v1.0/workflows/dapr/unknown", 404, "id", id="unknown run on Dapr's path"),
    pytest.param("GET", "/runs/a%7C%7Cb", 422, "id", id="a bad id in the path"),
    pytest.param("GET", f"/runs/{'a' * 65}", 422, "id", id="a long id in the path"),
    pytest.param("GET", "/runs/a/steps?limit=0", 422, "limit", id="a page of nothing"),
    pytest.param("GET", "/runs/a/steps?turn=x", 422, "turn", id="a turn that is no number"),
    pytest.param("GET", "/runs/%ff", 422, "id", id="bytes that are no text as id"),
    pytest.param("GET", "/runs/%00", 422, "id", id="a zero byte as id"),
    pytest.param("GET", "/runs/a/steps?limit=1&limit=2", 422, "limit", id="a parameter twice"),
    pytest.param("GET", "/runs/a?verbose=1", 422, "verbose", id="an unknown parameter"),
    pytest.param("POST", "/run?wait=61s", 422, "wait", id="a wait of more than a minute"),
    pytest.param("POST", "/run?wait=1e400s", 422, "wait", id="a wait beyond numbers"),
    pytest.param("POST", f"/run?wait={'9' * 5000}s", 422, "wait", id="a wait of 5000 digits"),
    pytest.param("GET", "/nowhere", 404, "path", id="unknown path"),
    pytest.param("DELETE", "/run", 405, "method", id="wrong method"),
    pytest.param("POST", "/run?wait=soon", 422, "wait", id="a wait that is no duration"),
    pytest.param("POST", "/run?wait=0s", 422, "wait", id="a wait of nothing"),
]


@pytest.fixture
async def agent(stage):
    return (await stage(ANSWER)).agent


def _is_problem(status, body, expected, field):
    assert status == expected, body
    assert (body["type"], body["status"]) == ("about:blank", expected)
    assert body["title"]
    assert body["detail"]
    if field:
        assert body["field"] == field
        assert "value" in body
        assert body["fix"]


async def test_a_body_that_is_no_request_is_refused_with_field_value_and_fix(agent, subtests):
    for case in BAD_BODIES:
        body, expected, field = case.values
        with subtests.test(case.id):
            status, problem = await agent.call("POST", "/run", data=body)
            _is_problem(status, problem, expected, field)
            assert "sys." not in problem["detail"]
    assert (await agent.ask("still well"))["result"] == "hello"


async def test_a_request_that_leads_nowhere_is_refused_with_field_value_and_fix(agent, subtests):
    for case in BAD_REQUESTS:
        method, path, expected, field = case.values
        with subtests.test(case.id):
            status, problem = await agent.call(method, path, json={"task": "a"} if method == "POST" else None)
            _is_problem(status, problem, expected, field)


async def test_only_the_token_gets_in_and_either_header_carries_it(agent):
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic dG9r"},
        {"dapr-api-token": "wröng"},
        {"Authorization": "Bearer"},
    ):
        status, problem = await agent.call("POST", "/run", token=None, headers=headers, json={"task": "a"})
        _is_problem(status, problem, 401, "Authorization")
        assert "wr" not in str(problem["value"])
        assert "Secret agent-app-token" in problem["fix"]
        assert "the file app.token" in problem["fix"]
    for headers in ({"Authorization": "bearer token-of-the-app"}, {"dapr-api-token": "token-of-the-app"}):
        status, _ = await agent.call("POST", "/run", token=None, headers=headers, json={"task": "a"})
        assert status == 202


async def test_without_a_token_nothing_is_told_about_paths_and_runs(agent):
    for path in ("/runs/unknown", "/nowhere", "/v1.0/workflows/dapr/unknown"):
        status, _ = await agent.call("GET", path, token=None)
        assert status == 401


async def test_auth_none_admits_everybody(stage):
    here = await stage(ANSWER, auth="none")
    status, answer = await here.agent.call("POST", "/run?wait=10s", token=None, json={"task": "a"})
    assert (status, answer["result"]) == (200, "hello")


async def test_a_body_that_is_too_large_says_how_large_it_may_be_on_every_path(agent):
    status, problem = await agent.call("POST", "/runs/a/cancel", data=b" " * 1_100_000)
    _is_problem(status, problem, 413, "body")
    assert (problem["value"], problem["fix"]) == (1_100_000, "send at most 1048576 bytes")
    status, problem = await agent.call("POST", "/runs/a/suspend", json={"x": 1})
    _is_problem(status, problem, 422, "x")
    assert problem["fix"] == "send no body"


async def test_what_can_be_read_can_be_asked_for_without_its_body_and_no_answer_names_what_serves(agent):
    run = (await agent.ask("a"))["id"]
    for path in ("/runs", f"/runs/{run}", f"/runs/{run}/events", f"/runs/{run}/audit?documents=true", "/metrics", "/runs/nobody"):
        async with asyncio.timeout(5), agent.session.get(agent.url + path, headers=AUTH) as read:
            await read.read()
        async with asyncio.timeout(5), agent.session.head(agent.url + path, headers=AUTH) as looked:
            assert await looked.read() == b""
        for answer in (read, looked):
            assert "Server" not in answer.headers
        assert (looked.status, looked.content_type) == (read.status, read.content_type)


async def test_curls_default_content_type_is_good_enough(agent):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answer = await agent.call("POST", "/run", data=b'{"task": "a"}', headers=headers)
    assert status == 202
    assert answer["status_url"] == f"/v1.0/workflows/dapr/{answer['instance_id']}"


async def test_a_wait_that_is_too_short_answers_as_without_it(stage):
    here = await stage({"rules": [{"turns": [{"answer": "late", "latency": "1s"}]}]})
    status, answer = await here.agent.call("POST", "/run?wait=50ms", json={"task": "a"})
    assert (status, set(answer)) == (202, {"instance_id", "status_url"})
    assert (await here.agent.ended(answer["instance_id"]))["result"] == "late"


async def test_a_wait_that_dies_with_the_agent_is_taken_up_by_sending_the_same_request_again(stage):
    here = await stage({"rules": [{"turns": [{"answer": "late", "latency": "1s"}]}]})
    asked = {"json": {"task": "a", "id": "mine", "session_id": "s"}}
    waiting = asyncio.create_task(here.agent.call("POST", "/run?wait=30s", **asked))
    await here.agent.until(lambda: here.underway("model"))
    await here.agent.kill()
    with pytest.raises(aiohttp.ClientError):
        await waiting
    await here.agent.start()
    status, answer = await here.agent.call("POST", "/run?wait=50s", **asked)
    assert (status, answer["id"], answer["result"]) == (200, "mine", "late")
    assert [run["id"] for run in (await here.agent.call("GET", "/runs"))[1]["runs"]] == ["mine"]
    assert len((await here.agent.call("GET", "/sessions/s"))[1]["entries"]) == 1


async def test_health_is_open_and_ready_means_that_a_worker_is_connected(stage, eventually):
    here = await stage(ANSWER)
    assert await here.agent.call("GET", "/healthz", token=None) == (200, {"status": "ok"})
    assert await here.dapr.workers() == 1
    await here.dapr.kill("daprd")
    await eventually(lambda: _is(here.agent, 503))
    assert await here.agent.call("GET", "/healthz", token=None) == (200, {"status": "ok"})
    await here.dapr.restart("daprd")
    await eventually(lambda: _is(here.agent, 200))


async def test_an_agent_that_cannot_start_working_says_what_it_waits_for(stage, eventually):
    here = await stage(ANSWER)
    await here.agent.terminate()
    here.agent.configure(agent_config(here.script_url, memory_component="nowhere"))
    here.agent.process.start()

    async def tells():
        try:
            status, problem = await here.agent.call("GET", "/readyz", token=None)
        except aiohttp.ClientError:
            return False
        return status == 503 and "'nowhere'" in problem["detail"]

    await eventually(tells)
    status, problem = await here.agent.call("POST", "/run", json={"task": "a"})
    assert status == 503
    assert "'nowhere'" in problem["detail"]


async def test_no_log_line_holds_a_task_an_answer_or_a_token(stage):
    here = await stage(
        {
            "rules": [{"turns": [{"toolCalls": [{"name": "search", "arguments": {"city": "Atlantis"}}]}, {"answer": "the-answer"}]}],
            "tools": {"search": {"result": "the-output"}},
        },
        "search",
    )
    await here.agent.ask("the-question")
    log = here.agent.log.read_text()
    assert "model answered" in log
    for text in ("the-question", "the-answer", "the-output", "Atlantis", "must not leak", "token-of-the"):
        assert text not in log


async def _is(agent, expected):
    status, _ = await agent.call("GET", "/readyz", token=None)
    return status == expected
