"""Sessions that nobody uses go, and deleted ones stay deleted for as long as a run of theirs can be under way."""

import time
from dataclasses import replace

import pytest

from holdfast_agent.documents import head_key
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.sessions import Exchange, Sessions, session_key
from holdfast_agent.sessionsweep import SessionSweep
from holdfast_agent.store import StoreError
from tests.agent.memory import MemoryStore
from tests.agent.test_retention import DAY, head


@pytest.fixture
def store():
    return MemoryStore()


def exchange(at):
    return Exchange(run="run-1", task="t", answer="a", at=at)


async def aged(store, session, seconds):
    """The session's place in the index, as if made so long ago."""
    for key in [key for key in store.documents if key.startswith("sessions/")]:
        await store.update(
            key,
            lambda document: {
                "sessions": {
                    name: {what: at - seconds for what, at in marks.items()} if name == session else marks
                    for name, marks in document["sessions"].items()
                }
            },
        )


async def test_an_unused_session_goes_and_a_used_one_stays(store):
    sessions, now = Sessions(store), time.time()
    await sessions.append("unused", exchange(now - 8 * DAY), accepted=0.0)
    await sessions.append("used", exchange(now - DAY), accepted=0.0)
    for name in ("unused", "used"):
        await aged(store, name, 9 * DAY)
    assert (
        await SessionSweep(store, unused_seconds=7 * DAY, tombstone_seconds=3600.0, in_use=OpenRuns(store, pod="a").sessions).sweep() == 1
    )
    assert await sessions.list(None, 10) == (["used"], None)
    assert session_key("unused") not in store.documents


async def test_sessions_stay_until_they_are_deleted_when_nothing_is_configured(store):
    sessions = Sessions(store)
    await sessions.append("s", exchange(1.0), accepted=0.0)
    await aged(store, "s", 900 * DAY)
    assert await SessionSweep(store, unused_seconds=None, tombstone_seconds=3600.0, in_use=OpenRuns(store, pod="a").sessions).sweep() == 0
    assert await sessions.list(None, 10) == (["s"], None)


async def test_a_tombstone_stays_for_as_long_as_a_run_can_be_under_way(store, monkeypatch):
    sessions, sweep = (
        Sessions(store),
        SessionSweep(store, unused_seconds=None, tombstone_seconds=3600.0, in_use=OpenRuns(store, pod="a").sessions),
    )
    await sessions.append("s", exchange(1.0), accepted=0.0)
    await sessions.delete("s")
    assert await sweep.sweep() == 0
    later = time.time() + 3601.0
    monkeypatch.setattr(time, "time", lambda: later)
    assert await sweep.sweep() == 1
    assert not [key for key in store.documents if key.startswith("session/")]
    assert [text for key, text in store.documents.items() if key.startswith("sessions/")] == ['{"sessions": {}}']


async def test_a_deleted_session_does_not_come_back_by_a_run_that_takes_longer_than_todays_run_timeout(store, monkeypatch):
    sessions, index, long_ago = Sessions(store), OpenRuns(store, pod="a"), time.time()
    sweep = SessionSweep(store, unused_seconds=DAY, tombstone_seconds=3600.0, in_use=index.sessions)
    await store.create(head_key("long"), replace(head("long", ended=None, status="RUNNING"), session="s", created=long_ago).dump())
    await index.ensure("long")
    await sessions.delete("s")
    later = time.time() + 2 * DAY
    monkeypatch.setattr(time, "time", lambda: later)
    assert await sweep.sweep() == 0
    await sessions.append("s", Exchange(run="long", task="t", answer="a", at=later), accepted=long_ago)
    assert await sessions.read("s") is None
    index.drop("long")
    await index.forget({"long": later})
    assert await sweep.sweep() == 1


async def test_an_entry_without_a_session_goes(store, monkeypatch):
    store.dies_after = 1
    with pytest.raises(StoreError):
        await Sessions(store).append("s", exchange(1.0), accepted=0.0)
    store.dies_after = None
    assert await Sessions(store).list(None, 10) == (["s"], None)
    later = time.time() + 3601.0
    monkeypatch.setattr(time, "time", lambda: later)
    await SessionSweep(store, unused_seconds=None, tombstone_seconds=3600.0, in_use=OpenRuns(store, pod="a").sessions).sweep()
    assert await Sessions(store).list(None, 10) == ([], None)
