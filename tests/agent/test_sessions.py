"""Sessions: each run is in it once, in the order of the ends, within bounds, and not after a deletion."""

import asyncio
import json

import pytest

from holdfast_agent.cursors import CursorError
from holdfast_agent.sessions import SESSION_BYTES, SHARDS, TEXT_BYTES, Exchange, Session, Sessions, session_key
from holdfast_agent.store import StoreError
from tests.agent.memory import MemoryStore


def exchange(number, *, text="t"):
    return Exchange(run=f"run-{number}", task=f"{text} {number}", answer=f"a {number}", at=1000.0 + number)


def session(count):
    whole = Session()
    for number in range(count):
        whole = whole.appended(exchange(number), accepted=0.0)
    return whole


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def sessions(store):
    return Sessions(store)


def test_a_session_is_the_same_after_storing_it():
    whole = session(4).summarised(session(2).entries, "before")
    assert Session.load(whole.dump()) == whole
    assert Session.load(whole.dump() | {"newer": 1}) == whole
    assert Session.load(None) == Session()


def test_a_run_is_appended_once():
    assert session(3).appended(exchange(1), accepted=0.0) == session(3)


def test_a_run_that_was_summarised_or_dropped_does_not_come_again():
    whole = session(6)
    for shorter in (whole.summarised(whole.entries[:4], "before"), whole.truncated(4)):
        assert shorter.appended(exchange(0), accepted=0.0) == shorter


def test_it_is_past_when_it_has_more_messages_than_allowed():
    assert not session(5).past(10)
    assert session(6).past(10)
    assert session(5).oldest(10) == ()


def test_a_summary_stands_for_all_but_the_newest():
    whole = session(6)
    oldest = whole.oldest(10)
    assert [entry.run for entry in oldest] == ["run-0", "run-1", "run-2", "run-3"]
    shorter = whole.summarised(oldest, "what was before")
    assert (shorter.summary, [entry.run for entry in shorter.entries]) == ("what was before", ["run-4", "run-5"])
    assert not shorter.past(10)


def test_a_summary_keeps_what_came_in_meanwhile():
    oldest = session(6).oldest(10)
    assert [entry.run for entry in session(8).summarised(oldest, "s").entries] == ["run-4", "run-5", "run-6", "run-7"]


def test_the_later_of_two_summaries_is_discarded():
    whole = session(6)
    first = whole.summarised(whole.oldest(10), "first")
    assert first.summarised(whole.oldest(10), "second") == first
    assert whole.tombstone(5.0).summarised(whole.oldest(10), "third") == whole.tombstone(5.0)


def test_everything_may_be_in_the_summary_and_the_session_lives_on():
    whole = session(2)
    shorter = whole.summarised(whole.oldest(1), "all")
    assert shorter.alive
    assert shorter.used == whole.entries[-1].at


def test_truncating_drops_the_oldest():
    assert [entry.run for entry in session(6).truncated(4).entries] == ["run-4", "run-5"]
    assert session(2).truncated(4) == session(2)


def test_a_text_that_is_too_long_is_cut_and_says_so():
    entry = session(0).appended(exchange(0, text="ž" * TEXT_BYTES), accepted=0.0).entries[0]
    assert len(entry.task.encode()) < TEXT_BYTES + 100
    assert "cut off here" in entry.task


def test_a_session_of_long_texts_asks_to_be_compacted_and_never_outgrows_the_store():
    whole = Session()
    for number in range(40):
        whole = whole.appended(exchange(number, text="x" * TEXT_BYTES), accepted=0.0)
        assert whole.size <= SESSION_BYTES
    assert whole.past(1000)
    assert whole.oldest(1000)


def test_a_run_that_was_accepted_before_the_deletion_does_not_append():
    gone = session(3).tombstone(500.0)
    assert not gone.alive
    assert gone.appended(exchange(9), accepted=500.0) == gone
    assert [entry.run for entry in gone.appended(exchange(9), accepted=500.1).entries] == ["run-9"]


async def test_a_run_that_was_canceled_after_all_is_taken_out_and_stays_out(sessions):
    for number in range(3):
        await sessions.append("s", exchange(number), accepted=0.0)
    stands = await sessions.withdraw("s", "run-1", accepted=0.0)
    assert [entry.run for entry in stands.entries] == ["run-0", "run-2"]
    assert await sessions.append("s", exchange(1), accepted=0.0) == stands
    assert await sessions.withdraw("s", "run-1", accepted=0.0) == stands


FORMER, LATER = (Exchange(run="d", task=f"t {at:g}", answer="a", at=at) for at in (1000.0, 200_000.0))
OTHERS = [Exchange(run=f"o-{at:g}", task="t", answer="a", at=at) for at in (1001.0, 1002.0, 1003.0)]


def former():
    """A session with a run whose id was free again 900 s after its end at the earliest, and with others."""
    whole = Session().appended(FORMER, accepted=990.0)
    for other in OTHERS:
        whole = whole.appended(other, accepted=990.0)
    return whole


SHORTENED = {
    "as it was": lambda whole: whole,
    "summarised": lambda whole: whole.summarised(whole.entries[:2], "before"),
    "truncated": lambda whole: whole.truncated(4),
    "read back": lambda whole: Session.load(json.loads(json.dumps(whole.truncated(4).dump()))),
}


@pytest.mark.parametrize("shorten", SHORTENED.values(), ids=SHORTENED)
def test_a_run_whose_id_was_another_ones_before_is_appended_once(shorten):
    shorter = shorten(former())
    longer = shorter.appended(LATER, accepted=199_990.0)
    assert longer.entries == (*shorter.entries, LATER)
    assert longer.appended(LATER, accepted=199_990.0) == longer
    assert shorter.appended(FORMER, accepted=990.0) == shorter


@pytest.mark.parametrize("shorten", SHORTENED.values(), ids=SHORTENED)
def test_a_run_that_is_taken_out_leaves_the_one_that_had_its_id_before(shorten):
    shorter = shorten(former())
    assert shorter.withdrawn("d", accepted=199_990.0) == shorter
    taken = shorter.appended(LATER, accepted=199_990.0).withdrawn("d", accepted=199_990.0)
    assert taken.entries == shorter.entries
    assert taken.appended(LATER, accepted=199_990.0) == taken
    third = Exchange(run="d", task="t", answer="a", at=400_000.0)
    assert taken.appended(third, accepted=399_990.0).entries == (*shorter.entries, third)


@pytest.mark.parametrize("ahead", [-250.0, 250.0])
def test_clocks_that_differ_by_minutes_change_nothing(ahead):
    later = Exchange(run="d", task="t", answer="a", at=2000.0)  # as soon as the id is free, by a clock that is right
    longer = Session().appended(FORMER, accepted=990.0).appended(later, accepted=FORMER.at + 900 + ahead)
    assert longer.entries == (FORMER, later)
    assert longer.appended(later, accepted=FORMER.at + 900 + ahead) == longer


def test_a_run_that_an_older_version_remembers_by_its_id_alone_does_not_come_again():
    remembered = Session.load({"summary": "before", "folded": ["d"], "used": 1000.0})
    assert remembered.appended(LATER, accepted=199_990.0) == remembered
    assert remembered.appended(OTHERS[0], accepted=990.0).entries == (OTHERS[0],)


async def test_runs_that_end_at_once_are_all_kept(sessions):
    await asyncio.gather(*(sessions.append("s", exchange(number), accepted=0.0) for number in range(5)))
    assert {entry.run for entry in (await sessions.read("s")).entries} == {f"run-{number}" for number in range(5)}


async def test_a_session_is_there_from_its_first_run_until_it_is_deleted(sessions):
    assert await sessions.read("s") is None
    assert await sessions.snapshot("s") == Session()
    await sessions.append("s", exchange(1), accepted=0.0)
    assert (await sessions.read("s")).entries == (exchange(1),)
    assert await sessions.delete("s") is True
    assert await sessions.delete("s") is False
    assert await sessions.read("s") is None
    assert await sessions.list(None, 10) == ([], None)


async def test_a_deletion_holds_against_runs_that_are_under_way(sessions):
    await sessions.delete("never stored")
    await sessions.append("never stored", exchange(1), accepted=0.0)
    assert await sessions.read("never stored") is None


async def test_a_deleted_session_may_begin_anew(sessions):
    await sessions.append("s", exchange(1), accepted=0.0)
    await sessions.delete("s")
    await sessions.append("s", exchange(2), accepted=1e12)
    assert [entry.run for entry in (await sessions.read("s")).entries] == ["run-2"]
    assert await sessions.list(None, 10) == (["s"], None)


async def test_pages_hold_every_session_once(sessions):
    names = {f"s-{number}" for number in range(3 * SHARDS)}
    for name in names:
        await sessions.append(name, exchange(1), accepted=0.0)
    seen, cursor = [], None
    while True:
        page, cursor = await sessions.list(cursor, 7)
        assert len(page) <= 7
        seen += page
        if cursor is None:
            break
    assert (len(seen), set(seen)) == (len(names), names)


@pytest.mark.parametrize("cursor", ["", "x", "1", "1.", "-1.a", "99.a", "9999999999999999999999.a", "\u0661.a"])
async def test_a_cursor_that_is_none_of_ours_is_an_error(sessions, cursor):
    with pytest.raises(CursorError):
        await sessions.list(cursor, 10)


async def test_a_death_at_any_write_leaves_no_session_that_is_not_listed(store):
    for dies_after in range(4):
        store = MemoryStore()
        store.dies_after = dies_after
        sessions = Sessions(store)
        try:
            await sessions.append("s", exchange(1), accepted=0.0)
        except StoreError:
            assert session_key("s") not in store.documents or await sessions.list(None, 10) == (["s"], None)


async def test_a_session_that_the_sweeper_took_away_meanwhile_is_listed_again(store, sessions):
    await sessions.append("s", exchange(1), accepted=0.0)
    read = sessions._find

    async def read_then_swept(name):
        found = await read(name)
        store.documents.clear()
        return found

    sessions._find = read_then_swept
    await sessions.append("s", exchange(2), accepted=0.0)
    assert await sessions.list(None, 10) == (["s"], None)


async def test_compacting_goes_through_the_store(sessions):
    for number in range(6):
        await sessions.append("s", exchange(number), accepted=0.0)
    snapshot = await sessions.snapshot("s")
    await sessions.append("s", exchange(6), accepted=0.0)
    stands = await sessions.compacted("s", snapshot.oldest(10), "before")
    assert stands == await sessions.read("s")
    assert [entry.run for entry in stands.entries] == ["run-4", "run-5", "run-6"]
    assert await sessions.compacted("s", snapshot.oldest(10), "late") == stands
    assert [entry.run for entry in (await sessions.truncated("s", 2)).entries] == ["run-6"]
