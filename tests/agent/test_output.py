"""Runs whose answer has to fit `output.schema`, and runs of models that answer garbage."""

from holdfast_api.config import LimitsConfig, OutputConfig
from tests.agent.test_output_schema import SCHEMA

OUTPUT = OutputConfig(schema=SCHEMA)


async def test_an_answer_that_does_not_fit_is_sent_back_with_the_reason_and_the_corrected_one_is_the_result(stage):
    rules = [
        {"task": r"\$\.total is \"three\", and the schema wants type", "turns": [{"answer": '```json\n{"total": 3}\n```'}]},
        {"system": "must be valid against this JSON Schema", "turns": [{"answer": '{"total": "three"}'}]},
    ]
    stage = await stage({"rules": rules}, output=OUTPUT)
    run = await stage.agent.ask("Add it up.")
    assert (run["status"], run["result"]) == ("COMPLETED", '{"total": 3}')
    assert (await stage.ledger("model"))["summary"]["model"]["requests"] == 2
    assert run["turn"] == 2


async def test_a_model_that_never_fits_fails_the_run_with_what_is_wrong(stage):
    stage = await stage({"rules": [{"turns": [{"answer": '{"total": "three"}', "repeat": 9}]}]}, output=OUTPUT)
    run = await stage.agent.ask("Add it up.")
    assert (run["status"], run["error"]["type"]) == ("FAILED", "OutputInvalid")
    for part in ("after it was told 2 times", "output.maxRepairs", '$.total is "three"', 'type: "number"'):
        assert part in run["error"]["message"]
    assert (await stage.ledger("model"))["summary"]["model"]["requests"] == 3


async def test_a_run_is_held_to_the_schema_that_it_began_with(stage):
    rules = [
        {"task": "cannot be taken", "turns": [{"answer": '{"total": 3}'}]},
        {"turns": [{"answer": "three", "latency": "1s"}]},
    ]
    stage = await stage({"rules": rules}, output=OUTPUT)
    run = await stage.agent.begin("Add it up.")
    await stage.agent.until(lambda: stage.underway("model"))
    await stage.agent.kill()
    stage.agent.configure(stage.config.model_copy(update={"output": None}))
    await stage.agent.start()
    assert (await stage.agent.ended(run))["result"] == '{"total": 3}'
    assert (await stage.agent.ask("Add it up."))["result"] == "three"


async def test_an_answer_that_was_cut_off_is_asked_for_again_and_only_so_often(stage):
    rules = [
        {"messages": "for ever", "turns": [{"answer": "It is the 3rd of", "finishReason": "length"}]},
        {"task": "has to be shorter", "turns": [{"answer": "Short."}]},
        {"turns": [{"answer": "It is the 3rd of", "finishReason": "length"}]},
    ]
    stage = await stage({"rules": rules})
    assert (await stage.agent.ask("Tell me."))["result"] == "Short."
    run = await stage.agent.ask("Tell me for ever.")
    assert (run["status"], run["turn"]) == ("FAILED", 3)
    assert "finish reason 'length'" in run["error"]["message"]


async def test_unknown_tools_and_arguments_that_are_no_json_are_told_to_the_model(stage):
    calls = [
        {"name": "no such tool", "arguments": {}},
        {"name": "weather", "arguments": '{"city": "Rome"'},
        {"name": "weather", "arguments": "[1]"},
        {"name": "weather", "arguments": {"town": "Rome"}},
        {"name": "weather", "arguments": {"city": "Rome"}},
    ]
    script = {"rules": [{"turns": [{"toolCalls": calls}, {"answer": "20 degrees."}]}], "tools": {"weather": {"result": "20"}}}
    stage = await stage(script, "weather")
    run = await stage.agent.ask("How is it?")
    assert (run["status"], run["result"]) == ("COMPLETED", "20 degrees.")
    results = [step for step in await stage.agent.steps(run["id"]) if step["kind"] == "tool"]
    assert [step["status"] for step in results] == ["failed"] * 4 + ["completed"]
    assert (await stage.ledger("tool"))["summary"]["tool"]["requests"] == 1


async def test_a_model_that_only_calls_what_is_not_there_ends_at_its_limit(stage):
    rules = [{"turns": [{"toolCalls": [{"name": "nothing", "arguments": "{"}], "repeat": 50}]}]
    stage = await stage({"rules": rules}, limits=LimitsConfig(max_iterations=4))
    run = await stage.agent.ask("Go.")
    assert (run["status"], run["error"]["type"]) == ("FAILED", "LimitExceeded")
    assert (await stage.ledger("model"))["summary"]["model"]["requests"] == 4


async def test_a_limit_that_asks_for_the_best_answer_gets_it_without_the_calls_that_were_left(stage):
    rules = [
        {"task": r"limit of this run \(limits\.maxToolCalls\)", "messages": "not carried out", "turns": [{"answer": "About 20 degrees."}]},
        {"turns": [{"toolCalls": [{"name": "weather", "arguments": {"city": city}}]} for city in ("Rome", "Oslo", "Bonn")]},
    ]
    limits = LimitsConfig(max_tool_calls=2, on_exceeded="answer")
    stage = await stage({"rules": rules, "tools": {"weather": {"result": "20"}}}, "weather", limits=limits)
    run = await stage.agent.ask("How is it?")
    assert (run["status"], run["result"]) == ("COMPLETED", "About 20 degrees.")
    assert (await stage.ledger("tool"))["summary"]["tool"]["requests"] == 2
