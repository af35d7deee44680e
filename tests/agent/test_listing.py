"""The index of all runs: newest first, stable while runs come in, cheap, and complete whatever dies."""

import asyncio
import random

import pytest

from holdfast_agent import listing as listing_module
from holdfast_agent.cursors import CursorError
from holdfast_agent.listing import PAGE_RUNS, ROOT, Listing, day_key, page_key, pages_of
from holdfast_agent.store import StoreError
from tests.agent.memory import MemoryStore

MORNING = 1_700_000_000.0
DAY = 86_400.0


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(listing_module, "_BEHIND_SECONDS", 0.01)


def fill(listing, count, *, start=0, at=MORNING, apart=1.0):
    for number in range(start, start + count):
        listing.add(f"run-{number}", at + number * apart)


async def everything(listing, *, limit=37, between=None):
    seen, cursor = [], None
    while True:
        page, cursor = await listing.page(cursor, limit)
        assert len(page) <= limit
        seen += [run for _, run in page]
        if cursor is None:
            return seen
        if between:
            between()


async def test_without_runs_the_list_is_empty(store):
    assert await Listing(store).page(None, 10) == ([], None)


async def test_runs_come_newest_first_page_by_page(store):
    listing = Listing(store)
    fill(listing, 3 * PAGE_RUNS + 5)
    assert await everything(listing) == [f"run-{number}" for number in reversed(range(3 * PAGE_RUNS + 5))]


async def test_what_was_just_added_is_on_the_first_page(store):
    listing = Listing(store)
    fill(listing, 1)
    assert await listing.page(None, 1) == ([(MORNING, "run-0")], None)


async def test_pages_stay_as_they_are_while_runs_come_in(store):
    listing, coming = Listing(store), iter(range(1000, 2000))
    fill(listing, 200)
    seen = await everything(listing, limit=20, between=lambda: fill(listing, 1, start=next(coming)))
    assert seen == [f"run-{number}" for number in reversed(range(200))]


async def test_the_lists_of_several_processes_and_days_are_one(store):
    processes, runs = [Listing(store) for _ in range(3)], list(range(500))
    random.Random(4).shuffle(runs)
    for number in runs:
        fill(processes[number % 3], 1, start=number, apart=DAY / 100)
        if number % 7 == 0:
            await processes[number % 3].flush()
    for process in processes:
        await process.flush()
    assert await everything(processes[0]) == [f"run-{number}" for number in reversed(range(500))]


async def test_runs_of_the_same_moment_are_all_there(store):
    listing = Listing(store)
    fill(listing, 250, apart=0.0)
    assert sorted(await everything(listing, limit=10)) == sorted(f"run-{number}" for number in range(250))


async def test_a_run_that_several_processes_worked_on_is_shown_once(store):
    first, second = Listing(store), Listing(store)
    for process in (first, second):
        fill(process, 5)
        await process.flush()
    assert await everything(first, limit=2) == [f"run-{number}" for number in reversed(range(5))]


async def test_a_run_of_another_process_is_listed_with_the_time_of_its_head(store):
    await store.create("run/other", {"created": MORNING})
    listing = Listing(store)
    listing.add("other")
    listing.add("without a head")
    assert await listing.page(None, 10) == ([(MORNING, "other")], None)


async def test_a_run_gets_its_entry_without_anybody_waiting_for_it(store, eventually):
    listing = Listing(store)
    fill(listing, 1)

    async def stored():
        return any("run-0" in document for document in store.documents.values())

    await eventually(stored)


async def test_a_run_costs_a_small_part_of_a_write(store, monkeypatch):
    monkeypatch.setattr(listing_module, "_BEHIND_SECONDS", 0.05)
    listing = Listing(store)
    for number in range(1000):
        fill(listing, 1, start=number)
        fill(listing, 1, start=number)  # each activity of a run adds it again
        if number % 50 == 0:
            await asyncio.sleep(0.01)
    await listing.flush()
    assert store.calls["writes"] < 1000 / 20


async def test_the_first_page_of_a_long_list_reads_few_documents(store):
    listing = Listing(store)
    fill(listing, 100 * PAGE_RUNS)
    await listing.flush()
    read = []
    get_many = store.get_many
    store.get_many = lambda keys: get_many([read.append(key) or key for key in keys])
    page, _ = await listing.page(None, 50)
    assert (len(page), page[0][1]) == (50, f"run-{100 * PAGE_RUNS - 1}")
    assert len(read) <= 10


async def test_processes_that_came_and_went_make_the_list_no_slower(store):
    for number in range(60):
        listing = Listing(store)
        fill(listing, 1, start=number)
        await listing.close()
    read = []
    get_many = store.get_many
    store.get_many = lambda keys: get_many([read.append(key) or key for key in keys])
    page, _ = await Listing(store).page(None, 2)
    assert [run for _, run in page] == ["run-59", "run-58"]
    assert len(read) <= 10


async def test_what_the_store_does_not_take_is_written_later(store):
    listing = Listing(store)
    fill(listing, 3)
    store.broken = {ROOT}
    with pytest.raises(StoreError):
        await listing.flush()
    store.broken = set()
    assert len(await everything(listing)) == 3


async def test_a_run_whose_id_is_listed_for_a_former_one_is_listed_though_the_store_failed_first(store):
    listing = Listing(store)
    listing.add("run-0", MORNING)
    await listing.flush()
    listing.add("run-0", MORNING + DAY)
    store.broken = {ROOT}
    with pytest.raises(StoreError):
        await listing.flush()
    store.broken = set()
    listing.add("run-0")
    assert (await listing.page(None, 1))[0] == [(MORNING + DAY, "run-0")]


@pytest.mark.parametrize("dies_after", range(8))
async def test_a_process_that_dies_at_any_write_leaves_no_page_that_nobody_finds(store, dies_after):
    listing = Listing(store)
    fill(listing, 150)
    store.dies_after = dies_after
    with pytest.raises(StoreError) if dies_after < 5 else pytest.MonkeyPatch.context():
        await listing.flush()
    store.dies_after = None
    stored = {run for key, text in store.documents.items() if "runs" in text for run in await _runs(store, key)}
    assert set(await everything(Listing(store))) == stored
    again = Listing(store)
    fill(again, 150)
    assert len(await everything(again)) == 150


async def _runs(store, key):
    return (await store.get(key)).value["runs"]


async def test_a_page_that_was_taken_away_empty_is_not_written_to_again(store):
    listing = Listing(store)
    fill(listing, 1)
    await listing.flush()
    (day,) = (await store.get(ROOT)).value["days"]
    (name,) = pages_of((await store.get(day_key(day))).value)
    await store.delete(page_key(day, name))
    fill(listing, 2)
    assert await everything(Listing(store)) == []
    await listing.flush()
    assert await everything(Listing(store)) == ["run-1"]
    assert page_key(day, name) not in store.documents


async def test_closing_writes_what_waits(store):
    listing = Listing(store)
    fill(listing, 2)
    await listing.close()
    assert await everything(Listing(store)) == ["run-1", "run-0"]


@pytest.mark.parametrize("cursor", ["", "x", "1.0", "~a", "nan~a", "1e400~a", "1.0~", "1.0~../a", "1.0~a~b"])
async def test_a_cursor_that_is_none_of_ours_is_an_error(store, cursor):
    with pytest.raises(CursorError):
        await Listing(store).page(cursor, 10)
