"""A namespace that could not be read: what says so ends soon after the fault does, however seldom stock is taken."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from holdfast_operator import inventory, kinds
from holdfast_operator.cluster import ApiError, Page
from holdfast_operator.dapr import DaprApi
from holdfast_operator.intake import Intake
from holdfast_operator.inventory import Inventory
from holdfast_operator.memory import Memory
from holdfast_operator.scopes import Scopes

HOUR = 3600.0


class Cluster:
    """Empty lists, and a 403 for the kinds whose right is missing in the namespace `closed`."""

    def __init__(self, *missing: kinds.Kind) -> None:
        self.missing, self.asked = set(missing), list[tuple[kinds.Kind, str | None]]()

    async def pages(self, kind: kinds.Kind, namespace: str | None, **_: object) -> AsyncIterator[Page]:
        self.asked.append((kind, namespace))
        if namespace == "closed" and kind in self.missing:
            raise ApiError(403, "Forbidden", "no")
        yield Page([], "1")


def stock(cluster: Cluster) -> tuple[Inventory, Scopes]:
    memory, scopes = Memory(), Scopes()
    dapr = DaprApi(cluster, namespace="dapr-system")  # type: ignore[arg-type]
    intake = Intake(memory=memory, dapr=dapr, due=lambda _key, _delay: None, forget=lambda _key: None)
    return Inventory(cluster=cluster, memory=memory, intake=intake, dapr=dapr, namespaces=("open", "closed"), scopes=scopes), scopes  # type: ignore[arg-type]


async def until(check: Callable[[], bool]) -> None:
    while not check():  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.005)


async def test_a_namespace_that_can_be_read_again_is_not_named_until_stock_is_taken_an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "SECOND_SECONDS", 0.02)
    cluster = Cluster(kinds.AGENT, kinds.SERVICE)
    found, scopes = stock(cluster)
    await found.take()
    running = asyncio.create_task(found.repeat(HOUR))
    async with asyncio.timeout(60):
        await until(lambda: (kinds.AGENT, "closed") in cluster.asked)  # the second look, after which an hour is waited for
        cluster.missing.clear()
        await until(lambda: not scopes.unreadable())
    running.cancel()


async def test_a_namespace_that_still_cannot_be_read_costs_one_request_and_a_readable_one_none() -> None:
    cluster = Cluster(kinds.AGENT, kinds.SERVICE)
    found, scopes = stock(cluster)
    await found.take()
    await found.take_agents()
    cluster.asked.clear()

    await found.ask_again()
    assert cluster.asked == [(kinds.AGENT, "closed")]
    cluster.missing.discard(kinds.AGENT)
    await found.ask_again()

    assert "services" in scopes.unreadable()["closed"]
    assert "agents" not in scopes.unreadable()["closed"].partition("(")[2].partition(")")[0]


async def test_agents_that_could_not_be_listed_after_kopf_had_listed_them_are_listed_soon_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "SECOND_SECONDS", 0.02)
    monkeypatch.setattr(inventory, "_SETTLE", 0.0)
    cluster = Cluster()
    found, _ = stock(cluster)
    await found.take()
    listed = found.take_agents
    running = asyncio.create_task(found.repeat(HOUR))
    async with asyncio.timeout(60):
        await until(lambda: (kinds.AGENT, "closed") in cluster.asked)  # the second look, after which an hour is waited for

        async def refused() -> None:
            found.take_agents = listed  # type: ignore[method-assign]
            raise ApiError(503, "", "busy")

        found.take_agents = refused  # type: ignore[method-assign]
        cluster.asked.clear()
        found.listed.set()
        await until(lambda: (kinds.AGENT, "closed") in cluster.asked)
    running.cancel()
