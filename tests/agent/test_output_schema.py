"""An answer against `output.schema`: what is taken, and what the model is told about the rest."""

import json
import time

import pytest

from holdfast_agent import verdicts
from holdfast_agent.answers import MAX_BYTES, Contract, Unfit, unfenced
from holdfast_agent.model import user_message

SCHEMA = {
    "type": "object",
    "properties": {
        "total": {"type": "number"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}},
        "unit": {"enum": ["EUR", "USD"]},
    },
    "required": ["total"],
    "additionalProperties": False,
}


@pytest.fixture
def contract():
    return Contract(SCHEMA)


@pytest.mark.parametrize(
    "said",
    [
        '{"total": 3}',
        ' \n{"total": 3}\n',
        '```json\n{"total": 3}\n```',
        '```\n{"total": 3}\n```',
        'Here it is:\n```json\n{"total": 3}\n```\nAnything else?',
    ],
)
def test_json_that_fits_is_taken_with_or_without_a_fence(contract, said):
    assert contract.read(said) == '{"total": 3}'


def test_a_fence_inside_of_the_json_is_left_where_it_is():
    answer = json.dumps({"text": "```\ncode\n```"})
    assert unfenced(answer) == answer
    assert unfenced("no fence") == "no fence"


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ('{"total": "3 EUR"}', '$.total is "3 EUR", and the schema wants type: "number"'),
        ('{"total": 1, "items": [{"price": 1}, {}]}', "$.items[1]: 'price' is a required property"),
        ("{}", "$: 'total' is a required property"),
        ('{"total": 1, "sum": 1}', "'sum' was unexpected"),
        ('{"total": 1, "unit": "GBP"}', '$.unit is "GBP", and the schema wants enum: ["EUR", "USD"]'),
        ("[1]", '$ is [1], and the schema wants type: "object"'),
        ("The total is 3.", 'It is no JSON (Expecting value: line 1 column 1 (char 0)); it begins with "The total is 3."'),
        ('{"total": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "recursion"),
        (f'{{"total": "{"x" * MAX_BYTES}"}}', f"at most {MAX_BYTES} are taken"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_the_value_and_what_the_schema_wants(contract, said, problem):
    unfit = contract.read(said)
    assert isinstance(unfit, Unfit)
    assert problem in unfit.problem
    assert len(unfit.problem) < 1000
    assert unfit.problem in unfit.feedback


def test_the_branch_that_nearly_fits_is_the_one_that_is_explained():
    contract = Contract({"anyOf": [{"type": "integer"}, {"type": "object", "required": ["price"]}]})
    assert "'price' is a required property" in contract.read('{"prise": 1}').problem


def test_many_problems_are_told_in_part():
    contract = Contract({"type": "array", "items": {"type": "integer"}})
    problem = contract.read(json.dumps(["x"] * 50)).problem
    assert problem.count("$[") == 5
    assert problem.endswith("and 45 more")
    assert contract.read(json.dumps(["x"] * 50_000)).problem.endswith("and at least 95 more")


@pytest.mark.parametrize("said", ["```x\n" * 40_000, "[" + '"x",' * 40_000 + "1]", '{"' + "k" * 200_000 + '": 1, "total": "x"}'])
def test_a_monstrous_answer_takes_no_time_and_its_problem_stays_short(contract, said):
    began = time.monotonic()
    unfit = contract.read(said)
    assert time.monotonic() - began < 1
    assert len(unfit.problem) < 1500


def test_what_is_told_can_be_stored_and_sent_whatever_the_answer_holds(contract):
    said = r'{"\ud800": 1, "total": "\ud800"}'
    contract.read(said).feedback.encode()
    judgement = verdicts.read(r'{"accepted": false, "feedback": "\ud800 is missing"}')
    judgement.feedback.encode()
    assert user_message("\ud800 and more").of_user.content[0].text == "? and more"


def test_a_schema_that_is_none_is_refused_with_its_place():
    with pytest.raises(ValueError, match=r"output\.schema\.properties\.a\.type is no JSON Schema"):
        Contract({"properties": {"a": {"type": "nubmer"}}})


def test_a_reference_into_nowhere_is_told_and_never_fetched():
    assert "refers to" in Contract({"$ref": "http://127.0.0.1:9/schema.json"}).read("1").problem


def test_the_model_is_told_the_schema(contract):
    assert json.dumps(SCHEMA, sort_keys=True, separators=(",", ":")) in contract.instructions
