"""Two operators, one of which works: what is written when the other one takes over, by the requests that each of them sent."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from aiohttp import web

from holdfast_api.defaults import AgentDefaults
from holdfast_operator import kinds
from holdfast_operator.app import Operator
from holdfast_operator.cluster import Cluster, NotLeading
from holdfast_operator.inventory import Inventory
from holdfast_operator.leader import LEASE
from holdfast_operator.settings import Settings
from tests.operator.conftest import StartOperator
from tests.operator.faults.case import Loop
from tests.operator.faults.proxy import WRITES, Call, Proxy
from tests.operator.live import DEFAULTS, Api, credentials, eventually, free_port, restricted_kubeconfig
from tests.operator.test_program import ready, versions

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(240)]

ELECTION = {"HOLDFAST_LEADER_ELECTION": "true"}
WORKERS = 4
AGENTS = [f"a{number}" for number in range(8)]


class Holding(Proxy):
    """A proxy that can keep writes of children to itself, as a network does that loses and repeats packets."""

    def __init__(self, api: Api) -> None:
        super().__init__(api.server, None, lambda: None)
        self.hold = threading.Event()
        self.held: list[Call] = []

    async def _forward(self, request: web.Request, body: bytes, call: Call) -> tuple[int, dict[str, str], bytes]:
        if self.hold.is_set() and call.verb in WRITES and not call.target.startswith("leases/"):
            self.held.append(call)
            while self.hold.is_set():  # noqa: ASYNC110 - set by a test in another thread
                await asyncio.sleep(0.02)
        return await super()._forward(request, body, call)

    def sent_after(self, moment: float) -> list[Call]:
        """Writes that the operator sent since."""
        return [call for call in self.calls if call.at > moment and call.verb in WRITES]


@pytest.fixture
def proxies(api: Api) -> Iterator[tuple[Holding, Holding]]:
    found = Holding(api), Holding(api)
    with Loop() as loop:
        for proxy in found:
            loop.run(proxy.start())
        yield found
        for proxy in found:
            proxy.hold.clear()
            loop.run(proxy.stop())


def by(proxy: Proxy, api: Api, namespace: str, folder: Path) -> str:
    """A kubeconfig that goes through a proxy."""
    config = yaml.safe_load(restricted_kubeconfig(api, namespace, folder).read_text())
    config["clusters"][0]["cluster"] = {"server": proxy.url}
    path = folder / f"kubeconfig-{proxy.url.rpartition(':')[2]}"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def change(api: Api, namespace: str, text: str) -> None:
    """Something that is one write of one Deployment for each Agent."""
    for name in AGENTS:
        api.patch(kinds.AGENT, namespace, name, {"spec": {"env": [{"name": "STEP", "value": text}]}})


def all_ready(api: Api, namespace: str) -> None:
    for name in AGENTS:
        eventually(lambda name=name: ready(api, namespace, name), seconds=60)


def test_a_leader_frozen_past_its_lease_with_writes_on_their_way_changes_nothing_any_more(
    api: Api, namespace: str, start_operator: StartOperator, proxies: tuple[Holding, Holding], tmp_path: Path
) -> None:
    way = ELECTION | {"HOLDFAST_LEASE_DURATION": "4s", "HOLDFAST_WORKERS": str(WORKERS)}
    first = start_operator(namespace, KUBECONFIG=by(proxies[0], api, namespace, tmp_path), **way)
    second = start_operator(namespace, KUBECONFIG=by(proxies[1], api, namespace, tmp_path), **way)
    for name in AGENTS:
        api.agent(namespace, name)
    all_ready(api, namespace)
    eventually(lambda: first.metric("holdfast_queue_depth") + first.metric("holdfast_reconciles_running") == 0, seconds=30)
    assert proxies[1].writes() == []

    proxies[0].hold.set()
    change(api, namespace, "two")
    eventually(lambda: len(proxies[0].held) >= WORKERS, seconds=30)
    first.send(signal.SIGSTOP)
    frozen = time.monotonic()
    assert len(proxies[0].held) == WORKERS, "one write for each worker is on its way, and no more"
    eventually(lambda: second.metric("holdfast_leading") == 1, seconds=60)
    all_ready(api, namespace)
    change(api, namespace, "three")
    all_ready(api, namespace)
    before = versions(api, namespace)

    # What was on its way arrives at last, and the former leader wakes up.
    proxies[0].hold.clear()
    eventually(lambda: all(call.status for call in proxies[0].held), seconds=30)
    assert {call.status for call in proxies[0].held} == {409}
    assert versions(api, namespace) == before
    first.send(signal.SIGCONT)

    assert first.popen.wait(30) == 1
    assert "the Lease is lost" in first.log.read_text()
    late = proxies[0].sent_after(frozen)
    assert len(late) <= WORKERS, late
    assert versions(api, namespace) == before


def test_a_leader_that_is_killed_is_followed_within_fifteen_seconds(api: Api, namespace: str, start_operator: StartOperator) -> None:
    first, second = start_operator(namespace, **ELECTION), start_operator(namespace, **ELECTION)
    api.agent(namespace, "a")
    eventually(lambda: ready(api, namespace, "a"), seconds=60)

    def renewed() -> str:
        return api.get(LEASE, namespace, "holdfast-operator")["spec"]["renewTime"]

    before = renewed()
    eventually(lambda: renewed() != before, seconds=30)  # right after a renewal it takes the longest
    first.send(signal.SIGKILL)
    killed = time.monotonic()
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 2}})
    eventually(lambda: api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["replicas"] == 2, seconds=60)

    assert time.monotonic() - killed <= 15
    assert second.metric("holdfast_leading") == 1


async def test_a_lease_lost_while_a_connection_was_made_stops_the_write_that_it_was_made_for(api: Api, namespace: str) -> None:
    leading = iter([True, False])
    cluster = Cluster(credentials(api.server), may_write=lambda: next(leading))
    try:
        with pytest.raises(NotLeading):
            await cluster.create(kinds.CONFIG_MAP, {"metadata": {"name": "late", "namespace": namespace}})
    finally:
        await cluster.close()

    assert api.get(kinds.CONFIG_MAP, namespace, "late") is None


def leader(api: Api, namespace: str, **settings: Any) -> Operator:
    """An operator in this process."""
    base = Settings(
        namespaces=(namespace,),
        defaults=AgentDefaults.model_validate(DEFAULTS),
        http_port=free_port(),
        leader_election=True,
        pod_namespace=namespace,
        pod_name="here",
    )
    return Operator(replace(base, **settings), credentials(api.server))


async def lease(api: Api, namespace: str) -> dict[str, Any]:
    live = await asyncio.to_thread(api.get, LEASE, namespace, "holdfast-operator")
    return (live or {}).get("spec", {})


async def until(check: Any, *, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - asked of another process
            await asyncio.sleep(0.05)


async def test_the_lease_is_kept_through_an_inventory_longer_than_itself_and_given_back_after_kopf_has_failed(
    api: Api, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, taken, failed = 3.0, asyncio.Event(), asyncio.Event()
    take = Inventory.take

    async def long(self: Inventory, *, presence: bool = False) -> None:
        await asyncio.sleep(2 * seconds)
        await take(self, presence=presence)
        taken.set()

    async def fails(**_: Any) -> None:
        failed.set()
        raise RuntimeError("whatever it was")

    monkeypatch.setattr(Inventory, "take", long)
    monkeypatch.setattr(kopf, "operator", fails)
    operator = leader(api, namespace, lease_seconds=seconds)
    run = asyncio.create_task(operator.run())

    async def renewed_often() -> bool:
        renewals.add((await lease(api, namespace)).get("renewTime"))
        return taken.is_set()

    renewals: set[str | None] = set()
    await until(renewed_often)
    held = await lease(api, namespace)
    assert len(renewals) >= 4
    assert (held["holderIdentity"], held["leaseTransitions"]) == ("here", 1)

    await failed.wait()
    os.kill(os.getpid(), signal.SIGTERM)  # while it waits before it starts anew

    await asyncio.wait_for(run, 30)
    assert (await lease(api, namespace))["holderIdentity"] == ""
