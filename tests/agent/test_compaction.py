"""A run that outgrows its model sums itself up and goes on; nothing it needs is lost, and what a model reads is bounded."""

import pytest

from holdfast_agent import budgets, summaries
from holdfast_agent.conversations import Conversation, turns_of
from holdfast_agent.documents import ModelTurn, ToolCall, ToolOutcome, Usage
from holdfast_agent.sessions import Exchange, Session
from holdfast_api.config import LimitsConfig, ModelConfig

SUMMING = "sum up the work on a task"


def small(tokens=400, **more):
    return ModelConfig(component="llm", label="openai/scripted", timeout_seconds=30, context_tokens=tokens, **more)


def read(city, **more):
    return {"toolCalls": [{"name": "read", "arguments": {"city": city}}], **more}


async def asked(stage):
    return (await stage.ledger("model"))["calls"]


@pytest.mark.dapr
async def test_a_long_run_sums_itself_up_and_still_knows_what_it_learned_in_its_first_turn(stage):
    full = {"usage": {"input": 350, "output": 10}}
    rules = [
        {"system": SUMMING, "messages": "4711", "turns": [{"answer": "The code is 4711.", "usage": {"input": 100, "output": 5}}]},
        {"system": SUMMING, "turns": [{"answer": "There is no code."}]},
        {"task": r"Find the code\.[\s\S]*The code is 4711", "turns": [read("Bonn"), {"answer": "It is 4711."}]},
        {"turns": [read("Rome"), read("Oslo"), read("Paris", **full), {"answer": "I forgot."}]},
    ]
    stage = await stage({"rules": rules, "tools": {"read": {"result": "the code is 4711, and " + "x" * 300}}}, "read", model=small())
    run = await stage.agent.ask("Find the code.")
    assert (run["status"], run["result"]) == ("COMPLETED", "It is 4711.")
    calls = await asked(stage)
    assert [call["detail"]["task"].startswith("[task]") for call in calls].count(True) == 1
    assert run["tokens"]["input"] >= 450


@pytest.mark.dapr
async def test_a_run_whose_provider_counts_no_tokens_sums_itself_up_by_an_estimate(stage):
    uncounted = {"usage": {"input": 0, "output": 0}}
    rules = [
        {"system": SUMMING, "messages": "4711", "turns": [{"answer": "The code is 4711.", **uncounted}]},
        {"task": "The code is 4711", "turns": [{"answer": "It is 4711.", "repeat": 9, **uncounted}]},
        {"turns": [read("Rome", repeat=6, **uncounted), {"answer": "I forgot.", **uncounted}]},
    ]
    stage = await stage({"rules": rules, "tools": {"read": {"result": "the code is 4711, and " + "x" * 300}}}, "read", model=small())
    run = await stage.agent.ask("Find the code.")
    assert (run["status"], run["result"]) == ("COMPLETED", "It is 4711.")
    assert run["tokens"]["input"] > 400
    assert all(step["estimated"] for step in await stage.agent.steps(run["id"]) if step["kind"] == "model")


@pytest.mark.dapr
async def test_a_model_that_says_that_it_is_too_much_is_asked_again_after_summing_up(stage):
    too_long = {"faults": [{"times": 99, "status": 400, "message": "This model's maximum context length is 300 tokens"}]}
    rules = [
        {"system": SUMMING, "turns": [{"answer": "Rome and Oslo are done."}]},
        {"task": "Rome and Oslo are done", "turns": [read("Bonn"), {"answer": "All done."}]},
        {"turns": [read("Rome"), read("Oslo"), {"answer": "never", **too_long}]},
    ]
    stage = await stage({"rules": rules, "tools": {"read": {"result": "fine"}}}, "read")
    run = await stage.agent.ask("Go round.")
    assert (run["status"], run["result"]) == ("COMPLETED", "All done.")


@pytest.mark.dapr
async def test_an_estimate_alone_never_ends_a_run(stage):
    rules = [
        {"system": SUMMING, "turns": [{"answer": "Done so far."}]},
        {"task": "Done so far", "turns": [{"answer": "All done.", "repeat": 9}]},
        {"turns": [read("Rome", repeat=9)]},
    ]
    stage = await stage({"rules": rules, "tools": {"read": {"result": "fine"}}}, "read", model=small())
    run = await stage.agent.ask("Go round. " + "x" * 4000)
    assert (run["status"], run["result"]) == ("COMPLETED", "All done.")


@pytest.mark.dapr
async def test_a_task_that_no_summary_can_make_short_enough_fails_with_the_field_that_says_it(stage):
    too_long = {"faults": [{"times": 99, "status": 400, "message": "This model's maximum context length is 300 tokens"}]}
    stage = await stage({"rules": [{"turns": [{"answer": "never", **too_long}]}]})
    run = await stage.agent.ask("Go round.")
    assert (run["status"], run["error"]["type"]) == ("FAILED", "ModelFailed")
    assert "spec.model.contextTokens is 128000" in run["error"]["message"]
    assert len(await asked(stage)) == 1


@pytest.mark.dapr
async def test_what_was_summed_up_stays_so_over_segments_and_restarts(stage):
    full, small_one = {"usage": {"input": 3100, "output": 10}}, {"usage": {"input": 10, "output": 1}}
    rules = [
        {"system": SUMMING, "messages": "4711", "turns": [{"answer": "The code is 4711."}]},
        {
            "task": "The code is 4711",
            "turns": [read("Bonn", repeat=22, **small_one), {"answer": "It is 4711.", "latency": "500ms", **small_one}],
        },
        {"turns": [read("Rome", **small_one), read("Oslo", **small_one), read("Paris", **full), {"answer": "I forgot."}]},
    ]
    tools = {"read": {"result": "the code is 4711, and " + "x" * 300}}
    stage = await stage({"rules": rules, "tools": tools}, "read", model=small(4000), limits=LimitsConfig(max_iterations=50))
    run = await stage.agent.begin("Find the code.")

    async def last():
        return await stage.underway("model") and (await asked(stage))[-1]["detail"]["turn"] == 22

    await stage.agent.until(last, within=40)
    await stage.agent.kill()
    await stage.agent.start()
    assert (await stage.agent.ended(run))["result"] == "It is 4711."
    calls = await asked(stage)
    assert [call["detail"]["task"].startswith("[task]") for call in calls].count(True) == 1
    assert [call["detail"]["turn"] for call in calls].count(22) == 2


def turn(number, *results, said=""):
    calls = tuple(ToolCall(str(call), "read", "{}") for call in range(len(results)))
    model = ModelTurn(f"run/{number}/model", said, calls, Usage(), "m", 0, 0)
    outcomes = [
        ToolOutcome(f"run/{number}/{call}", "read", str(call), text, is_error=False, started=0, ended=0)
        for call, text in enumerate(results)
    ]
    return [model.dump(), *(outcome.dump() for outcome in outcomes)]


def texts(conversation):
    return [
        "".join(part.text for part in getattr(message, message.WhichOneof("message_types")).content)
        for message in conversation.messages("task")
    ]


def test_the_results_of_a_turn_share_a_quarter_of_the_context_and_the_small_ones_stay_whole():
    conversation = Conversation(1000).extended([turn(1, "x" * 50_000, "small", "y" * 50_000)])
    _, _, large, small_one, other = texts(conversation)
    assert small_one == "small"
    assert len(large.split("\n")[0]) == len(other.split("\n")[0]) == (1000 - 5) // 2
    assert "this text has 50000 bytes" in large


def test_the_exchanges_of_a_session_and_its_summary_are_bounded_too():
    entries = tuple(Exchange(str(number), "task " + "x" * 50_000, "short", 0) for number in range(3))
    conversation = Conversation(1000).begun(Session(summary="s" * 50_000, entries=entries))
    first, answer, second, *_ = texts(conversation)
    assert answer == "short"
    assert len(first) < 250 + 1000 // 3 + 300
    assert second.startswith("task xxx")
    assert sum(map(len, texts(conversation))) < 1000 + 250 + 4 * 150


def test_a_summary_takes_the_place_of_whole_turns_and_the_calls_after_it_keep_their_results():
    conversation = Conversation(1000).extended([turn(number, f"result {number}") for number in (1, 2, 3)])
    summed = conversation.summed(4, {"content": "Two are done.", "through": 2})
    first, said, result = texts(summed)
    assert first.startswith("task\n\n")
    assert first.endswith("Two are done.")
    assert (said, result) == ("", "result 3")
    assert summed.last == 3
    assert summed.summed(5, {"content": "Three.", "through": 3}).last == 3


def test_the_last_turns_stay_whole_while_they_fit_and_the_last_one_always_does():
    assert summaries.through([10, 10, 10, 10], room=25) == 2
    assert summaries.through([10, 10, 100], room=25) == 2
    assert summaries.through([10, 10], room=1000) == 1
    assert summaries.through([10], room=0) == 0
    assert summaries.through([], room=0) == 0


def test_what_is_summed_up_fits_into_the_model_and_nothing_of_it_is_left_out_whole():
    lines = [("user", f"line {number} " + "x" * 10_000) for number in range(10)]
    _, question = summaries.of_run("task", "earlier", lines, context=1000)
    assert len(question) < budgets.summed(1000) + 10 * 150
    for number in range(10):
        assert f"line {number} " in question


def test_sharing_gives_the_small_ones_all_and_the_large_ones_the_rest_evenly():
    assert budgets.share([], 10) == 10
    assert budgets.share([3, 4], 10) == 4
    assert budgets.share([1, 100, 100], 11) == 5
    assert budgets.share([100], 7) == 7


def test_documents_are_told_apart_turn_by_turn():
    flat = [document for number in (1, 2) for document in turn(number, "a", "b")]
    assert [len(found) for found in turns_of(flat)] == [3, 3]
    assert list(turns_of([])) == []
