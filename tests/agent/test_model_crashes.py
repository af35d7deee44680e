"""kill -9 inside each kind of model call: it is the only one that is made again, and what it then says is used once."""

from datetime import UTC, datetime, timedelta

import pytest

from holdfast_api.config import EvaluationConfig, MemoryConfig, ModelConfig

pytestmark = pytest.mark.dapr

KINDS = {
    "recall": "sum up an earlier conversation",
    "compact": "sum up the work on a task",
    "evaluate": "You judge an answer",
    "model": "You are the prompt",
}


def rules(slow):
    """Every kind of model call once in a run of the session, the slow one for a second."""

    def said(kind, turn):
        return turn | {"latency": "1s"} if kind == slow else turn

    read = {"toolCalls": [{"name": "read", "arguments": {"city": "Rome"}}]}
    full = read | {"usage": {"input": 3100, "output": 1}}
    return [
        {"system": KINDS["recall"], "turns": [said("recall", {"answer": "They said hello."})]},
        {"system": KINDS["compact"], "turns": [said("compact", {"answer": "Rome was read."})]},
        {"system": KINDS["evaluate"], "turns": [said("evaluate", {"answer": '{"accepted": true}'})]},
        {"task": r"They said hello[\s\S]*work[\s\S]*Rome was read", "turns": [read, said("model", {"answer": "All is well."})]},
        {"task": "work", "turns": [read, full, {"answer": "I forgot."}]},
        {"turns": [{"answer": "Hello."}]},
    ]


@pytest.mark.parametrize("slow", list(KINDS))
async def test_only_the_call_that_was_interrupted_is_made_again(stage, slow):
    stage = await stage(
        {"rules": rules(slow), "tools": {"read": {"result": "x" * 100}}},
        "read",
        model=ModelConfig(component="llm", label="openai/scripted", timeout_seconds=30, context_tokens=4000),
        memory=MemoryConfig(max_messages=2),
    )
    for _ in range(2):
        await stage.agent.ask("Hello.", session_id="one")
    await stage.agent.terminate()
    stage.agent.configure(stage.config.model_copy(update={"evaluation": EvaluationConfig(criteria="Be right.")}))
    await stage.agent.start()
    run = await stage.agent.begin("Do the work.", session_id="one")
    await stage.agent.until(lambda: _slow_one(stage), within=30)
    await stage.agent.kill()
    await stage.agent.start()
    ended = await stage.agent.ended(run)
    assert (ended["status"], ended["result"], ended["evaluation"]) == ("COMPLETED", "All is well.", {"accepted": True, "rounds": 1})
    keys = [call["key"] for call in (await stage.ledger("model"))["calls"]][2:]
    assert len(keys) == len(set(keys)) + 1
    assert (await stage.ledger("tool"))["summary"]["tool"]["repeated"] == 0


async def _slow_one(stage):
    """Whether a call has been under way for longer than the quick ones take."""
    began = [datetime.fromisoformat(call["started"]) for call in (await stage.ledger("model"))["calls"] if call["finished"] is None]
    return any(datetime.now(UTC) - at > timedelta(milliseconds=300) for at in began)
