"""When pods of another version of the operator are left as they are, and when not."""

from dataclasses import replace
from typing import Any

import pytest

from holdfast_api.defaults import AgentDefaults
from holdfast_operator import kinds
from holdfast_operator.desired import desired
from holdfast_operator.desired.pins import Past, Pins, pins_of
from holdfast_operator.desired.standing import ANNOTATION_MARK, Mark, Standing, Writing, inputs_of, only_adds
from tests.operator.test_desired import DEFAULT, agent, resolved

SPEC: dict[str, Any] = {"role": "Helper", "replicas": 2}
OURS, THEIRS = "this-program", "another-program"


def inputs(spec: dict[str, Any], *, defaults: AgentDefaults = DEFAULT, texts: object = None, secrets: str = "") -> str:
    return inputs_of(agent(spec), defaults, texts, secrets)


def there(**other: Any) -> Standing:
    """Pods of another program, made from the same Agent."""
    pins = pins_of(resolved(agent(SPEC)))
    components = frozenset(name for name, _ in pins.models)
    return replace(Standing(Mark(THEIRS, inputs(SPEC)), "0123456789ab", pins, components), **other)


NOW = Mark(OURS, inputs(SPEC))
NOBODY = Past()


def test_pods_of_another_program_stay_while_what_they_follow_from_is_the_same() -> None:
    assert there().stays(NOW, NOBODY)


@pytest.mark.parametrize(
    "other",
    [
        {"mark": Mark(OURS, inputs(SPEC))},
        {"mark": Mark(THEIRS, inputs(SPEC | {"goal": "Another"}))},
        {"mark": Mark()},
        {"components": frozenset()},
        {"touched": True},
    ],
    ids=["our own", "of another Agent", "of nobody knows what", "whose model is gone", "that somebody changed"],
)
def test_pods_do_not_stay(other: dict[str, Any]) -> None:
    assert not there(**other).stays(NOW, NOBODY)


def test_pods_that_lack_what_earlier_runs_need_do_not_stay() -> None:
    earlier = Pins("s", frozenset({("a-llm-0", 1)}), container=frozenset({("old", "key")}))

    assert not there().stays(NOW, Past(pins=(earlier,)))


@pytest.mark.parametrize(
    "change", [{"replicas": 7}, {"suspend": True}, {"limits": {}}, {"access": {"auth": "token"}}], ids=lambda change: next(iter(change))
)
def test_the_number_of_pods_and_defaults_written_out_are_no_change(change: dict[str, Any]) -> None:
    assert inputs(SPEC | change) == inputs(SPEC)


def test_agents_defaults_texts_and_secrets_are_what_pods_follow_from() -> None:
    other = DEFAULT.model_copy(update={"image": "another:1"})
    found = [
        inputs(SPEC),
        inputs(SPEC | {"goal": "Another"}),
        inputs(SPEC, defaults=other),
        inputs(SPEC, texts={"a": {"b": "c"}}),
        inputs(SPEC, secrets="1"),
    ]

    assert len(set(found)) == len(found)


def test_with_pods_that_stand_all_else_is_as_this_version_has_it() -> None:
    found = agent(SPEC)
    newest = desired(found, resolved(found), DEFAULT, writing=Writing(NOW))
    steps = desired(found, resolved(found), DEFAULT, writing=Writing(NOW, there()))

    left = {(child.kind, child.name) for step in steps for child in step if child.stands}
    assert left == {(kinds.DEPLOYMENT, "a"), (kinds.CONFIG_MAP, "a-config-0123456789ab")}
    written = {(child.kind, child.name) for step in steps for child in step if not child.stands}
    everything = {(child.kind, child.name) for step in newest for child in step}
    assert everything - written == {place for place in everything if place[0] in {kinds.DEPLOYMENT, kinds.CONFIG_MAP}}


def test_a_model_that_another_program_made_in_other_words_stands_beside_its_revision() -> None:
    found, pins = agent(SPEC), Pins("s", frozenset({("a-llm-old", 120_000)}))
    standing = there(pins=pins, components=frozenset({"a-llm-old"}))
    past = Past(pins=(pins,), kept="")
    steps = desired(found, resolved(found), DEFAULT, past, writing=Writing(NOW, standing))

    models = {child.name: child.stands for step in steps for child in step if child.kind == kinds.COMPONENT and "llm" in child.name}
    assert models == {"a-llm-old": True}


def test_a_deployment_says_who_wrote_it_and_from_what() -> None:
    found = agent(SPEC)
    (deployment,) = [
        child.manifest
        for step in desired(found, resolved(found), DEFAULT, writing=Writing(NOW))
        for child in step
        if child.kind == kinds.DEPLOYMENT
    ]

    assert Mark.parse(deployment["metadata"]["annotations"][ANNOTATION_MARK]) == NOW


@pytest.mark.parametrize("text", ["", "{}", "[]", "words", '{"program": 1}'], ids=["nothing", "empty", "list", "words", "half"])
def test_a_mark_that_cannot_be_read_is_nobodys(text: str) -> None:
    assert Mark.parse(text) == Mark()


@pytest.mark.parametrize(
    ("before", "after", "adds"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": 2, "b": 2}, False),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ([{"name": "x", "v": 1}], [{"name": "w"}, {"name": "x", "v": 1, "u": 2}], True),
        ([{"name": "x"}, {"name": "y"}], [{"name": "x"}], False),
        ([{"k": 1}], [{"k": 1}, {"k": 2}], False),
        ([1, 2], [1, 2], True),
        ("a", "b", False),
        ({}, None, False),
    ],
    ids=["more", "another value", "less", "named items", "an item less", "unnamed items", "the same", "another text", "nothing"],
)
def test_a_document_only_adds_to_another_one(before: object, after: object, adds: bool) -> None:  # noqa: FBT001
    assert only_adds(before, after) is adds
