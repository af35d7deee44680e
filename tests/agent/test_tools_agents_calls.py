"""One call of another agent, against a sidecar that says what a test wants; and what callers hand on."""

import json

import pytest
from aiohttp import web

from holdfast_agent import lineage
from holdfast_agent.http import card
from holdfast_agent.outcome import Failure
from holdfast_agent.tools import Toolbox, ToolboxError, ToolResult
from holdfast_agent.tools.agent import Errand, sent
from holdfast_agent.tools.invocation import judged
from holdfast_agent.tools.spec import Pending
from holdfast_api.config import LimitsConfig
from holdfast_api.defaults import AgentDefaults
from holdfast_api.resolve import resolve
from holdfast_api.v1alpha1 import Agent
from tests.agent.agents import agent_config, http_tool
from tests.agent.families import agent_tool

ENDED = {"instance_id": "r", "status": "COMPLETED", "result": "fine"}


@pytest.fixture
async def caller(serve):
    """`await caller([(status, document), ...])` -> a toolbox with the tool `critic`, and the requests that its sidecar got."""
    boxes = []

    async def open_(answers, **more):
        got, left = [], list(answers)

        async def answer(request):
            got.append((request.path_qs, dict(request.headers), json.loads(await request.text())))
            status, document = left.pop(0)
            return web.json_response(document, status=status)

        host, port = (await serve(answer)).removeprefix("http://").split(":")
        config = agent_config("http://nowhere", **{"name": "planner", "tools": (agent_tool("critic"),), **more})
        environ = {"DAPR_RUNTIME_HOST": host, "DAPR_HTTP_PORT": port, "DAPR_API_TOKEN": "secret"}
        boxes.append(await Toolbox.open(config, environ=environ))
        return boxes[-1], got

    yield open_
    for box in boxes:
        await box.close()


async def call(toolbox, **errand):
    with sent(Errand(**{"callers": ("desk",), "seconds": 90.0, "look": 5.0} | errand)):
        return await toolbox.call("critic", {"task": "judge"}, key="run/1/0")


async def test_a_run_is_begun_first_and_waited_for_by_the_same_request(caller):
    toolbox, got = await caller([(202, {"instance_id": "r"}), (200, ENDED)])
    assert await call(toolbox) == ToolResult("fine")
    assert [path for path, _, _ in got] == ["/v1.0/invoke/critic/method/run", "/v1.0/invoke/critic/method/run?wait=5000ms"]
    for _, headers, body in got:
        assert body == {"task": "judge", "id": lineage.child_run("planner", "run/1/0")}
        assert headers["dapr-api-token"] == "secret"
        assert "Authorization" not in headers
        assert (headers["Holdfast-Callers"], headers["Holdfast-Time-Left"]) == ("desk,planner", "90.0")


async def test_a_run_that_goes_on_is_pending_also_when_its_agent_is_away_for_a_while(caller):
    for second in ((202, {"instance_id": "r"}), (503, {"detail": "the agent is stopping"}), (500, {"errorCode": "E", "message": "gone"})):
        toolbox, _ = await caller([(202, {"instance_id": "r"}), second])
        assert isinstance(await call(toolbox), Pending)
    toolbox, _ = await caller([(503, {"detail": "the agent is stopping"})])
    before = await call(toolbox)
    assert isinstance(before, Failure)
    assert before.kind == "transient"


@pytest.mark.parametrize(
    ("status", "document", "kind", "words"),
    [
        (403, {"errorCode": "ERR_DIRECT_INVOKE", "message": "spiffe…"}, "permanent", "spec.access.callers of 'critic'"),
        (404, {"errorCode": "ERR_X", "message": "not allowed"}, "permanent", "own sidecar does not allow service invocation"),
        (404, {}, "permanent", "own sidecar does not allow service invocation"),
        (500, {"errorCode": "ERR_DIRECT_INVOKE", "message": "failed to invoke"}, "transient", "cannot be reached"),
        (401, {"title": "Unauthorized", "detail": "wrong"}, "permanent", "pods have to be restarted"),
        (429, {"detail": "busy"}, "transient", "HTTP 429: busy"),
    ],
)
def test_what_the_model_reads_says_who_has_to_do_what(status, document, kind, words):
    found = judged("critic", status, json.dumps(document).encode(), None)
    assert isinstance(found, Failure)
    assert (found.kind, words in found.message) == (kind, True), found.message
    assert "spiffe" not in found.public + found.message


def test_an_app_that_is_no_agent_is_told_apart():
    assert judged("critic", 200, b"<html>", None).kind == "permanent"
    assert judged("critic", 502, b"<html>", None).kind == "transient"
    assert judged("critic", 200, b"[1]", None).kind == "permanent"
    assert "own sidecar" in judged("critic", 404, b"404 page not found", None).message


async def test_a_run_that_fails_or_is_refused_is_an_answer_that_stands(caller):
    failed = {"instance_id": "r", "status": "FAILED", "error": {"type": "LimitExceeded", "message": "too much"}}
    toolbox, _ = await caller([(202, {"instance_id": "r"}), (200, failed)])
    result = await call(toolbox)
    assert (result.kind, "LimitExceeded: too much" in result.message) == ("permanent", True)
    assert "too much" not in result.public
    toolbox, _ = await caller([(422, {"detail": "agents would call each other in a circle", "fix": "call another"})])
    result = await call(toolbox)
    assert (result.kind, "in a circle: call another" in result.message) == ("permanent", True)


async def test_a_circle_and_a_row_too_long_never_leave_the_agent(caller):
    toolbox, got = await caller([], limits=LimitsConfig(max_depth=3))
    assert "circle: critic -> planner -> critic" in (await call(toolbox, callers=("critic",))).message
    assert "limits.maxDepth is 3" in (await call(toolbox, callers=("a", "b"))).message
    assert got == []


def test_the_usual_depth_is_five_agents_in_a_row():
    assert lineage.refusal("e", ("a", "b", "c", "d"), None) is None
    assert "6 agents in a row" in lineage.refusal("f", ("a", "b", "c", "d", "e"), None)


def test_the_sidecars_own_word_of_the_caller_counts_where_the_request_says_nothing():
    assert lineage.callers_of((), "shop") == ("shop",)
    assert lineage.callers_of(("desk", "planner"), "planner") == ("desk", "planner")
    assert lineage.callers_of(("desk",), None) == ("desk",)


@pytest.mark.parametrize("text", ["a b", "a,../b", ",".join("abcdefghijklmnopqrstuvwxyz1234567"), "-x"])
def test_callers_that_cannot_be_are_refused(text):
    with pytest.raises(ValueError, match="app id"):
        lineage.read_callers(text)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "soon"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"above 0|could not convert"):
        lineage.read_time_left(text)


def test_the_run_of_a_call_is_its_own_and_nobody_elses():
    ids = {lineage.child_run(agent, key) for agent in ("a", "b", "a" * 58) for key in ("r/1/0", "r/1/0/undo", "r/1/1")}
    assert len(ids) == 9
    assert max(map(len, ids)) <= 64


async def test_an_agent_whose_name_cannot_be_one_is_refused_at_the_start():
    for name in ("Critic", "../admin", "a/b", None):
        tool = agent_tool("critic").model_copy(update={"agent": agent_tool("critic").agent.model_copy(update={"name": name})})
        with pytest.raises(ToolboxError, match=r"agent\.name"):
            await Toolbox.open(agent_config("http://nowhere", name="planner", tools=(tool,)), environ={})


def test_a_call_of_an_agent_may_take_as_long_as_the_run_unless_its_timeout_says_otherwise():
    tools = [{"name": "judge", "agent": {"name": "critic"}}, {"name": "ask", "agent": {"name": "critic"}, "timeout": "5m"}]
    spec = {"model": {"component": "m"}, "state": {"component": "s"}, "limits": {"runTimeout": "2h"}, "tools": tools, "team": "travel"}
    agent = Agent.model_validate({"metadata": {"name": "planner"}, "spec": spec})
    config = resolve(agent, AgentDefaults(), {}).config
    assert [config.tool(name).timeout_seconds for name in ("judge", "ask", "ask_teammate")] == [7200.0, 300.0, 7200.0]
    # A pod that is to end does not wait for other agents.
    assert config.longest_call_seconds == 120.0


def test_the_card_tells_strangers_less_than_callers():
    config = agent_config("http://nowhere", name="planner", description="Plans trips", tools=(http_tool("http://x", "search"),))
    open_one, whole = (card.card(config, "http://planner:8001", whole=known) for known in (False, True))
    assert [skill["id"] for skill in open_one["skills"]] == ["run"]
    assert [skill["id"] for skill in whole["skills"]] == ["run", "search"]
    assert open_one["security"] == [{"bearer": []}]
    assert "prompt" not in json.dumps(whole)
    capable = config.model_copy(update={"capabilities": ("finds flights",), "auth": "none"})
    told = card.card(capable, "http://planner:8001", whole=True)
    assert [skill["description"] for skill in told["skills"]] == ["Plans trips", "finds flights"]
    assert "security" not in told
