"""A model that is away is waited for, or another one is taken; a key that is not accepted ends a run in seconds and is named."""

import time

import pytest

from holdfast_agent.attempts import judge
from holdfast_agent.failures import MODEL_ATTEMPTS, SILENT_ATTEMPTS, backoff, envelope
from holdfast_agent.loop import MODEL, Step
from holdfast_agent.outcome import Failure
from holdfast_api.config import ModelConfig

FOR_EVER = 99
REFUSED = {"times": FOR_EVER, "status": 401, "message": "Incorrect API key provided: sk-proj-abcdefghijklmnop"}


def fallbacks(*names):
    return tuple(ModelConfig(component=name, label=f"openai/{name}", timeout_seconds=30) for name in names)


def model(*others, secret="openai/api-key"):
    return ModelConfig(component="llm", label="openai/scripted", timeout_seconds=30, secret=secret, fallbacks=fallbacks(*others))


def failing(name, **fault):
    return {"model": name, "turns": [{"answer": "never", "faults": [{"times": FOR_EVER, "status": 503} | fault]}]}


async def order(stage):
    return [call["name"] for call in (await stage.ledger("model"))["calls"]]


@pytest.mark.dapr
async def test_fallbacks_are_taken_in_order_and_the_one_that_answers_is_kept(stage):
    search = {"toolCalls": [{"name": "search", "arguments": {"city": "Rome"}}]}
    rules = [failing("scripted", **REFUSED), failing("second", **REFUSED), {"model": "third", "turns": [search, {"answer": "Here."}]}]
    models = ["second", "third"]
    stage = await stage({"rules": rules, "tools": {"search": {}}}, "search", models=models, model=model(*models))
    run = await stage.agent.ask("Hello?")
    assert (run["status"], run["result"]) == ("COMPLETED", "Here.")
    assert await order(stage) == ["scripted", "second", "third", "third"]


@pytest.mark.dapr
async def test_a_model_that_may_come_back_is_asked_three_times_before_the_next_one_is(stage):
    stage = await stage({"rules": [failing("scripted"), {"turns": [{"answer": "Here."}]}]}, models=["second"], model=model("second"))
    run = await stage.agent.ask("Hello?")
    assert (run["status"], run["result"]) == ("COMPLETED", "Here.")
    assert await order(stage) == ["scripted"] * 3 + ["second"]


@pytest.mark.dapr
async def test_a_model_that_takes_requests_and_answers_none_is_given_up_for_the_next_one(stage):
    silent = model("second").model_copy(update={"timeout_seconds": 0.5})
    rules = [failing("scripted", status=None, hang="2s"), {"turns": [{"answer": "Here."}]}]
    stage = await stage({"rules": rules}, models=["second"], model=silent)
    run = await stage.agent.ask("Hello?")
    assert (run["status"], run["result"]) == ("COMPLETED", "Here.")
    assert await order(stage) == ["scripted"] * 3 + ["second"]


@pytest.mark.dapr
async def test_a_key_that_is_not_accepted_fails_the_run_in_seconds_and_names_its_secret(stage):
    stage = await stage({"rules": [failing("scripted", **REFUSED)]}, model=model())
    began = time.monotonic()
    run = await stage.agent.ask("Hello?")
    assert time.monotonic() - began < 5
    assert (run["status"], run["error"]["type"]) == ("FAILED", "ModelFailed")
    assert "Secret 'openai', key 'api-key' (spec.model.apiKeySecretRef)" in run["error"]["message"]
    assert "abcdefgh" not in str(run) + stage.agent.log.read_text()
    assert await order(stage) == ["scripted"]


@pytest.mark.dapr
async def test_models_none_of_which_accepts_its_key_fail_the_run(stage):
    rules = [failing("scripted", **REFUSED), failing("second", **REFUSED)]
    stage = await stage({"rules": rules}, models=["second"], model=model("second"))
    run = await stage.agent.ask("Hello?")
    assert (run["status"], run["error"]["type"]) == ("FAILED", "ModelFailed")
    assert await order(stage) == ["scripted", "second"]


@pytest.mark.dapr
async def test_a_model_that_is_away_for_a_while_costs_a_wait_that_people_see_and_not_the_run(stage):
    rules = [{"turns": [{"answer": "Back again.", "faults": [{"times": 3, "status": 503}]}]}]
    stage = await stage({"rules": rules})
    run = await stage.agent.begin("Hello?")

    async def waiting():
        return "503" in str(await stage.agent.run(run))

    await stage.agent.until(waiting)
    assert (await stage.agent.ended(run))["result"] == "Back again."
    assert len(await order(stage)) == 4


def test_the_attempts_at_a_model_span_more_than_ten_minutes():
    assert sum(backoff("run/1/model", attempt) for attempt in range(1, MODEL_ATTEMPTS)) > 600
    silent = Failure("transient", "no answer", cause="silent")
    waits = [envelope("run/1/model", silent, attempt)["error"]["retryAfter"] for attempt in range(1, SILENT_ATTEMPTS)]
    assert sum(waits) > 600
    assert sum(waits[:2]) < 5


def test_a_model_that_does_not_answer_is_asked_five_times_at_most():
    step = Step(MODEL, "r/1/model", MODEL_ATTEMPTS, {})
    answer = envelope(step.key, Failure("transient", "no answer", cause="silent"), 1)
    assert judge(step, {"silent": SILENT_ATTEMPTS - 2}, answer).result is None
    assert judge(step, {"silent": SILENT_ATTEMPTS - 1}, answer).result == answer
