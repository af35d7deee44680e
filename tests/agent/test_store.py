"""The store's rules hold on every store that is supported; each is tried through a real daprd."""

import asyncio

import grpc
import pytest
from dapr.conf import settings

from holdfast_agent import store as store_module
from holdfast_agent.sidecar import Sidecar
from holdfast_agent.store import Store, StoreError

pytestmark = pytest.mark.dapr


@pytest.fixture(params=["sqlite", "redis"])
def component(request):
    return request.getfixturevalue("sqlite_component") if request.param == "sqlite" else request.getfixturevalue("redis_server").component


@pytest.fixture
async def store(component, start_dapr, monkeypatch):
    dapr = await start_dapr([component])
    monkeypatch.setattr(settings, "DAPR_HTTP_PORT", dapr.http_port)
    monkeypatch.setattr(settings, "DAPR_GRPC_PORT", dapr.grpc_port)
    monkeypatch.setattr(settings, "DAPR_API_TOKEN", "token-of-the-sidecar")
    sidecar = Sidecar()
    yield Store(sidecar, "state")
    await sidecar.close()


async def test_what_is_not_there_is_none(store):
    assert await store.get("nothing") is None
    assert await store.get_many(["nothing", "still nothing"]) == {}


async def test_the_first_write_stands_and_the_second_gets_it(store):
    assert await store.create("run/a", {"by": 1}) == ({"by": 1}, True)
    assert await store.create("run/a", {"by": 2}) == ({"by": 1}, False)
    assert (await store.get("run/a")).value == {"by": 1}


async def test_of_many_first_writes_at_once_one_wins_and_all_see_it(store):
    results = await asyncio.gather(*(store.create("run/a", {"by": number}) for number in range(20)))
    assert len({stored["by"] for stored, _ in results}) == 1
    assert sum(created for _, created in results) == 1


async def test_writing_the_same_first_document_again_counts_as_ours(store):
    await store.create("run/a", {"by": 1})
    assert await store.create("run/a", {"by": 1}) == ({"by": 1}, True)


async def test_changes_made_at_once_are_all_kept(store):
    def add(number):
        return lambda document: {"all": sorted([*(document or {"all": []})["all"], number])}

    await asyncio.gather(*(store.update("index", add(number)) for number in range(5)))
    assert (await store.get("index")).value == {"all": [0, 1, 2, 3, 4]}


async def test_processes_that_change_a_document_at_once_lose_nothing(store):
    others = [Store(store._sidecar, "state") for _ in range(5)]

    def add(number):
        return lambda document: {"all": sorted([*(document or {"all": []})["all"], number])}

    await asyncio.gather(*(other.update("index", add(number)) for number, other in enumerate(others)))
    assert (await store.get("index")).value == {"all": [0, 1, 2, 3, 4]}


async def test_a_created_document_can_be_changed_again_and_again(store):
    await store.create("run/a", {"n": 0})
    for _ in range(5):
        await store.update("run/a", lambda document: {"n": document["n"] + 1})
    assert (await store.get("run/a")).value == {"n": 5}


async def test_a_change_to_nothing_changes_nothing(store):
    await store.create("run/a", {"n": 0})
    assert await store.update("run/a", lambda _: None) == {"n": 0}
    assert await store.update("run/b", lambda _: None) is None
    assert await store.get("run/b") is None


async def test_many_documents_are_read_whole_and_in_any_language(store):
    documents = {f"run/a/{number}": {"text": f"žluťoučký \u0000 🐟 {number} " + "x" * 200_000} for number in range(30)}
    await asyncio.gather(*(store.create(key, value) for key, value in documents.items()))
    found = await store.get_many([*documents, "run/a/none"])
    assert {key: entry.value for key, entry in found.items()} == documents


async def test_a_store_that_cannot_be_reached_is_an_error_that_names_it(store):
    elsewhere = Store(store._sidecar, "nowhere")
    with pytest.raises(StoreError, match="'nowhere'"):
        await elsewhere.get("run/a")


class Refusing:
    """A sidecar that answers every call with the same status, and counts them."""

    metadata = ()

    def __init__(self, code):
        self.code, self.calls, self.stub = code, 0, self

    async def _refuse(self, _, **__):
        self.calls += 1
        raise grpc.aio.AioRpcError(self.code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="no")

    GetState = SaveState = GetBulkState = _refuse


@pytest.mark.parametrize(("code", "hopeless"), [(grpc.StatusCode.UNAVAILABLE, False), (grpc.StatusCode.RESOURCE_EXHAUSTED, True)])
async def test_patience_is_not_multiplied_and_is_not_spent_on_what_is_hopeless(code, hopeless, monkeypatch):
    monkeypatch.setattr(store_module, "_FIRST_PAUSE", 0.0001)
    for work in (
        lambda store: store.get("k"),
        lambda store: store.create("k", {}),
        lambda store: store.update("k", lambda _: {"n": 1}),
    ):
        sidecar = Refusing(code)
        with pytest.raises(StoreError) as raised:
            await work(Store(sidecar, "state"))
        assert raised.value.hopeless is hopeless
        assert sidecar.calls <= (2 if hopeless else 2 * store_module._ATTEMPTS)


async def test_patience_ends_by_the_clock_too(monkeypatch):
    monkeypatch.setattr(store_module, "_PATIENCE_SECONDS", -1.0)
    sidecar = Refusing(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(StoreError):
        await Store(sidecar, "state").get("k")
    assert sidecar.calls == 1
