"""What callers read about a run follows from its documents."""

from dataclasses import replace

import jsonschema
import pytest

from holdfast_agent.documents import Approval, Head, ModelTurn, Plan, ToolCall, ToolOutcome, Trouble, Usage
from holdfast_agent.http import views
from holdfast_agent.http.shapes import SCHEMAS
from holdfast_agent.http.steps import steps
from holdfast_agent.postponed import Postponed
from holdfast_agent.timelines import Timeline

HEAD = Head(id="r", task="go", digest="d", revision="abc", created=0.0, deadline=60.0, max_iterations=50, longest_call=60.0)
TURN = ModelTurn(
    key="r/1/model",
    content="let me look",
    calls=(ToolCall("c1", "search", '{"city": "Paris"}'), ToolCall("c2", "search", "{}")),
    usage=Usage(1, 2, 10, 5),
    model="openai/x",
    started=1.0,
    ended=2.5,
)
DONE = ToolOutcome(key="r/1/0", tool="search", call_id="c1", content="sunny", is_error=False, started=3.0, ended=4.0)


def test_a_run_that_just_began_waits_for_the_model():
    view = views.run(HEAD)
    assert (view["status"], view["turn"], view["tool_calls"]) == ("RUNNING", 1, 0)
    assert [(step["kind"], step["key"], step["status"]) for step in view["pending"]] == [("model", "r/1/model", "running")]


def test_calls_without_a_result_are_pending_and_tokens_are_counted():
    view = views.run(HEAD, Timeline([TURN], {"r/1/0": DONE}))
    assert [step["key"] for step in view["pending"]] == ["r/1/1"]
    assert (view["turn"], view["tool_calls"], view["tokens"]) == (1, 2, {"input": 10, "output": 5})


def test_once_all_calls_are_back_the_model_is_next():
    both = {"r/1/0": DONE, "r/1/1": replace(DONE, key="r/1/1", is_error=True)}
    found = steps(HEAD, Timeline([TURN], both))
    assert [(step["key"], step["status"]) for step in found] == [
        ("r/1/model", "completed"),
        ("r/1/0", "completed"),
        ("r/1/1", "failed"),
        ("r/2/model", "running"),
    ]
    assert (found[0]["seconds"], found[0]["calls"], found[1]["arguments"]) == (1.5, ["search", "search"], '{"city": "Paris"}')
    assert views.run(HEAD, Timeline([TURN], both))["turn"] == 2


def test_a_step_that_waits_for_its_next_attempt_says_why_and_until_when():
    troubled = replace(HEAD, trouble=Trouble(key="r/1/1", attempt=2, message="busy", until=30.0))
    view = views.run(troubled, Timeline([TURN], {"r/1/0": DONE}))
    assert view["retrying"] == {"key": "r/1/1", "failed_attempts": 2, "message": "busy", "next_attempt": "1970-01-01T00:00:30.000Z"}
    assert view["pending"][0]["status"] == "retrying"
    settled = {"r/1/0": DONE, "r/1/1": replace(DONE, key="r/1/1")}
    assert "retrying" not in views.run(troubled, Timeline([TURN], settled))


def test_an_ended_run_shows_its_end_and_calls_that_never_came_back_as_abandoned():
    failed = HEAD.failed({"type": "RunTimeout", "message": "late"}, Usage(1, 2, 10, 5), 70.0)
    view = views.run(failed)
    assert (view["status"], view["error"], view["ended"]) == (
        "FAILED",
        {"type": "RunTimeout", "message": "late"},
        "1970-01-01T00:01:10.000Z",
    )
    assert "pending" not in view
    assert [step["status"] for step in steps(failed, Timeline([TURN], {"r/1/0": DONE}))] == ["completed", "completed", "abandoned"]


def test_the_first_end_of_a_run_stands():
    done = HEAD.completed("yes", Usage(1, 0, 1, 1), 5.0)
    assert done.failed({"type": "WorkflowEnded", "message": "no"}, Usage(), 6.0) == done
    assert done.completed("no", Usage(), 6.0) == done


def test_documents_survive_a_round_trip_and_ignore_what_they_do_not_know():
    future = {"from_the_future": 1}
    troubled = replace(HEAD, trouble=Trouble("k", 1, "m", 2.0), usage=Usage(1, 2, 3, 4))
    dumped = troubled.dump()
    assert Head.load(dumped | {"trouble": dumped["trouble"] | future}) == troubled
    dumped = TURN.dump()
    assert ModelTurn.load(dumped | future | {"calls": [call | future for call in dumped["calls"]]}) == TURN
    assert ToolOutcome.load(DONE.dump() | {"from_the_future": 1}) == DONE


def test_long_texts_are_shown_by_their_beginning():
    long = replace(DONE, content="x" * 10_000)
    assert len(steps(HEAD, Timeline([TURN], {"r/1/0": long}))[1]["output"]) == 2000


def test_a_page_before_the_newest_turn_says_nothing_about_the_next_one():
    both = {"r/1/0": DONE, "r/1/1": replace(DONE, key="r/1/1")}
    assert len(steps(HEAD, Timeline([TURN], both), newest=False)) == 3


def test_a_call_that_waits_for_a_yes_is_shown_with_what_it_would_do_and_where_to_say_it():
    asked = Approval(tool="search", digest="d", asked=10.0, until=60.0)
    head = replace(HEAD, approvals={"1/1": asked}).troubled(Trouble("r/1/1", 1, "a person decides", 60.0, kind="approval"))
    view = views.run(head, Timeline([TURN], {"r/1/0": DONE}))
    (question,) = view["approvals"]
    assert (question["call"], question["arguments"], question["decide"]) == ("1.1", "{}", "/runs/r/approvals/1.1")
    assert view["pending"][0]["status"] == "awaiting_approval"
    assert "retrying" not in view
    decided = head.decides("1/1", "approved", "fine", 20.0)
    assert "approvals" not in views.run(decided, Timeline([TURN], {"r/1/0": DONE}))
    undone = replace(head, ending={"status": "FAILED", "error": {"type": "LimitExceeded", "message": "enough"}})
    assert "approvals" not in views.run(undone, Timeline([TURN], {"r/1/0": DONE}))
    assert "approvals" not in views.run(head.canceled(20.0, ""), Timeline([TURN], {"r/1/0": DONE}))


def test_a_held_run_is_suspended_until_it_ends_or_is_to_end():
    held = HEAD.suspend(5.0)
    assert (views.run(held)["status"], views.dapr(held)["runtimeStatus"], views.summary(held)["status"]) == ("SUSPENDED",) * 3
    assert views.run(held.canceled(6.0, "enough"))["status"] == "RUNNING"
    canceled = held.canceled(6.0, "enough").failed({"type": "Canceled", "message": "m"}, Usage(), 7.0)
    assert (views.run(canceled)["status"], views.dapr(canceled)["runtimeStatus"]) == ("CANCELED", "TERMINATED")
    assert "suspended" not in views.run(canceled)


def test_what_nobody_knows_is_said_and_what_came_late_stands_beside_it():
    unknown = replace(DONE, is_error=True, outcome="unknown", content="it may have happened")
    timeline = Timeline([TURN], {"r/1/0": unknown}, late={"r/1/0": DONE})
    step = steps(HEAD, timeline)[1]
    assert (step["status"], step["output"], step["late"]) == ("unknown", "it may have happened", "sunny")


def test_after_an_answer_comes_the_critic_and_after_its_no_the_model():
    head = replace(HEAD, plan=Plan(max_iterations=5, evaluation_rounds=2))
    answer = replace(TURN, calls=())
    assert steps(head, Timeline([answer]))[-1] | {"key": "r/1/evaluation", "status": "running"} == steps(head, Timeline([answer]))[-1]
    said_no = steps(head, Timeline([answer], evaluations={1: {"accepted": False, "feedback": "longer"}}))
    assert [(step["kind"], step["status"]) for step in said_no[1:]] == [("evaluation", "completed"), ("model", "running")]
    assert len(steps(head, Timeline([answer], evaluations={1: {"accepted": True}}))) == 2
    assert len(steps(HEAD, Timeline([answer]))) == 1
    invalid = replace(answer, feedback="this is no JSON")
    assert [step["kind"] for step in steps(head, Timeline([invalid]))] == ["model", "model"]


def test_a_step_under_way_is_called_what_it_is_called_when_it_is_done():
    head = replace(HEAD, plan=Plan(max_iterations=5, evaluation_rounds=2), model="openai/first", critic="openai/critic")
    assert steps(head, Timeline())[0]["name"] == "openai/first"
    asked = replace(TURN, calls=(), feedback="once more", model="openai/fallback")
    assert [step["name"] for step in steps(head, Timeline([asked]))] == ["openai/fallback", "openai/fallback"]
    answer = replace(TURN, calls=(), model="openai/first")
    judged = Timeline([answer], evaluations={1: {"accepted": False, "model": "openai/critic"}})
    assert [steps(head, line)[1]["name"] for line in (Timeline([answer]), judged)] == ["openai/critic"] * 2


def test_what_critics_and_summaries_use_is_counted_while_the_run_goes_on():
    timeline = Timeline([TURN], evaluations={1: {"usage": {"input_tokens": 5}}}, compactions={1: {"usage": {"output_tokens": 7}}})
    assert views.run(HEAD, timeline)["tokens"] == {"input": 15, "output": 12}


def test_while_it_is_undone_a_run_says_how_it_will_end_and_begins_nothing():
    ending = replace(HEAD, ending={"status": "FAILED", "error": {"type": "LimitExceeded", "message": "m"}})
    view = views.run(ending, Timeline([TURN], {"r/1/0": DONE, "r/1/1": replace(DONE, key="r/1/1")}))
    assert (view["status"], view["ending"]["status"], "pending" in view) == ("RUNNING", "FAILED", False)


WAITS = {kind: Trouble("r/1/1", 2, "it waits", 30.0, kind) for kind in ("retry", "approval", "suspend", "unknown", "agent")}
WORDS = {"retry": "retrying", "approval": "awaiting_approval", "unknown": "awaiting_outcome", "agent": "awaiting_agent"}


def _at(head):
    """What its list entry and its one open step say, and whether it tells of another attempt."""
    view = views.run(head, Timeline([TURN], {"r/1/0": DONE}))
    [step] = view["pending"]
    return views.summary(head).get("waiting_for", "running"), step["status"], "retrying" in view


@pytest.mark.parametrize(("kind", "word"), WORDS.items())
def test_a_wait_has_the_same_word_in_the_list_and_in_the_steps(kind, word):
    assert _at(HEAD.troubled(WAITS[kind])) == (word, word, kind == "retry")


@pytest.mark.parametrize("kind", ["retry", "approval", "suspend"])
def test_while_a_run_is_suspended_its_steps_are_whatever_they_waited_for_before(kind):
    head = HEAD.troubled(WAITS[kind]).suspend(5.0)
    assert _at(head) == ("suspended", "suspended", False)
    assert _at(head.resume())[:2] == (WORDS.get(kind, "running"),) * 2


def test_what_another_process_is_at_goes_on_in_a_suspended_run():
    assert _at(HEAD.troubled(WAITS["unknown"]).suspend(5.0)) == ("suspended", "awaiting_outcome", False)


def test_of_steps_that_wait_in_different_ways_the_run_names_the_one_that_a_person_can_end():
    head = HEAD.troubled(replace(WAITS["approval"], until=90.0)).troubled(replace(WAITS["retry"], key="r/1/2"))
    assert head.trouble.kind == "retry"
    assert views.summary(head)["waiting_for"] == "awaiting_approval"
    assert "waiting_for" not in views.summary(HEAD.troubled(WAITS["approval"]).canceled(1.0, ""))


def test_a_run_says_what_began_it_by_itself():
    began = replace(HEAD, trigger={"kind": "schedule", "name": "nightly", "tick": 60})
    told = {"kind": "schedule", "name": "nightly", "tick": "1970-01-01T00:01:00.000Z"}
    assert views.run(began)["trigger"] == views.summary(began)["trigger"] == told
    assert Head.load(began.dump()) == began
    assert "trigger" not in views.run(HEAD).keys() | HEAD.dump().keys()


def test_an_end_that_cannot_be_published_yet_says_why_and_what_mends_it():
    over = replace(HEAD, status="COMPLETED", ended=1.0, publish={"component": "broker", "topic": "results"})
    assert views.publishing(over, None) == {"publishing": {"component": "broker", "topic": "results"}}
    known = Postponed(("broker", "results"), 3, 30.0, "no such pub/sub: have one")
    told = {"failed_attempts": 3, "message": "no such pub/sub: have one", "next_attempt": "1970-01-01T00:00:30.000Z"}
    assert views.publishing(over, known)["publishing"].items() >= told.items()
    assert views.publishing(replace(over, published=2.0), known) == {}
    assert views.publishing(HEAD, known) == {}


@pytest.mark.parametrize(
    "origin",
    [
        {"kind": "schedule", "name": "nightly", "tick": 60},
        {"kind": "topic", "name": "orders", "component": "c", "topic": "t", "event_id": "1", "event_source": "s"},
        {"kind": "topic", "name": "broadcast", "component": "c", "topic": "t"},
    ],
    ids=["tick", "event", "text"],
)
def test_what_is_said_of_triggers_and_of_the_outbox_is_in_the_openapi_document(origin):
    over = replace(HEAD, status="COMPLETED", ended=1.0, publish={"component": "broker", "topic": "results"}, trigger=origin)
    for schema, view in (
        ("RunSummary", views.summary(over)),
        ("Run", views.run(over) | views.publishing(over, None)),
        ("Run", views.run(over) | views.publishing(over, Postponed(("broker", "results"), 3, 30.0, "away"))),
    ):
        document = {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": SCHEMAS}}
        jsonschema.validate(view, document, cls=jsonschema.Draft202012Validator)
