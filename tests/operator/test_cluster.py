"""The transport, when the API server or what is before it does not answer as it should."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import aiohttp
import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from holdfast_operator import cluster as transport
from holdfast_operator import kinds
from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.credentials import Credentials
from holdfast_operator.inventory import Inventory
from holdfast_operator.watch import Followed
from tests.operator.faults.plan import Plan
from tests.operator.faults.proxy import Proxy
from tests.operator.live import CRD, Api, World

pytestmark = pytest.mark.apiserver
RECONNECT_SECONDS = 0.5
Through = Callable[[str], "asyncio.Future[Cluster]"]


@pytest.fixture
async def through(api: Api) -> AsyncIterator[Through]:
    """A transport with a proxy before it that carries out one plan."""
    opened: list[Cluster | Proxy] = []

    async def open_one(plan: str) -> Cluster:
        proxy = Proxy(api.server, Plan.parse(plan), kill=lambda: None)
        await proxy.start()
        info = kopf.ConnectionInfo(server=proxy.url, token=api.server.token)
        cluster = Cluster(Credentials(lambda: info))
        opened.extend((proxy, cluster))
        return cluster

    yield open_one
    for one in reversed(opened):
        await (one.stop() if isinstance(one, Proxy) else one.close())


async def test_a_busy_server_in_plain_text_is_given_the_time_it_asks_for(through: Through, namespace: str) -> None:
    cluster = await through("429 GET services/a")

    with pytest.raises(ApiError) as caught:
        await cluster.get(kinds.SERVICE, namespace, "a")

    assert (caught.value.status, caught.value.retry_after) == (429, 1.0)
    assert await cluster.get(kinds.SERVICE, namespace, "a") is None


@pytest.mark.parametrize(("said", "waited"), [("7", 7.0), ("86400", 60.0), ("9" * 400, 60.0)], ids=["seconds", "a-day", "for-ever"])
async def test_a_server_that_asks_for_more_than_a_minute_is_asked_again_after_one(said: str, waited: float) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=429, text="busy", headers={"Retry-After": said})

    app = web.Application()
    app.router.add_get("/{path:.*}", busy)
    async with TestServer(app) as server:
        cluster = Cluster(Credentials(lambda: kopf.ConnectionInfo(server=f"http://127.0.0.1:{server.port}")))
        with pytest.raises(ApiError) as caught:
            await cluster.get(kinds.SERVICE, "n", "a")
        await cluster.close()

    assert caught.value.retry_after == waited


async def test_a_kind_whose_definition_is_being_deleted_is_not_served_though_its_objects_are(
    api: Api, world: World, namespace: str
) -> None:
    group, thing = "held.holdfast.dev", kinds.Kind("held.holdfast.dev", "v1", "things", "Thing")
    schema = {"openAPIV3Schema": {"type": "object"}}
    naming = {"plural": thing.plural, "singular": "thing", "kind": thing.kind, "listKind": "ThingList"}
    versions = [{"name": thing.version, "served": True, "storage": True, "schema": schema}]
    definition = {"group": group, "scope": "Namespaced", "names": naming, "versions": versions}
    api.create(CRD, None, {"metadata": {"name": f"things.{group}"}, "spec": definition})

    async def until(*plurals: str) -> None:
        async with asyncio.timeout(60):
            while await world.cluster.served(group, thing.version) != {*plurals}:  # noqa: ASYNC110 - it happens on an API server
                await asyncio.sleep(0.05)

    await until(thing.plural)
    api.create(thing, namespace, {"metadata": {"name": "a", "finalizers": ["holdfast.dev/held"]}})
    try:
        api.delete(CRD, None, f"things.{group}")
        await until()
        assert api.get(thing, namespace, "a")
    finally:
        api.patch(thing, namespace, "a", {"metadata": {"finalizers": None}})


async def test_half_an_answer_is_an_error_to_try_again(through: Through, namespace: str) -> None:
    cluster = await through("truncated LIST services")

    with pytest.raises(ApiError) as caught:
        await anext(cluster.pages(kinds.SERVICE, namespace))

    assert caught.value.transient


async def test_a_watch_that_ends_in_the_middle_of_an_event_is_an_error_to_try_again(through: Through, api: Api, namespace: str) -> None:
    cluster = await through("truncated EVENT configmaps/ADDED")
    page = await anext(cluster.pages(kinds.CONFIG_MAP, namespace))
    api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": "a"}})

    with pytest.raises(ApiError) as caught:
        async for _ in cluster.watch(kinds.CONFIG_MAP, namespace, page.version):
            pass

    assert caught.value.transient


async def test_a_watch_that_began_and_says_nothing_ends_without_an_error(
    through: Through, api: Api, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen, or of a kind of which nothing changes: it is opened anew where it was, and what is there is not listed for it."""
    monkeypatch.setattr(transport, "WATCH_TIMEOUT", aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=2))
    cluster = await through("freeze WATCH configmaps")
    version = (await anext(cluster.pages(kinds.CONFIG_MAP, namespace))).version
    api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": "a"}})

    async def heard() -> list[str]:
        return [live["metadata"]["name"] async for event, live in cluster.watch(kinds.CONFIG_MAP, namespace, version) if event == "ADDED"]

    assert await heard() == []
    assert await heard() == ["a"]


class Ending(Proxy):
    """Ends each watch as soon as it has begun."""

    async def _disturbed(self, request: web.Request, target: str, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        for nothing in ():
            yield nothing


async def test_a_watch_that_is_ended_at_once_is_not_opened_in_a_storm(api: Api, world: World, namespace: str) -> None:
    proxy = Ending(api.server, None, kill=lambda: None)
    await proxy.start()
    cluster = Cluster(Credentials(lambda: kopf.ConnectionInfo(server=proxy.url, token=api.server.token)))
    inventory = Inventory(cluster=cluster, memory=world.memory, intake=world.intake, dapr=world.dapr, namespaces=(namespace,))
    watch = inventory._watch(Followed(kinds.CONFIG_MAP, namespace), start_anew=pytest.fail).run()
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watch, 4 * RECONNECT_SECONDS)
    finally:
        await cluster.close()
        await proxy.stop()

    assert 1 <= proxy.watches <= 4
