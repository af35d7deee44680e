"""A run on a real Dapr: from the request to the answer."""

import pytest

from tests.agent.agents import stage  # noqa: F401 - a fixture

pytestmark = pytest.mark.dapr

FLIGHTS = {
    "rules": [
        {
            "turns": [
                {"toolCalls": [{"name": "search", "arguments": {"city": "Paris"}}, {"name": "search", "arguments": {"city": "Rome"}}]},
                {"answer": "Take the train."},
            ]
        }
    ],
    "tools": {"search": {"result": {"flights": ["AF1"]}}},
}


async def test_a_run_gets_its_answer_through_model_and_tools(stage):
    here = await stage(FLIGHTS, "search")
    answer = await here.agent.ask("Where to?", id="trip-1")
    assert answer["result"] == "Take the train."
    assert answer["status"] == "COMPLETED"
    assert (answer["turn"], answer["tool_calls"]) == (2, 2)
    assert answer["tokens"]["input"] > 0
