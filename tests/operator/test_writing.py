"""Events that come before the answer to the write that made them, on a real API server."""

from collections.abc import Callable
from typing import Any

import pytest

from holdfast_operator import kinds
from tests.operator.live import Manifest, World

pytestmark = pytest.mark.apiserver
LABEL = "app.kubernetes.io/managed-by"


def before_each_answer(world: World, then: Callable[[kinds.Kind, Manifest], None]) -> None:
    """Have something happen once a write is carried out, and before the operator hears of it."""
    real = world.cluster.apply

    async def apply(kind: kinds.Kind, manifest: Manifest, **options: Any) -> Manifest:
        live = await real(kind, manifest, **options)
        then(kind, live)
        return live

    world.cluster.apply = apply


def tell(world: World, kind: kinds.Kind, live: Manifest) -> None:
    if kind == kinds.AGENT:
        world.intake.agent("MODIFIED", live)
    else:
        world.intake.child(kind, "ADDED", live)


async def test_an_echo_that_is_faster_than_its_answer_makes_nobody_look_again(world: World, namespace: str) -> None:
    before_each_answer(world, lambda kind, live: tell(world, kind, live))
    world.api.agent(namespace, "a")
    world.hear(kinds.AGENT, namespace, "a", "ADDED")

    again, _ = await world.look(namespace, "a")

    assert world.due == set()
    assert again != 0.0
    assert world.memory.record((namespace, "a")).pending is None


async def test_what_somebody_changes_before_the_answer_is_put_right_by_another_look(world: World, namespace: str) -> None:
    def meddle(kind: kinds.Kind, live: Manifest) -> None:
        if kind == kinds.SERVICE and live["metadata"]["labels"][LABEL] != "me" and not meddled:
            meddled.append(live)
            tell(world, kind, world.api.patch(kind, namespace, "a", {"metadata": {"labels": {LABEL: "me"}}}))

    meddled: list[Manifest] = []
    before_each_answer(world, meddle)
    world.api.agent(namespace, "a")
    world.hear(kinds.AGENT, namespace, "a", "ADDED")

    again, _ = await world.look(namespace, "a")
    assert (again, world.due) == (0.0, set())
    again, _ = await world.look(namespace, "a")

    assert again != 0.0
    assert world.api.get(kinds.SERVICE, namespace, "a")["metadata"]["labels"][LABEL] != "me"
