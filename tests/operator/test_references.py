"""ConfigMaps that an Agent names: every change is heard of, also when no event told it, and what was read already is no news."""

import pytest

from holdfast_api import conditions
from holdfast_operator import kinds
from tests.operator.live import Api, World

pytestmark = pytest.mark.apiserver
PROMPT = {"systemPromptFrom": {"configMapKeyRef": {"name": "prompt", "key": "text"}}}


async def reads_a_prompt(world: World, namespace: str) -> str:
    world.api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": "prompt"}, "data": {"text": "one"}})
    world.api.agent(namespace, "a", PROMPT)
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    return world.api.get(kinds.AGENT, namespace, "a")["status"]["revision"]


async def test_a_text_that_changed_without_an_event_is_found_by_taking_stock(world: World, namespace: str, api: Api) -> None:
    revision = await reads_a_prompt(world, namespace)
    api.patch(kinds.CONFIG_MAP, namespace, "prompt", {"data": {"text": "two"}})

    await world.take_stock(namespace)

    assert world.due == {(namespace, "a")}
    await world.look(namespace, "a")
    assert api.get(kinds.AGENT, namespace, "a")["status"]["revision"] != revision


async def test_a_text_that_went_without_an_event_is_found_by_taking_stock(world: World, namespace: str, api: Api) -> None:
    await reads_a_prompt(world, namespace)
    api.delete(kinds.CONFIG_MAP, namespace, "prompt")

    await world.take_stock(namespace)

    assert world.due == {(namespace, "a")}
    await world.look(namespace, "a")
    assert api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)["status"] == "False"
    world.due.clear()
    await world.take_stock(namespace)
    assert world.due == set()


async def test_a_text_that_was_read_already_makes_nothing_due(world: World, namespace: str) -> None:
    await reads_a_prompt(world, namespace)

    world.hear(kinds.CONFIG_MAP, namespace, "prompt")
    await world.take_stock(namespace)

    assert world.due == set()


async def test_one_that_has_read_the_text_keeps_no_other_from_hearing_of_it(world: World, namespace: str, api: Api) -> None:
    await reads_a_prompt(world, namespace)
    api.agent(namespace, "b", PROMPT)
    world.hear(kinds.AGENT, namespace, "b", "ADDED")
    await world.look(namespace, "b")
    api.patch(kinds.CONFIG_MAP, namespace, "prompt", {"data": {"text": "two"}})
    await world.look(namespace, "a")

    world.hear(kinds.CONFIG_MAP, namespace, "prompt")

    assert world.due == {(namespace, "b")}
