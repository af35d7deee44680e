"""Events that come while a request is under way."""

from typing import Any

import pytest

from holdfast_operator import kinds
from holdfast_operator.queue import Retry
from tests.operator.live import World

pytestmark = pytest.mark.apiserver


async def test_a_child_that_is_changed_while_it_is_removed_is_removed_at_the_next_look(world: World, namespace: str) -> None:
    api = world.api
    api.agent(namespace, "a", {"replicas": 2})
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 1}})
    world.hear(kinds.AGENT, namespace, "a")
    await world.look(namespace, "a")
    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    delete, meddled = world.cluster.delete, []

    async def meddled_with(kind: kinds.Kind, *args: Any, **more: Any) -> bool:
        if not meddled:
            meddled.append(kind)
            api.patch(kinds.DISRUPTION_BUDGET, namespace, "a", {"metadata": {"annotations": {"mine": "yes"}}})
            world.hear(kinds.DISRUPTION_BUDGET, namespace, "a")
        return await delete(kind, *args, **more)

    world.cluster.delete = meddled_with
    with pytest.raises(Retry):
        await world.look(namespace, "a")
    assert meddled == [kinds.DISRUPTION_BUDGET]
    assert api.get(kinds.DISRUPTION_BUDGET, namespace, "a") is not None

    await world.look(namespace, "a")

    assert api.get(kinds.DISRUPTION_BUDGET, namespace, "a") is None
