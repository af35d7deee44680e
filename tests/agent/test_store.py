"""The store's rules hold on every store that is supported; each is tried through a real daprd."""

import asyncio
import itertools

import grpc
import pytest
import pytest_asyncio
from dapr.proto import api_v1, common_v1

from holdfast_agent.store import Store, StoreError
from tests.agent.stores import KINDS, LosingReplies, running_store

pytestmark = [pytest.mark.dapr, pytest.mark.asyncio(loop_scope="module")]
MIB = 1024 * 1024
_NUMBERS = itertools.count()


@pytest_asyncio.fixture(params=KINDS, scope="module", loop_scope="module")
async def place(request, tmp_path_factory, postgres_template):
    async with running_store(request.param, tmp_path_factory.mktemp(request.param), postgres_template) as there:
        yield there


@pytest.fixture
def store(place):
    return place.store


@pytest.fixture
def key():
    """A key that no other test uses; all tests of a store share it."""
    return f"run/{next(_NUMBERS)}"


def add(number):
    return lambda document: {"all": sorted([*(document or {"all": []})["all"], number])}


async def test_what_is_not_there_is_none(store):
    assert await store.get("nothing") is None
    assert await store.get_many(["nothing", "still nothing"]) == {}


async def test_the_first_write_stands_and_the_second_gets_it(store, key):
    assert await store.create(key, {"by": 1}) == ({"by": 1}, True)
    assert await store.create(key, {"by": 2}) == ({"by": 1}, False)
    assert (await store.get(key)).value == {"by": 1}


async def test_of_twenty_first_writes_at_once_one_wins_and_all_see_it(place, key):
    stores = [place.store for _ in range(20)]
    results = await asyncio.gather(*(one.create(key, {"by": number}) for number, one in enumerate(stores)))
    assert len({stored["by"] for stored, _ in results}) == 1
    assert sum(created for _, created in results) == 1


async def test_writing_the_same_first_document_again_counts_as_ours(store, key):
    await store.create(key, {"by": 1})
    assert await store.create(key, {"by": 1}) == ({"by": 1}, True)


async def test_a_first_write_whose_reply_is_lost_is_known_to_stand(place, key):
    losing = LosingReplies(place.sidecar, "SaveState")
    assert await Store(losing, "state").create(key, {"by": 1}) == ({"by": 1}, True)
    assert losing.left == 0
    assert await place.store.create(key, {"by": 2}) == ({"by": 1}, False)


async def test_a_change_whose_reply_is_lost_is_made_once(place, key):
    await place.store.create(key, {"all": []})
    losing = LosingReplies(place.sidecar, "SaveState")
    assert await Store(losing, "state").update(key, add(1)) == {"all": [1]}
    assert losing.left == 0
    assert (await place.store.get(key)).value == {"all": [1]}


async def test_a_deletion_whose_reply_is_lost_is_known_to_be_done(place, key):
    await place.store.create(key, {})
    losing = LosingReplies(place.sidecar, "DeleteState")
    assert await Store(losing, "state").delete(key, etag=(await place.store.get(key)).etag)
    assert losing.left == 0
    assert await place.store.get(key) is None


async def test_changes_made_at_once_are_all_kept(store, key):
    await asyncio.gather(*(store.update(key, add(number)) for number in range(5)))
    assert (await store.get(key)).value == {"all": [0, 1, 2, 3, 4]}


async def test_processes_that_change_a_document_at_once_lose_nothing(place, key):
    others = [place.store for _ in range(5)]
    await asyncio.gather(*(other.update(key, add(number)) for number, other in enumerate(others)))
    assert (await place.store.get(key)).value == {"all": [0, 1, 2, 3, 4]}


async def test_a_created_document_can_be_changed_again_and_again(store, key):
    await store.create(key, {"n": 0})
    for _ in range(5):
        await store.update(key, lambda document: {"n": document["n"] + 1})
    assert (await store.get(key)).value == {"n": 5}


async def test_a_change_to_an_outdated_document_is_made_to_the_one_that_stands(store, key):
    await store.create(key, {"all": []})
    outdated = await store.get(key)
    await store.update(key, add(1))
    assert await store.update(key, add(2), known=outdated) == {"all": [1, 2]}


async def test_a_change_to_nothing_changes_nothing(store, key):
    await store.create(key, {"n": 0})
    assert await store.update(key, lambda _: None) == {"n": 0}
    assert await store.update(f"{key}/none", lambda _: None) is None
    assert await store.get(f"{key}/none") is None


async def test_a_write_without_the_rules_is_refused_or_seen(place, key):
    """The trap for which there is one module: on Redis a first write replaces what was written plainly, so nothing here writes so."""
    request = api_v1.SaveStateRequest(store_name="state", states=[common_v1.StateItem(key=key, value=b'{"by":"plain"}')])
    await place.store.create(key, {"by": "rules"})
    try:
        await place.sidecar.stub.SaveState(request, timeout=5, metadata=place.sidecar.metadata)
    except grpc.RpcError:
        assert place.kind == "redis"
        assert (await place.store.get(key)).value == {"by": "rules"}
    else:
        assert (await place.store.create(key, {"by": "late"}))[0] == {"by": "plain"}


async def test_a_deleted_document_is_gone_and_may_be_written_anew(store, key):
    await store.create(key, {"by": 1})
    await store.update(key, lambda _: {"by": 2})
    assert await store.delete(key)
    assert await store.get(key) is None
    assert await store.create(key, {"by": 3}) == ({"by": 3}, True)
    assert await store.update(key, lambda _: {"by": 4}) == {"by": 4}


async def test_deleting_what_is_not_there_is_done_already(store, key):
    assert await store.delete(key)
    assert await store.delete(key, etag="1")
    await store.delete_many([key, f"{key}/other"])


async def test_a_document_that_has_changed_is_not_deleted_by_its_former_etag(store, key):
    await store.create(key, {"n": 0})
    outdated = (await store.get(key)).etag
    await store.update(key, lambda _: {"n": 1})
    assert not await store.delete(key, etag=outdated)
    assert (await store.get(key)).value == {"n": 1}
    assert await store.delete(key, etag=(await store.get(key)).etag)
    assert await store.get(key) is None


async def test_of_twenty_deletions_and_a_change_at_once_nothing_is_half(place, key):
    await place.store.create(key, {"all": []})
    etag = (await place.store.get(key)).etag
    *_, changed = await asyncio.gather(*(place.store.delete(key, etag=etag) for _ in range(20)), place.store.update(key, add(1)))
    entry = await place.store.get(key)
    assert changed == {"all": [1]}
    assert entry is None or entry.value == {"all": [1]}


async def test_many_are_deleted_at_once_and_no_other_goes_with_them(store, key):
    keys = [f"{key}/{number}" for number in range(50)]
    await asyncio.gather(*(store.create(one, {}) for one in keys))
    await store.delete_many([*keys[:-1], f"{key}/none"])
    assert list(await store.get_many(keys)) == keys[-1:]


async def test_many_documents_are_read_whole_and_in_any_language(store, key):
    documents = {f"{key}/{number}": {"text": f"žluťoučký \u0000 🐟 {number} " + "x" * 200_000} for number in range(30)}
    await asyncio.gather(*(store.create(one, value) for one, value in documents.items()))
    found = await store.get_many([*documents, f"{key}/none"])
    assert {one: entry.value for one, entry in found.items()} == documents


async def test_documents_of_a_mebibyte_are_written_changed_and_read_together(store, key):
    documents = {f"{key}/{number}": {"text": str(number) * MIB} for number in range(6)}
    for one, value in documents.items():
        assert (await store.create(one, value))[1]
    assert {one: entry.value for one, entry in (await store.get_many(documents)).items()} == documents
    changed = await store.update(f"{key}/0", lambda document: document | {"more": 1})
    assert (await store.get(f"{key}/0")).value == changed


async def test_a_document_over_daprs_limit_is_refused_for_good_and_leaves_nothing(store, key):
    with pytest.raises(StoreError) as refused:
        await store.create(key, {"text": "x" * 17 * MIB})
    assert refused.value.hopeless
    assert await store.get(key) is None
    await store.create(key, {"n": 0})
    with pytest.raises(StoreError) as refused:
        await store.update(key, lambda _: {"text": "x" * 17 * MIB})
    assert refused.value.hopeless
    assert (await store.get(key)).value == {"n": 0}


async def test_a_store_that_cannot_be_reached_is_an_error_that_names_it(place):
    elsewhere = Store(place.sidecar, "nowhere")
    with pytest.raises(StoreError, match="'nowhere'"):
        await elsewhere.get("run/a")


async def test_what_was_acknowledged_is_there_after_a_kill_and_writes_wait_for_the_restart(place, key):
    """Last, because the store is killed: under twenty writers, and started again while they go on."""
    acknowledged, stop = [], asyncio.Event()

    async def write(writer):
        for number in itertools.count():
            if stop.is_set():
                return
            one = f"{key}/{writer}/{number}"
            await place.store.create(one, {"n": number})
            acknowledged.append(one)

    writers = [asyncio.create_task(write(writer)) for writer in range(20)]
    await _reach(acknowledged, 200)
    await place.kill()
    before = len(acknowledged)
    await place.start()
    await _reach(acknowledged, before + 200)
    stop.set()
    await asyncio.gather(*writers)
    found = await place.store.get_many(acknowledged)
    assert [one for one in acknowledged if one not in found] == []


async def _reach(written, count):
    deadline = asyncio.get_running_loop().time() + 30
    while len(written) < count:
        assert asyncio.get_running_loop().time() < deadline, f"{len(written)} of {count}"
        await asyncio.sleep(0.01)
