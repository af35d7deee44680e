"""Another model reads what a named tool said, and yet another one sums up, with the real sidecar."""

import pytest

from holdfast_api.config import MemoryConfig, ModelConfig, RouteConfig


def model(component, name):
    return ModelConfig(component=component, label=f"openai/{name}", timeout_seconds=30, context_tokens=400)


def call(tool, **more):
    return {"toolCalls": [{"name": tool, "arguments": {"city": "Rome"}}], **more}


@pytest.mark.dapr
async def test_the_model_of_a_route_reads_the_result_and_the_one_of_memory_sums_up(stage):
    rules = [
        {"model": "deep", "turns": [{"answer": "too early"}, call("weather", usage={"input": 350, "output": 10})]},
        {"model": "small", "turns": [{"answer": "It was about Rome."}]},
        {"turns": [call("search"), {"answer": "Here."}]},
    ]
    long = {"result": "x" * 300}
    stage = await stage(
        {"rules": rules, "tools": {"search": long, "weather": long}},
        "search",
        "weather",
        models=["deep", "small"],
        model=model("llm", "scripted"),
        routes=(RouteConfig(tools=("search",), model=model("deep", "deep")),),
        memory=MemoryConfig(model=model("small", "small")),
    )
    run = await stage.agent.ask("Rome?")

    assert (run["status"], run["result"]) == ("COMPLETED", "Here.")
    assert [asked["name"] for asked in (await stage.ledger("model"))["calls"]] == ["scripted", "deep", "small", "scripted"]
