"""A restart in a world that is no more, and clocks that jump: nothing alive is deleted or made anew. On a real API server."""

import copy
from typing import Any

import pytest

from holdfast_operator import kinds
from holdfast_operator.queue import Retry
from tests.operator.end_state import state
from tests.operator.faults.kept import KeptApi
from tests.operator.live import Manifest, World

pytestmark = pytest.mark.apiserver
SPEC = {"model": {"provider": "openai", "name": "m"}, "replicas": 2}
DAY = 86400.0
LOOKS = 6


def children(world: World, namespace: str) -> list[tuple[kinds.Kind, Manifest]]:
    """Everything that a list would show."""
    return [(kind, copy.deepcopy(live)) for kind in kinds.CHILDREN for live in world.api.list(kind, namespace)]


def uids(world: World, namespace: str) -> dict[str, str]:
    return {f"{kind.kind}/{live['metadata']['name']}": live["metadata"]["uid"] for kind, live in children(world, namespace)}


async def settle(world: World, namespace: str) -> None:
    """Look until a look has nothing to write."""
    for _ in range(LOOKS):
        world.hear(kinds.AGENT, namespace, "a")
        try:
            await world.look(namespace, "a")
        except Retry:
            continue
        if not world.writes():
            return
        world.api.roll_out(namespace, "a")
        world.hear(kinds.DEPLOYMENT, namespace, "a")
    pytest.fail("it never comes to rest")


async def test_a_restart_that_is_shown_any_earlier_world_ends_the_same_and_replaces_nothing(world: World, namespace: str) -> None:
    world.now, world.api = lambda: 1_800_000_000.0, KeptApi(world.api)
    real, past = world.cluster._request, []

    async def remembering(method: str, *args: Any, **more: Any) -> Manifest:
        answer = await real(method, *args, **more)
        if method != "GET":
            past.append(children(world, namespace))
        return answer

    world.cluster._request = remembering
    world.api.agent(namespace, "a", SPEC)
    await settle(world, namespace)
    world.api.patch(kinds.AGENT, namespace, "a", {"spec": {"model": {"name": "m2"}, "replicas": 1}})
    await settle(world, namespace)
    world.cluster._request = real
    expected, alive = state(world.api, namespace), uids(world, namespace)
    assert len(past) > 20

    for number, shown in list(enumerate(past))[::3]:
        world.restart()
        await world.dapr.check()
        for kind, live in shown:
            world.intake.child(kind, None, live)
        await settle(world, namespace)
        assert uids(world, namespace) == alive, f"after write {number + 1}, before the events since then"
        for kind, live in children(world, namespace):
            world.intake.child(kind, "MODIFIED", live)
        await settle(world, namespace)

        assert uids(world, namespace) == alive, f"after write {number + 1}"
        assert state(world.api, namespace) == expected, f"after write {number + 1}"


async def test_events_that_come_late_or_twice_or_in_another_order_change_nothing(world: World, namespace: str) -> None:
    world.api.agent(namespace, "a", SPEC)
    await settle(world, namespace)
    early = children(world, namespace)
    world.api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 1}})
    await settle(world, namespace)
    late = children(world, namespace)
    expected = state(world.api, namespace)

    for kind, live in [*early, *reversed(late), *early, *late]:
        world.intake.child(kind, "MODIFIED", live)
        # A deletion that is told of an object which was made anew since is of another uid.
        world.intake.child(kind, "DELETED", {**live, "metadata": {**live["metadata"], "uid": "of-another-one"}})
    await settle(world, namespace)

    assert state(world.api, namespace) == expected


@pytest.mark.parametrize("jump", [-DAY, DAY], ids=["back", "forward"])
async def test_a_clock_that_jumps_writes_nothing_and_takes_nothing_that_is_in_use(world: World, namespace: str, jump: float) -> None:
    now = [1_800_000_000.0]
    world.now = lambda: now[0]
    world.api.agent(namespace, "a", {**SPEC, "limits": {"runTimeout": "72h"}})
    await settle(world, namespace)
    world.api.patch(kinds.AGENT, namespace, "a", {"spec": {"model": {"name": "m2"}}})
    await settle(world, namespace)
    before, alive = state(world.api, namespace), uids(world, namespace)

    now[0] += jump
    await settle(world, namespace)
    assert world.writes() == 0
    assert uids(world, namespace) == alive  # what was superseded has its three days, by any of these clocks
    now[0] -= jump
    await settle(world, namespace)

    assert state(world.api, namespace) == before
