"""The records of a run that was recalled, summed up, sent back, judged and cut short by a limit hold together."""

import pytest

from holdfast_api.config import EvaluationConfig, LimitsConfig, MemoryConfig, ModelConfig, OutputConfig
from tests.agent.test_audit_runs import report, signing, store_file  # noqa: F401 - fixtures

pytestmark = pytest.mark.dapr

READ = {"toolCalls": [{"name": "read", "arguments": {"city": "Rome"}}]}
SCHEMA = {"type": "object", "required": ["total"]}


def rules(*more):
    return [
        {"system": "sum up an earlier conversation", "turns": [{"answer": "They said hello."}]},
        {"system": "sum up the work on a task", "turns": [{"answer": "Rome was read."}]},
        {"system": "You judge an answer", "task": '"total": 2', "turns": [{"answer": '{"accepted": true}'}]},
        {"system": "You judge an answer", "turns": [{"answer": '{"accepted": false, "feedback": "Add them up."}'}]},
        *more,
        {"task": "cannot be taken", "turns": [{"answer": {"total": 1}}]},
        {"task": "Add them up", "turns": [READ, {"answer": {"total": 2}}]},
        {"task": "Rome was read", "turns": [READ, {"answer": "two"}]},
        {"task": "work", "turns": [READ, READ | {"usage": {"input": 3100, "output": 1}}, {"answer": "never"}]},
        {"turns": [{"answer": {"total": 0}}]},
    ]


async def test_every_record_of_a_run_that_uses_all_a_model_can_do_verifies(signing, store_file):  # noqa: F811 - fixtures
    here = await signing(
        {"rules": rules(), "tools": {"read": {"result": "x" * 100}}},
        "read",
        model=ModelConfig(component="llm", label="openai/scripted", timeout_seconds=30, context_tokens=4000),
        memory=MemoryConfig(max_messages=2),
        output=OutputConfig(schema=SCHEMA),
        evaluation=EvaluationConfig(criteria="Be right.", max_rounds=2),
    )
    for task in ("Hello.", "Hello again.", "Do the work."):
        run = await here.agent.ask(task, session_id="one")
    assert (run["status"], run["result"], run["evaluation"]["accepted"]) == ("COMPLETED", '{"total": 2}', True)
    documents = store_file.documents(run["id"])
    assert {name.rpartition("/")[2] for name in documents} >= {"context", "compact", "evaluation", "model"}
    found = report(documents, run["id"])
    assert found.intact, found


async def test_calls_that_a_limit_came_before_are_on_record_as_skipped(signing, store_file):  # noqa: F811 - fixtures
    last = {"task": "limit of this run", "turns": [{"answer": "Nearly done."}]}
    limits = LimitsConfig(max_tool_calls=1, on_exceeded="answer")
    here = await signing({"rules": [last, {"turns": [READ, READ]}], "tools": {"read": {}}}, "read", limits=limits)
    run = await here.agent.ask("Do the work.")
    assert (run["status"], run["result"], run["exceeded"]) == ("COMPLETED", "Nearly done.", "maxToolCalls")
    documents = store_file.documents(run["id"])
    assert documents[f"run/{run['id']}/2/0"]["outcome"] == "skipped"
    found = report(documents, run["id"])
    assert found.intact, found


async def test_calls_that_were_skipped_before_a_model_that_failed_are_on_record_too(signing, store_file):  # noqa: F811 - fixtures
    fault = {"times": 9, "status": 401, "message": "Incorrect API key provided: x"}
    last = {"task": "limit of this run", "turns": [{"answer": "never", "faults": [fault]}]}
    limits = LimitsConfig(max_tool_calls=1, on_exceeded="answer")
    here = await signing({"rules": [last, {"turns": [READ, READ]}], "tools": {"read": {}}}, "read", limits=limits)
    run = await here.agent.ask("Do the work.")
    assert run["status"] == "FAILED"
    found = report(store_file.documents(run["id"]), run["id"])
    assert found.intact, found


async def test_an_answer_that_was_sent_back_before_its_turns_were_packed_verifies(signing, store_file):  # noqa: F811 - fixtures
    reads = [{"toolCalls": [{"name": "read", "arguments": {"city": f"city {number}"}}]} for number in range(20)]
    critic = {"system": "You judge an answer", "turns": [{"answer": '{"accepted": false, "feedback": "Read on."}'}]}
    script = {
        "rules": [critic, {"task": "Read on", "turns": [*reads, {"answer": "read"}]}, {"turns": [{"answer": "no"}]}],
        "tools": {"read": {}},
    }
    here = await signing(
        script, "read", limits=LimitsConfig(max_iterations=30), evaluation=EvaluationConfig(criteria="Be right.", max_rounds=1)
    )
    run = await here.agent.ask("Do the work.")
    assert (run["status"], run["result"]) == ("COMPLETED", "read")
    documents = store_file.documents(run["id"])
    assert (documents[f"run/{run['id']}"]["packed"], documents[f"run/{run['id']}/1/evaluation"]["accepted"]) == (20, False)
    found = report(documents, run["id"])
    assert found.intact, found
