"""Whatever write the operator dies at, before or after it took effect, the end is the same. On a real API server."""

from typing import Any

import pytest

from holdfast_operator import kinds
from tests.operator.end_state import state
from tests.operator.live import Api, World

pytestmark = pytest.mark.apiserver

WRITES = ("PATCH", "POST", "PUT", "DELETE")
SPEC = {"model": {"provider": "openai", "name": "m"}, "replicas": 2}


class KilledError(BaseException):
    """Stands for the end of the process."""


async def story(world: World, namespace: str) -> None:
    """Make an Agent, change it, complete the rollout: every look may be the last of its process."""
    api = world.api
    if api.get(kinds.AGENT, namespace, "a") is None:
        api.agent(namespace, "a", SPEC)
    await settle(world, namespace)
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"model": {"name": "m2"}, "replicas": 1}})
    await settle(world, namespace)
    api.roll_out(namespace, "a")
    await settle(world, namespace)


async def settle(world: World, namespace: str) -> None:
    """What a process does from its start on: take stock, hear of the Agent, look."""
    world.restart()
    await world.take_stock(namespace)
    for name in [live["metadata"]["name"] for live in world.api.list(kinds.DEPLOYMENT, namespace)]:
        world.hear(kinds.DEPLOYMENT, namespace, name)
    world.hear(kinds.AGENT, namespace, "a")
    await world.look(namespace, "a")


async def count_writes(world: World, namespace: str) -> int:
    total = 0
    real = world.cluster._request

    async def counting(method: str, *args: Any, **more: Any) -> dict:
        nonlocal total
        total += method in WRITES
        return await real(method, *args, **more)

    world.cluster._request = counting
    await story(world, namespace)
    world.cluster._request = real
    return total


def kill_at(world: World, number: int, *, after: bool) -> None:
    """Die at the write of this number: before it is sent, or after the server carried it out and before its answer is read."""
    real, left = world.cluster._request, number

    async def dying(method: str, *args: Any, **more: Any) -> dict:
        nonlocal left
        if method not in WRITES:
            return await real(method, *args, **more)
        left -= 1
        last = left == 0
        if last and not after:
            raise KilledError
        answer = await real(method, *args, **more)
        if last:
            raise KilledError
        return answer

    world.cluster._request = dying


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
async def test_a_crash_at_any_write_ends_in_the_same_state(world: World, namespace: str, api: Api, after: bool) -> None:  # noqa: FBT001
    world.now = lambda: 1_800_000_000.0
    total = await count_writes(world, namespace)
    expected = state(api, namespace)
    assert total > 12
    real = world.cluster._request

    for number in range(1, total + 1):
        place = f"{namespace}-{number}"
        api.create(kinds.Kind("", "v1", "namespaces", "Namespace"), None, {"metadata": {"name": place}})
        kill_at(world, number, after=after)
        with pytest.raises(KilledError):
            await story(world, place)
        world.cluster._request = real
        await story(world, place)

        assert state(api, place) == expected, f"write {number}"
