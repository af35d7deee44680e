"""Components that exist already: what is wrong with them for an Agent is told before its pods find out."""

import pytest

from holdfast_api.config import AgentConfig, ModelConfig, PubsubConfig
from holdfast_operator.components import ComponentFacts, problem

STORE = ComponentFacts("state.redis", ("a",), actors=True)
CONFIG = AgentConfig(
    name="a", model=ModelConfig(component="llm", label="x"), state_component="store", memory_component="documents",
    pubsub=PubsubConfig(component="broker"),
)  # fmt: skip
GOOD = {
    "llm": ComponentFacts("conversation.openai"),
    "store": STORE,
    "documents": ComponentFacts("state.redis", ("other", "a")),
    "broker": ComponentFacts("pubsub.redis"),
    "elsewhere": ComponentFacts("state.redis", ("b",), actors=True),
}


def test_facts_are_read_from_the_object() -> None:
    entry = {"name": "ActorStateStore", "value": "True"}
    live = {"spec": {"type": "state.redis", "metadata": [entry, {"name": "x", "secretKeyRef": {"name": "s"}}]}, "scopes": ["a"]}

    assert ComponentFacts.of(live) == STORE
    assert ComponentFacts.of({"spec": {"type": "state.redis", "metadata": [{"name": "actorStateStore", "value": "false"}]}}).actors is False
    assert ComponentFacts.of({}) == ComponentFacts()


def test_components_that_fit_are_no_problem() -> None:
    assert problem(CONFIG, GOOD, GOOD.keys() - {"elsewhere"}) is None
    assert problem(CONFIG, GOOD | {"store": ComponentFacts("state.redis", actors=True)}, {"store"}) is None


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        ("llm", ComponentFacts("state.redis"), "needs one of type conversation"),
        ("store", ComponentFacts("pubsub.redis", actors=True), "needs one of type state"),
        ("broker", ComponentFacts("bindings.cron"), "needs one of type pubsub"),
        ("documents", ComponentFacts("state.redis", ("b", "c")), "scoped to b, c: add 'a' to its scopes"),
        ("store", ComponentFacts("state.redis"), "set its metadata actorStateStore"),
    ],
    ids=["model", "store", "broker", "scopes", "actors"],
)
def test_one_that_does_not_fit_is_named_with_the_fix(name: str, facts: ComponentFacts, words: str) -> None:
    told = problem(CONFIG, GOOD | {name: facts}, [name])

    assert told is not None
    assert repr(name) in told
    assert words in told


def test_two_stores_for_workflows_in_sight_are_told_of_whoever_made_them() -> None:
    second = {"shared": ComponentFacts("state.redis", actors=True)}
    told = problem(CONFIG, GOOD | second, [])

    assert told is not None
    assert "'shared' is an actor state store too, beside 'store'" in told
