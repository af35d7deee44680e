"""Components that exist already: what is wrong with them for an Agent is told before its pods find out."""

import asyncio

import pytest

from holdfast_api import conditions
from holdfast_api.config import AgentConfig, ModelConfig, PubsubConfig
from holdfast_operator import kinds
from holdfast_operator.components import ComponentFacts, problem
from holdfast_operator.dapr import DaprApi
from tests.operator.live import Api, World
from tests.operator.test_conditions import component, looked, made

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
}


def test_facts_are_read_from_the_object() -> None:
    entry = {"name": "ActorStateStore", "value": "True"}
    live = {"spec": {"type": "state.redis", "metadata": [entry, {"name": "x", "secretKeyRef": {"name": "s"}}]}, "scopes": ["a"]}

    assert ComponentFacts.of(live) == STORE
    assert ComponentFacts.of({"spec": {"type": "state.redis", "metadata": [{"name": "actorStateStore", "value": "false"}]}}).actors is False
    assert ComponentFacts.of({}) == ComponentFacts()


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("1", True),
        (" Yes ", True),
        ("T", True),
        ("on", True),
        ("y", True),
        (True, True),
        (1, True),
        ("2", False),
        ("off", False),
        ("", False),
    ],
)
def test_whether_a_store_keeps_workflows_is_read_in_all_the_words_that_dapr_knows(value: object, kept: bool) -> None:  # noqa: FBT001
    live = {"spec": {"type": "state.redis", "metadata": [{"name": "actorStateStore", "value": value}]}}

    assert ComponentFacts.of(live).actors is kept


def test_which_stores_keep_workflows_in_a_sidecars_sight_is_known_as_components_come_change_and_go() -> None:
    dapr = DaprApi(None, namespace="dapr-system")  # type: ignore[arg-type] - nothing is asked of the cluster
    assert dapr.saw_component("ns", "store", STORE) == [STORE]
    assert dapr.saw_component("ns", "store", STORE) == []
    everybodys = ComponentFacts("state.redis", actors=True)
    dapr.saw_component("ns", "shared", everybodys)
    dapr.saw_component("ns", "documents", ComponentFacts("state.redis"))
    assert (dapr.actor_stores("ns", "a"), dapr.actor_stores("ns", "b"), dapr.actor_stores("other", "a")) == (
        {"store", "shared"},
        {"shared"},
        set(),
    )

    narrowed = ComponentFacts("state.redis", ("b",), actors=True)
    assert dapr.saw_component("ns", "shared", narrowed) == [everybodys, narrowed]
    assert dapr.saw_component("ns", "store", None) == [STORE]
    assert (dapr.actor_stores("ns", "a"), dapr.actor_stores("ns", "b")) == (set(), {"shared"})
    assert dapr.components() == {("ns", "shared"), ("ns", "documents")}


def test_what_is_told_late_of_a_component_is_no_news() -> None:
    dapr = DaprApi(None, namespace="dapr-system")  # type: ignore[arg-type] - nothing is asked of the cluster
    wide, narrow = ComponentFacts("state.redis", version="9"), ComponentFacts("state.redis", ("b",), version="12")
    dapr.saw_component("ns", "store", narrow)

    dapr.saw_component("ns", "store", wide)
    dapr.saw_component("ns", "store", None, version="11")
    assert dapr.components_in("ns") == {"store": narrow}

    dapr.saw_component("ns", "store", None, version="13")
    assert dapr.components() == set()


@pytest.mark.parametrize("missing", ["components", "subscriptions"])
async def test_dapr_without_one_of_the_kinds_that_agents_are_made_of_is_not_installed(missing: str) -> None:
    served = {"v1alpha1": {"components", "configurations", "resiliencies"}, "v2alpha1": {"subscriptions"}}

    class Cluster:
        async def served(self, group: str, version: str) -> frozenset[str]:
            assert group == "dapr.io"
            return frozenset(served[version])

    dapr = DaprApi(Cluster(), namespace="dapr-system")  # type: ignore[arg-type]
    assert await dapr.check()
    assert dapr.installed
    for there in served.values():
        there.discard(missing)
    assert await dapr.check()
    assert not dapr.installed


async def test_an_object_of_dapr_that_is_gone_makes_it_ask_for_daprs_api_at_once_and_not_for_each_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("holdfast_operator.dapr.POLL_SECONDS", 3600.0)
    asked, told = [], asyncio.Event()

    class Cluster:
        async def served(self, group: str, version: str) -> frozenset[str]:
            asked.append(version)
            return frozenset({"components", "configurations", "resiliencies", "subscriptions"})

    dapr = DaprApi(Cluster(), namespace="dapr-system")  # type: ignore[arg-type]
    polling = asyncio.create_task(dapr.poll(told.set))
    try:
        for _ in range(100):
            dapr.doubt()
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await told.wait()
        assert asked == ["v1alpha1", "v2alpha1"]
    finally:
        polling.cancel()


def test_components_that_fit_are_no_problem() -> None:
    assert problem(CONFIG, GOOD, GOOD.keys(), {"store"}) is None
    assert problem(CONFIG, GOOD | {"store": ComponentFacts("state.redis", actors=True)}, {"store"}, ()) is None


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
    told = problem(CONFIG, GOOD | {name: facts}, [name], {"store"})

    assert told is not None
    assert repr(name) in told
    assert words in told


def test_two_stores_for_workflows_in_sight_are_told_of_whoever_made_them() -> None:
    told = problem(CONFIG, GOOD, [], {"store", "shared"})

    assert told is not None
    assert "'shared' is an actor state store too, beside 'store'" in told


@pytest.mark.apiserver
async def test_a_component_that_does_not_fit_is_told_of_until_it_does(world: World, namespace: str, api: Api) -> None:
    api.create(kinds.COMPONENT, namespace, component("shared", "state.redis", scopes=["b"]))
    world.hear(kinds.COMPONENT, namespace, "shared", "ADDED")
    await made(world, namespace, {"state": {"component": "shared"}})
    references = api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)
    assert (references["status"], references["reason"]) == ("False", conditions.COMPONENT_UNFIT)
    assert "add 'a' to its scopes" in references["message"]
    assert api.get(kinds.DEPLOYMENT, namespace, "a") is None

    api.patch(kinds.COMPONENT, namespace, "shared", {"scopes": ["a", "b"]})
    world.hear(kinds.COMPONENT, namespace, "shared")
    await looked(world, namespace)
    assert api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)["status"] == "True"
    assert api.get(kinds.DEPLOYMENT, namespace, "a") is not None


@pytest.mark.apiserver
async def test_a_second_store_for_workflows_in_sight_is_told_to_agents_that_do_not_name_it(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    assert api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)["status"] == "True"

    api.create(kinds.COMPONENT, namespace, component("everybodys", "state.redis"))
    world.hear(kinds.COMPONENT, namespace, "everybodys", "ADDED")
    await looked(world, namespace)
    references = api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)
    assert references["reason"] == conditions.COMPONENT_UNFIT
    assert "'everybodys' is an actor state store too, beside 'a-state'" in references["message"]

    api.patch(kinds.COMPONENT, namespace, "everybodys", {"scopes": ["b"]})
    world.hear(kinds.COMPONENT, namespace, "everybodys")
    await looked(world, namespace)
    assert api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)["status"] == "True"
