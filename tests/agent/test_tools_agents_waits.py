"""A call of another agent that takes long: looked after in pauses, called off when the run ends, over when its time is over."""

import asyncio
import json
import time

import pytest
from aiohttp import web

from holdfast_agent.documents import Head, ModelTurn, ToolCall, Usage, head_key, model_key
from holdfast_agent.lineage import child_run
from holdfast_agent.revisions import Revision
from holdfast_api import names
from tests.agent.agents import agent_config
from tests.agent.desks import Desk, MemoryStore
from tests.agent.families import agent_tool

CHILD = child_run("planner", "r/1/0")
GOES_ON, GONE = (202, {"instance_id": CHILD}), (500, {"errorCode": "ERR_DIRECT_INVOKE", "message": "nobody there"})
DONE = (200, {"instance_id": CHILD, "status": "COMPLETED", "result": "fine"})
STOPPED = (200, {"instance_id": CHILD, "status": "CANCELED", "error": {"type": "Canceled", "message": "the run was canceled"}})


class Critic:
    """The other agent, as a sidecar shows it: what it answers from now on, some requests otherwise, and what it was asked."""

    def __init__(self):
        self.answer, self.otherwise, self.hangs, self.asked = GOES_ON, {}, False, []

    async def was_asked(self, times):
        return len(self.asked) >= times

    async def serve(self, request):
        self.asked.append(request.path_qs.partition("/method")[2])
        await request.text()
        if "wait" in request.query and self.hangs:
            await asyncio.sleep(30)
        status, document = self.otherwise.get(request.path.rpartition("/")[2], self.answer)
        return web.json_response(document, status=status)


@pytest.fixture
async def critic():
    return Critic()


@pytest.fixture
async def at(serve, critic):
    """`await at(timeout_seconds=…)` -> a desk whose model asked the tool `critic`; `team`: the list by which it asked its team for it."""
    opened = []

    async def sit(*, team=None, **tool):
        host, port = (await serve(critic.serve)).removeprefix("http://").split(":")
        given = {"team": "travel"} if team else {"tools": (agent_tool("critic", **tool),)}
        config = agent_config("http://nowhere", name="planner", **given)
        revision = await Revision.open(config, {"DAPR_RUNTIME_HOST": host, "DAPR_HTTP_PORT": port, names.ENV_TEAM: str(team)})
        opened.append(revision)
        store, now = MemoryStore(), time.time()
        head = Head("r", "go", "d", revision.name, created=now, deadline=now + 600, max_iterations=9, longest_call=60, callers=("desk",))
        arguments = {"task": "judge"} | ({"name": "critic"} if team else {})
        call = ToolCall("c", names.TEAM_TOOL if team else "critic", json.dumps(arguments))
        turn = ModelTurn("r/1/model", "", (call,), Usage(), "m", started=now, ended=now)
        store.documents |= {head_key("r"): head.dump(), f"run/{model_key('r', 1)}": turn.dump()}
        return Desk(store, revision)

    yield sit
    for revision in opened:
        await revision.toolbox.close()


def intent(desk):
    return desk.store.documents["run/r/1/0/intent"]


async def test_a_long_call_becomes_a_wait_that_any_process_goes_on_with(at, critic):
    desk = await at()
    answer = await desk.tool()
    assert answer["waiting"]["kind"] == "agent"
    assert answer["waiting"]["until"] - time.time() < 2
    assert desk.head.waits[0].kind == "agent"
    assert intent(desk)["taken"]
    assert desk.outcome() is None

    # The pauses grow with the time that has passed.
    intent(desk)["started"] -= 100
    answer = await desk.another().tool(attempt=2)
    assert 9 < answer["waiting"]["until"] - time.time() < 12
    held = intent(desk)
    held["started"], held["deadline"] = held["started"] - 20_000, time.time() + 500_000
    answer = await desk.another().tool(attempt=2)
    assert 1900 < answer["waiting"]["until"] - time.time() < 2100
    held["started"] -= 500_000
    answer = await desk.another().tool(attempt=2)
    assert 3500 < answer["waiting"]["until"] - time.time() <= 3600

    critic.answer = (200, {"id": CHILD, "status": "COMPLETED", "result": "fine"})
    assert (await desk.another().tool(attempt=3))["isError"] is False
    assert (desk.outcome().content, desk.outcome().child) == ("fine", CHILD)


async def test_a_run_that_its_agent_has_erased_is_not_begun_again(at, critic):
    desk = await at()
    await desk.tool()
    critic.asked.clear()
    critic.answer = (404, {"detail": f"there is no run {CHILD!r}", "status": 404})
    assert (await desk.another().tool(attempt=2))["isError"]
    assert critic.asked == [f"/runs/{CHILD}"]
    assert (desk.outcome().outcome, "has erased its run" in desk.outcome().content) == ("unknown", True)


async def test_an_agent_that_took_the_call_may_be_away_and_one_that_did_not_costs_an_attempt(at, critic):
    desk = await at()
    critic.answer = GONE
    answer = await desk.tool()
    assert answer["error"]["class"] == "transient"
    critic.answer = GOES_ON
    assert "waiting" in await desk.tool(attempt=2, failed=1)
    critic.answer = GONE
    for attempt in range(3, 12):
        assert (await desk.tool(attempt=attempt, failed=1))["waiting"]["kind"] == "agent"


async def test_an_agent_that_is_busy_is_asked_again_later_and_later_and_costs_no_attempt(at, critic):
    desk = await at()
    critic.answer = (429, {"detail": "limits.maxConcurrentRuns is 50"})
    waits = []
    for attempt in range(1, 9):
        answer = await desk.another().tool(attempt=attempt, failed=0)
        waits.append(answer["waiting"]["until"] - time.time())
    assert waits[0] < 3
    assert waits[-1] > 50
    assert desk.outcome() is None
    assert "takes no more runs now" in desk.head.waits[0].message

    # It never began: nobody is told to stop, and there is nothing to undo.
    intent(desk)["deadline"] = time.time() - 1
    assert (await desk.tool(attempt=9))["isError"]
    assert (desk.outcome().outcome, "had no place" in desk.outcome().content) == ("failed", True)
    assert set(critic.asked) == {"/run"}


async def test_a_busy_agent_may_take_the_call_later_or_be_lost_then(at, critic):
    desk = await at()
    critic.answer = (429, {"detail": "limits.maxConcurrentRuns is 50"})
    await desk.tool()
    critic.answer = GONE
    assert (await desk.tool(attempt=2))["error"]["class"] == "transient"
    assert not intent(desk)["refused"], "it may have been begun"
    critic.answer = DONE
    assert (await desk.tool(attempt=3, failed=1))["isError"] is False
    assert desk.outcome().content == "fine"


async def test_when_its_time_is_over_the_agent_is_told_to_stop_and_the_outcome_is_unknown(at, critic):
    desk = await at(timeout_seconds=50.0)
    await desk.tool()
    intent(desk)["deadline"] = time.time() - 1
    critic.answer = STOPPED
    assert (await desk.tool(attempt=2))["isError"]
    assert (desk.outcome().outcome, f"/runs/{CHILD}/cancel" in critic.asked) == ("unknown", True)
    assert "no answer of the agent within" in desk.outcome().content


@pytest.mark.parametrize("after", [DONE, STOPPED, GONE], ids=["done", "stopped", "gone"])
async def test_a_cancel_calls_off_what_was_begun_and_waits_for_it_for_a_while(at, critic, after):
    desk = await at()
    await desk.tool()
    await desk.change(lambda head: head.canceled(1.0, "enough"))
    assert desk.head.unheeded
    answer = await desk.tool(attempt=2)
    assert answer["waiting"]["kind"] == "unknown"
    assert critic.asked[-2] == f"/runs/{CHILD}/cancel"
    critic.answer = after
    answer = await desk.another().tool(attempt=3)
    if after == GONE:
        assert answer["waiting"]["kind"] == "unknown"
        intent(desk)["off"] -= 2 * 60
        await desk.tool(attempt=4)
    assert desk.outcome().outcome == {"fine": "completed"}.get(desk.outcome().content, "unknown" if after == GONE else "failed")


@pytest.fixture
def members(tmp_path):
    """A team's list with the critic in it."""
    path = tmp_path / "members.json"
    path.write_text(json.dumps([{"name": "critic", "callers": ["planner"]}]))
    return path


async def test_a_member_that_leaves_the_team_after_it_took_a_call_is_waited_for_all_the_same(at, critic, members):
    desk = await at(team=members)
    await desk.tool()
    members.unlink()
    assert (await desk.another().tool(attempt=2))["waiting"]["kind"] == "agent"
    critic.answer = DONE
    assert (await desk.another().tool(attempt=3))["isError"] is False
    assert desk.outcome().content == "fine"


async def test_a_member_that_left_the_team_is_called_off_as_any_other_agent(at, critic, members):
    desk = await at(team=members)
    await desk.tool()
    members.unlink()
    await desk.change(lambda head: head.canceled(1.0, "enough"))
    critic.answer = STOPPED
    await desk.tool(attempt=2)
    assert f"/runs/{CHILD}/cancel" in critic.asked


async def test_a_member_that_left_before_it_is_known_to_have_the_call_is_told_to_stop_and_the_outcome_is_unknown(at, critic, members):
    desk = await at(team=members)
    critic.answer = GONE
    assert "error" in await desk.tool()
    members.unlink()
    critic.answer = STOPPED
    assert (await desk.tool(attempt=2, failed=1))["isError"]
    assert (desk.outcome().outcome, f"/runs/{CHILD}/cancel" in critic.asked) == ("unknown", True)


async def test_who_is_in_no_list_is_not_called(at, critic, members):
    members.write_text("[]")
    desk = await at(team=members)
    await desk.tool()
    assert (desk.outcome().outcome, critic.asked) == ("failed", [])


async def test_an_agent_whose_answers_are_lost_to_the_last_attempt_is_told_to_stop(at, critic):
    desk = await at()
    critic.otherwise, critic.answer = {"run": GONE}, STOPPED
    assert "error" in await desk.tool()
    assert not any(path.endswith("/cancel") for path in critic.asked)
    assert (await desk.tool(attempt=5, failed=4))["isError"]
    assert (desk.outcome().outcome, f"/runs/{CHILD}/cancel" in critic.asked) == ("unknown", True)


async def test_an_agent_whose_answers_were_lost_and_that_turns_out_to_be_done_has_completed_the_call(at, critic):
    desk = await at()
    critic.otherwise, critic.answer = {"run": GONE, "cancel": (409, {"detail": "it has ended"})}, DONE
    await desk.tool(attempt=5, failed=4)
    assert (desk.outcome().outcome, desk.outcome().content) == ("completed", "fine")


async def test_the_workflow_is_told_that_another_agent_may_have_the_call(at, critic):
    desk = await at()
    assert (await desk.tool())["elsewhere"]
    desk = await at()
    critic.answer = GONE
    assert (await desk.tool())["elsewhere"]


@pytest.mark.parametrize(
    ("after", "words"), [(STOPPED, "it was told to stop"), (GONE, "it could not be told to stop")], ids=["told", "gone"]
)
async def test_an_agent_that_never_said_that_it_took_the_call_is_told_to_stop_too_when_its_time_is_over(at, critic, after, words):
    desk = await at()
    critic.answer = GONE
    await desk.tool()
    intent(desk)["deadline"] = time.time() - 1
    critic.answer = after
    await desk.tool(attempt=2, failed=1)
    assert f"/runs/{CHILD}/cancel" in critic.asked
    assert (desk.outcome().outcome, words in desk.outcome().content) == ("unknown", True)


async def test_a_request_that_may_still_arrive_is_called_off_once_more_when_it_cannot_be_on_its_way_any_longer(at, critic):
    desk = await at()
    critic.answer = GONE
    await desk.tool()
    await desk.change(lambda head: head.canceled(1.0, "enough"))
    critic.answer = (404, {"detail": f"there is no run {CHILD!r}", "status": 404})
    answer = await desk.tool(attempt=2, failed=1)
    assert answer["waiting"]["kind"] == "unknown"
    assert 15 < answer["waiting"]["until"] - time.time() < 25
    intent(desk)["off"] -= 30
    assert (await desk.tool(attempt=3, failed=1))["control"] == "cancel"
    assert [path.endswith("/cancel") for path in critic.asked[-2:]] == [True, True]


async def test_a_call_that_was_never_begun_is_not_called_off(at, critic):
    desk = await at()
    await desk.change(lambda head: head.canceled(1.0, "enough"))
    assert (await desk.tool())["control"] == "cancel"
    assert critic.asked == []


async def test_a_look_ends_early_when_the_run_is_canceled_or_the_process_is_to_end(at, critic, eventually):
    critic.hangs = True
    desk = await at()
    looking = asyncio.ensure_future(desk.tool())
    await eventually(lambda: critic.was_asked(2))
    await desk.change(lambda head: head.canceled(1.0, "enough"))
    critic.hangs = False
    answer = await asyncio.wait_for(looking, 10.0)
    assert "waiting" in answer or answer.get("control") == "cancel"
    assert any(path.endswith("/cancel") for path in critic.asked)

    critic.hangs, other = True, await at()
    looking, before = asyncio.ensure_future(other.tool()), len(critic.asked)
    await eventually(lambda: critic.was_asked(before + 2))
    await asyncio.wait_for(asyncio.gather(other.steps._flights.drain(), looking), 10.0)
    assert "waiting" in looking.result()
