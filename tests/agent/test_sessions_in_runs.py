"""Runs that belong to a session begin with what was said in it before, and add themselves to it at their good end."""

import asyncio

import pytest

from holdfast_api.config import MemoryConfig, OutputConfig

pytestmark = pytest.mark.dapr

SUMMING = "sum up an earlier conversation"


def remembering(*more):
    """A model that knows the user's name if it was told before, and where they live."""
    return [
        *more,
        {"task": "What is my name", "messages": r"My name is Ada[\s\S]*Where do I live", "turns": [{"answer": "Ada, as I said."}]},
        {"task": "What is my name", "messages": "My name is Ada", "turns": [{"answer": "Ada."}]},
        {"task": "My name is Ada", "turns": [{"answer": "Hello Ada."}]},
        {"task": "Where do I live", "turns": [{"answer": "In Rome."}]},
        {"turns": [{"answer": "I do not know."}]},
    ]


async def entries(stage, session):
    status, answer = await stage.agent.call("GET", f"/sessions/{session}")
    assert status == 200, answer
    return [(entry["task"], entry["answer"]) for entry in answer["entries"]]


async def test_a_run_knows_what_was_said_in_its_session_and_only_there_also_after_a_restart(stage):
    stage = await stage({"rules": remembering()})
    await stage.agent.ask("My name is Ada.", session_id="one")
    await stage.agent.kill()
    await stage.agent.start()
    assert (await stage.agent.ask("What is my name?", session_id="one"))["result"] == "Ada."
    assert (await stage.agent.ask("What is my name?", session_id="two"))["result"] == "I do not know."
    assert (await stage.agent.ask("What is my name?"))["result"] == "I do not know."
    assert await entries(stage, "one") == [("My name is Ada.", "Hello Ada."), ("What is my name?", "Ada.")]


async def test_two_runs_of_a_session_at_once_are_neither_lost_nor_mixed(stage):
    rules = [
        {"task": "and\\?", "messages": r"first[\s\S]*second|second[\s\S]*first", "turns": [{"answer": "Both."}]},
        {"messages": r"first[\s\S]*second|second[\s\S]*first", "turns": [{"answer": "Mixed."}]},
        {"task": "first", "turns": [{"answer": "1", "latency": "600ms"}]},
        {"task": "second", "turns": [{"answer": "2", "latency": "500ms"}]},
    ]
    stage = await stage({"rules": rules})
    ran = await asyncio.gather(*(stage.agent.ask(f"{which} question", session_id="one") for which in ("first", "second")))
    assert [run["result"] for run in ran] == ["1", "2"]
    assert sorted(await entries(stage, "one")) == [("first question", "1"), ("second question", "2")]
    assert (await stage.agent.ask("and?", session_id="one"))["result"] == "Both."


async def test_a_session_past_its_messages_is_summed_up_once_and_the_summary_is_what_later_runs_know(stage):
    rules = remembering(
        {
            "system": SUMMING,
            "task": "My name is Ada",
            "turns": [{"answer": "The user is called Ada Lovelace.", "usage": {"input": 70, "output": 7}}],
        },
        {
            "task": "What is my name",
            "messages": "called Ada Lovelace",
            "turns": [{"answer": "Ada Lovelace.", "usage": {"input": 10, "output": 1}}],
        },
    )
    stage = await stage({"rules": rules}, memory=MemoryConfig(max_messages=4))
    for task in ("My name is Ada.", "Where do I live?", "Where do I live?"):
        await stage.agent.ask(task, session_id="one")
    run = await stage.agent.ask("What is my name?", session_id="one")
    assert run["result"] == "Ada Lovelace."
    assert (await stage.agent.run(run["id"]))["tokens"] == {"input": 80, "output": 8}
    assert (await stage.agent.ask("What is my name?", session_id="one"))["result"] == "Ada Lovelace."
    summed = [
        call
        for call in (await stage.ledger("model"))["calls"]
        if "end of the conversation" in call["detail"]["task"] or call["detail"]["task"].startswith("[")
    ]
    assert len(summed) == 1


async def test_a_session_may_be_truncated_in_place_of_summed_up(stage):
    stage = await stage(
        {"rules": remembering({"system": SUMMING, "turns": [{"answer": "Never."}]})},
        memory=MemoryConfig(max_messages=2, compaction="truncate"),
    )
    for task in ("My name is Ada.", "Where do I live?"):
        await stage.agent.ask(task, session_id="one")
    assert (await stage.agent.ask("What is my name?", session_id="one"))["result"] == "I do not know."
    assert await entries(stage, "one") == [("Where do I live?", "In Rome."), ("What is my name?", "I do not know.")]


async def test_a_run_that_fails_or_is_canceled_adds_nothing(stage):
    rules = [{"task": "slow", "turns": [{"answer": "{}", "latency": "1s"}]}, {"turns": [{"answer": "no JSON", "repeat": 9}]}]
    stage = await stage({"rules": rules}, output=OutputConfig(schema={"type": "object"}, max_repairs=0))
    assert (await stage.agent.ask("fail", session_id="one"))["status"] == "FAILED"
    run = await stage.agent.begin("slow", session_id="one")
    await stage.agent.until(lambda: stage.underway("model"))
    status, _ = await stage.agent.call("POST", f"/runs/{run}/cancel")
    assert status in (200, 202)
    assert (await stage.agent.ended(run))["status"] == "CANCELED"
    status, _ = await stage.agent.call("GET", "/sessions/one")
    assert status == 404
