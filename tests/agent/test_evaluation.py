"""A critic reads an answer before it is given: it is good enough, or the model is told what to change, and all of it is bounded."""

import pytest

from holdfast_agent import verdicts
from holdfast_agent.answers import Unfit
from holdfast_api.config import EvaluationConfig, ModelConfig, OutputConfig

CRITIC = "You judge an answer against criteria"
YES, NO = '{"accepted": true}', '{"accepted": false, "feedback": "Say it in Italian."}'


def critic(says, *, usage=None, **conditions):
    return {"system": CRITIC, "turns": [{"answer": says, "usage": usage}], **conditions}


async def requests(stage, **of):
    calls = (await stage.ledger("model"))["calls"]
    return [call for call in calls if all(call[name] == value for name, value in of.items())]


async def test_an_answer_that_meets_the_criteria_is_the_result(stage):
    rules = [
        critic(YES, task=r"\[criteria\]\nBe polite\.\n\n\[task\]\nGreet me\.\n\n\[answer\]\nHello\."),
        {"turns": [{"answer": "Hello."}]},
    ]
    stage = await stage({"rules": rules}, evaluation=EvaluationConfig(criteria="Be polite."))
    run = await stage.agent.ask("Greet me.")
    assert (run["status"], run["result"], run["evaluation"]) == ("COMPLETED", "Hello.", {"accepted": True, "rounds": 1})
    assert len(await requests(stage)) == 2


async def test_an_answer_that_is_sent_back_is_improved_with_the_critics_words_and_all_of_it_counts(stage):
    said, judged = {"usage": {"input": 10, "output": 1}}, {"usage": {"input": 100, "output": 20}}
    rules = [
        critic(YES, task="Buongiorno", **judged),
        critic(NO, **judged),
        {"task": "sent back:\nSay it in Italian", "messages": "Hello", "turns": [{"answer": "Buongiorno.", **said}]},
        {"turns": [{"answer": "Hello.", **said}]},
    ]
    stage = await stage({"rules": rules}, evaluation=EvaluationConfig(criteria="Be Italian."))
    run = await stage.agent.ask("Greet me.")
    assert (run["result"], run["evaluation"]) == ("Buongiorno.", {"accepted": True, "rounds": 2})
    run = await stage.agent.run(run["id"])
    assert (run["turn"], run["tokens"]) == (2, {"input": 220, "output": 42})


async def test_a_critic_that_is_never_content_is_asked_so_often_and_the_answer_after_that_is_given(stage):
    rules = [critic(NO), {"turns": [{"answer": "Hello."}]}]
    stage = await stage({"rules": rules}, evaluation=EvaluationConfig(criteria="Be Italian.", max_rounds=2))
    run = await stage.agent.ask("Greet me.")
    assert (run["status"], run["result"], run["evaluation"]) == ("COMPLETED", "Hello.", {"accepted": False, "rounds": 2})
    assert len(await requests(stage)) == 3 + 2


async def test_a_critic_of_its_own_judges_only_what_fits_the_schema(stage):
    rules = [
        critic(YES, model="critic", task=r'\[answer\]\n\{"total": 3\}'),
        {"task": "cannot be taken", "turns": [{"answer": '```json\n{"total": 3}\n```'}]},
        {"turns": [{"answer": "three"}]},
    ]
    evaluation = EvaluationConfig(criteria="Be right.", model=ModelConfig(component="critic", label="openai/critic"))
    schema = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}
    stage = await stage({"rules": rules}, models=["critic"], evaluation=evaluation, output=OutputConfig(schema=schema))
    run = await stage.agent.ask("Add it up.")
    assert (run["status"], run["result"]) == ("COMPLETED", '{"total": 3}')
    assert len(await requests(stage, name="critic")) == 1


async def test_a_critic_that_cannot_be_read_is_asked_again_with_a_reminder(stage):
    rules = [
        critic(f"Well: {YES}", messages="An earlier reply of yours was not such a JSON object"),
        critic("I like it."),
        {"turns": [{"answer": "Hello."}]},
    ]
    stage = await stage({"rules": rules}, evaluation=EvaluationConfig(criteria="Be polite."))
    run = await stage.agent.ask("Greet me.")
    assert (run["status"], run["evaluation"]["accepted"]) == ("COMPLETED", True)


async def test_a_critic_that_never_can_be_read_fails_the_run_after_three_tries(stage):
    rules = [critic("I like it."), {"turns": [{"answer": "Hello."}]}]
    stage = await stage({"rules": rules}, evaluation=EvaluationConfig(criteria="Be polite."))
    run = await stage.agent.ask("Greet me.")
    assert (run["status"], run["error"]["type"]) == ("FAILED", "ModelFailed")
    assert "spec.evaluation.model" in run["error"]["message"]
    assert '"I like it."' in run["error"]["message"]
    assert len(await requests(stage)) == 1 + 3


@pytest.mark.parametrize(
    ("reply", "accepted", "feedback"),
    [
        (YES, True, ""),
        (f"```json\n{YES}\n```", True, ""),
        (f"My verdict is {NO}. Bye.", False, "Say it in Italian."),
        ('{"accepted": true, "feedback": "Lovely."}', True, ""),
    ],
)
def test_a_judgement_is_found_in_what_a_critic_says(reply, accepted, feedback):
    assert verdicts.read(reply) == verdicts.Judgement(accepted, feedback)


@pytest.mark.parametrize(
    "reply", ["", "yes", '{"accepted": "yes"}', '{"accepted": false}', '{"accepted": false, "feedback": ""}', "{", "[]"]
)
def test_what_is_no_judgement_is_not_taken_for_one(reply):
    assert isinstance(verdicts.read(reply), Unfit)


def test_a_long_answer_is_cut_to_what_the_critic_can_take():
    _, question = verdicts.asked("Be short.", "Task.", "x" * 100_000, context=1000, again=False)
    assert len(question) < 2500
    assert "cut off here: this text has 100000 bytes" in question
