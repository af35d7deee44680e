"""Pods without a sidecar: how soon the next one is replaced."""

from typing import Any

from holdfast_operator.facts import PodFacts
from holdfast_operator.memory import Record
from holdfast_operator.pods import replace_uninjected

KEY = ("ns", "a")


class Cluster:
    """Deletes whatever it is told to."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def delete(self, _kind: object, _namespace: str, name: str, **_: Any) -> bool:
        self.deleted.append(name)
        return True


def pod(*, uninjected: bool) -> PodFacts:
    return PodFacts(uid="u", version="1", created=1.0, revision="r", ready=not uninjected, problem=None, uninjected=uninjected)


async def test_the_wait_doubles_up_to_a_limit_however_many_have_been_replaced() -> None:
    cluster, record = Cluster(), Record(pods={"a-1": pod(uninjected=True)})

    async def wait(now: float) -> float:
        (seconds,) = await replace_uninjected(cluster, KEY, record, now=now)  # type: ignore[arg-type]
        return seconds

    assert [await wait(1e6), await wait(1e6 + 1), await wait(1e6 + 5)] == [5.0, 4.0, 10.0]
    record.replaced = 5000
    assert await wait(2e6) == 300.0
    assert cluster.deleted == ["a-1"] * 3
    record.pods["a-1"] = pod(uninjected=False)
    assert await replace_uninjected(cluster, KEY, record, now=3e6) == []  # type: ignore[arg-type]
    assert record.replaced == 0, "the next one begins anew"
