"""New values of Secrets roll pods where the operator may watch Secrets, and nowhere else."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from holdfast_operator import kinds
from holdfast_operator.desired.rotation import ANNOTATION_ROLLED, ANNOTATION_SEEN, Rotation, secrets_of
from tests.operator.conftest import StartOperator
from tests.operator.live import Api, World, eventually
from tests.operator.test_children import OPENAI, made, writes
from tests.operator.test_desired import agent, resolved
from tests.operator.test_program import ready

FIRST = Rotation((("a", "1"), ("b", "2")))


def test_what_is_there_at_the_first_look_rolls_nothing() -> None:
    assert Rotation().after({"a": "1", "b": "2", "c": None}) == FIRST


def test_a_new_version_rolls_once() -> None:
    rolled = FIRST.after({"a": "1", "b": "3"})

    assert rolled.rolled
    assert rolled.after({"a": "1", "b": "3"}) == rolled
    assert rolled.after({"a": "1", "b": "4"}).rolled != rolled.rolled


def test_a_secret_that_is_gone_rolls_nothing_and_the_one_in_its_place_does() -> None:
    gone = FIRST.after({"a": "1", "b": None})

    assert gone == FIRST
    assert gone.after({"a": "1", "b": "9"}).rolled


def test_a_secret_that_is_newly_named_or_named_no_longer_rolls_nothing() -> None:
    assert FIRST.after({"a": "1", "b": "2", "c": "3"}).rolled == ""
    assert FIRST.after({"a": "1"}) == Rotation((("a", "1"),))


def test_who_may_no_longer_look_forgets_what_was_seen_and_rolls_nothing_back() -> None:
    rolled = FIRST.after({"a": "5", "b": "2"})

    assert rolled.after(None) == Rotation((), rolled.rolled)


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", "3"], ids=["nothing", "empty", "list", "words", "number"])
def test_an_annotation_that_somebody_spoiled_was_not_seen(text: str) -> None:
    assert Rotation.parse(text, "r") == Rotation((), "r")


def test_the_secrets_of_an_agent_are_those_whose_values_its_pods_take_over_at_their_start() -> None:
    spec = {
        "model": OPENAI,
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}}, {"name": "B", "value": "plain"}],
        "envFrom": [{"secretRef": {"name": "all"}}, {"configMapRef": {"name": "no-secret"}}],
        "volumes": [{"name": "v", "secret": {"secretName": "kept-up-to-date-by-the-kubelet"}}],
    }
    found = agent(spec)

    assert secrets_of(found, resolved(found)) == {"openai", "one", "all", "a-dapr-token", "a-app-token", "a-audit"}


def rolled(api: Api, namespace: str) -> str | None:
    template = api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["template"]
    return template["metadata"]["annotations"].get(ANNOTATION_ROLLED)


def secret(api: Api, namespace: str, value: str) -> None:
    api.patch(kinds.SECRET, namespace, "openai", {"stringData": {"api-key": value}})


async def look(world: World, namespace: str) -> Counter[Any]:
    assert world.due == {(namespace, "a")}
    return writes((await world.look(namespace, "a"))[1])


@pytest.mark.apiserver
async def test_a_replaced_secret_rolls_the_pods_that_carry_it_and_only_where_that_is_granted(
    world: World, namespace: str, api: Api
) -> None:
    api.create(kinds.SECRET, namespace, {"metadata": {"name": "openai"}, "stringData": {"api-key": "1"}})
    api.create(kinds.SECRET, namespace, {"metadata": {"name": "other"}, "stringData": {"k": "1"}})
    await made(world, namespace, {"model": OPENAI})
    before = api.get(kinds.DEPLOYMENT, namespace, "a")
    assert ANNOTATION_SEEN not in before["metadata"]["annotations"]

    world.settings = replace(world.settings, watch_secrets=True)
    world.restart()
    await world.take_stock(namespace)
    world.hear(kinds.AGENT, namespace, "a")
    assert await look(world, namespace) == {("PATCH", "deployments"): 1}
    live = api.get(kinds.DEPLOYMENT, namespace, "a")
    assert live["spec"] == before["spec"], "granting it rolls nothing"
    assert "openai" in live["metadata"]["annotations"][ANNOTATION_SEEN]

    secret(api, namespace, "2")
    world.hear(kinds.SECRET, namespace, "openai")
    assert await look(world, namespace) == {("PATCH", "deployments"): 1}
    once = rolled(api, namespace)
    assert once
    world.hear(kinds.SECRET, namespace, "openai")
    world.hear(kinds.SECRET, namespace, "other")
    world.hear(kinds.SECRET, namespace, "a-app-token")
    assert world.due == set(), "neither an echo nor a stranger's Secret"

    api.delete(kinds.SECRET, namespace, "openai")
    world.memory.record((namespace, "a")).read.clear()
    world.intake.due((namespace, "a"))
    assert await look(world, namespace) == {}
    api.create(kinds.SECRET, namespace, {"metadata": {"name": "openai"}, "stringData": {"api-key": "3"}})
    world.hear(kinds.SECRET, namespace, "openai", "ADDED")
    assert ("PATCH", "deployments") in await look(world, namespace)
    twice = rolled(api, namespace)
    assert twice not in {None, once}

    world.settings = replace(world.settings, watch_secrets=False)
    world.restart()
    await world.take_stock(namespace)
    world.hear(kinds.AGENT, namespace, "a")
    assert await look(world, namespace) == {("PATCH", "deployments"): 1}
    assert rolled(api, namespace) == twice, "taking it back rolls nothing either"


@pytest.mark.apiserver
def test_the_program_hears_of_a_new_token_with_the_right_that_the_chart_then_gives(
    api: Api, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator(namespace, HOLDFAST_WATCH_SECRETS="true")
    api.agent(namespace, "a")
    eventually(lambda: ready(api, namespace, "a"), seconds=60)
    assert rolled(api, namespace) is None

    api.patch(kinds.SECRET, namespace, "a-app-token", {"stringData": {"token": "new", "previous": "old"}})

    eventually(lambda: rolled(api, namespace), seconds=60)
    assert operator.end() == 0
    assert "Forbidden" not in operator.log.read_text()
