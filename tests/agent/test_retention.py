"""Runs that ended long enough ago go, whole and in an order that survives any death; nothing else goes."""

import time
from dataclasses import replace
from functools import partial

import pytest

from holdfast_agent import erasure, sweeper
from holdfast_agent.documents import Head, ModelTurn, ToolCall, effect_document, head_key, model_key, segment_key, task_digest
from holdfast_agent.engine import EngineError
from holdfast_agent.listing import ROOT, Listing
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.orphans import take_in
from holdfast_agent.store import StoreError
from holdfast_agent.strays import list_strays, look_for_strays
from holdfast_agent.sweeper import Sweeper, expiry
from holdfast_agent.usage import Usage
from holdfast_api.config import RetentionConfig
from tests.agent.memory import MemoryStore

DAY = 86_400.0
KEPT = RetentionConfig(completed_seconds=3 * DAY, failed_seconds=30 * DAY, sessions_seconds=None)


class Dapr:
    """Instances that have ended, but for those in `running`; the store is looked at when one is purged."""

    def __init__(self, store):
        self.store, self.purged, self.running, self.terminated, self.broken = store, [], set(), [], set()
        self.lost = set()

    async def purge(self, run):
        if run in self.broken:
            raise EngineError("away")
        assert head_key(run) in self.store.documents, "the documents went before the workflow"
        if run in self.running:
            return False
        self.purged.append(run)
        return True

    async def terminate(self, run):
        self.terminated.append(run)

    async def instances(self, after):
        """Three a page, as if each run that has a head had a workflow, but for those in `lost`."""
        if "everything" in self.broken:
            raise EngineError("away")
        runs = sorted(key.removeprefix("run/") for key in self.store.documents if key.count("/") == 1 and key.startswith("run/"))
        runs = [run for run in runs if run not in self.lost]
        start = int(after or 0)
        return ["not a run", *runs[start : start + 3]], str(start + 3) if start + 3 < len(runs) else None


def head(run, *, ended, status="COMPLETED"):
    limits = {"deadline": 0.0, "max_iterations": 5, "longest_call": 60.0}
    created = (ended or time.time()) - 10.0
    return Head(id=run, task="t", digest=task_digest("t"), revision="r", created=created, status=status, ended=ended, **limits)


def turn(run, number, calls):
    asked = tuple(ToolCall(id=str(call), name="search", arguments="{}") for call in range(calls))
    key = model_key(run, number)
    return ModelTurn(key=key, content="", calls=asked, usage=Usage(), model="m", started=0.0, ended=0.0)


async def store_run(store, listing, run, *, ended, status="COMPLETED", turns=2, calls=1, segments=0):
    """A run with everything that a run can leave."""
    stored = head(run, ended=ended, status=status)
    await store.create(head_key(run), stored.dump())
    for number in range(1, turns + 1):
        await store.create(effect_document(model_key(run, number)), turn(run, number, calls).dump())
        for key in erasure.beside(run, number, calls):
            await store.create(key, {"n": number})
    await store.create(effect_document(f"{run}/{turns + 1}/compact"), {})
    for number in range(segments):
        await store.create(segment_key(run, number), {})
    await store.create(f"run/{run}/context", {})
    listing.add(run, stored.created)
    await listing.flush()


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def dapr(store):
    return Dapr(store)


@pytest.fixture
def listing(store):
    return Listing(store)


def sweeping(store, dapr, retention=KEPT):
    index = OpenRuns(store, pod="a")
    return Sweeper(store=store, engine=dapr, listing=Listing(store), index=index, retention=retention, longest_run=3600.0)


async def listed(store):
    return {run for _, run in (await Listing(store).page(None, 1000))[0]}


def of_run(store, run):
    return sorted(key for key in store.documents if key == head_key(run) or key.startswith(f"{head_key(run)}/"))


def test_a_run_expires_by_how_it_ended():
    assert expiry(head("a", ended=100.0), KEPT) == 100.0 + 3 * DAY
    assert expiry(head("a", ended=100.0, status="FAILED"), KEPT) == 100.0 + 30 * DAY
    assert expiry(head("a", ended=None, status="RUNNING"), KEPT) is None


def test_what_may_still_be_written_to_is_kept_whatever_is_configured():
    nothing = RetentionConfig(completed_seconds=0.0, failed_seconds=0.0)
    for status in ("COMPLETED", "CANCELED", "FAILED"):
        assert expiry(head("a", ended=100.0, status=status), nothing) == 100.0 + 60.0 + sweeper._SETTLE_SECONDS


async def test_an_expired_run_leaves_nothing(store, dapr, listing):
    await store_run(store, listing, "old", ended=time.time() - 4 * DAY, turns=45, calls=3, segments=23)
    assert await sweeping(store, dapr).sweep() == 1
    assert dapr.purged == ["old"]
    assert of_run(store, "old") == []
    assert await listed(store) == set()


async def test_the_list_itself_leaves_nothing(store, dapr, listing):
    await store_run(store, listing, "old", ended=time.time() - 4 * DAY)
    sweeper_ = sweeping(store, dapr)
    await sweeper_.sweep()
    await sweeper_.sweep()
    assert {key: value for key, value in store.documents.items() if not key.startswith("sessions/")} == {ROOT: '{"days": []}'}


async def test_what_is_kept_is_whole(store, dapr, listing):
    now = time.time()
    await store_run(store, listing, "old", ended=now - 4 * DAY)
    await store_run(store, listing, "failed", ended=now - 4 * DAY, status="FAILED")
    await store_run(store, listing, "fresh", ended=now - DAY)
    await store_run(store, listing, "running", ended=None, status="RUNNING")
    before = {run: of_run(store, run) for run in ("failed", "fresh", "running")}
    await sweeping(store, dapr).sweep()
    assert dapr.purged == ["old"]
    assert {run: of_run(store, run) for run in before} == before
    assert await listed(store) == set(before)


async def test_a_run_whose_id_begins_like_anothers_is_left_alone(store, dapr, listing):
    await store_run(store, listing, "a", ended=time.time() - 4 * DAY)
    await store_run(store, listing, "a-1", ended=time.time() - DAY)
    kept = of_run(store, "a-1")
    await sweeping(store, dapr).sweep()
    assert of_run(store, "a-1") == kept


async def test_a_workflow_that_goes_on_after_its_runs_end_is_ended_first(store, dapr, listing):
    await store_run(store, listing, "old", ended=time.time() - 4 * DAY)
    dapr.running.add("old")
    before = of_run(store, "old")
    await sweeping(store, dapr).sweep()
    assert (dapr.terminated, of_run(store, "old")) == (["old"], before)
    dapr.running.clear()
    assert await sweeping_later(store, dapr) == 1


async def sweeping_later(store, dapr):
    """By another sweeper, once the claim of the one before is void."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeper, "_CLAIM_SECONDS", -1.0)
        return await sweeping(store, dapr).sweep()


async def test_a_dapr_that_is_away_costs_no_run_its_documents(store, dapr, listing):
    for run in ("one", "two"):
        await store_run(store, listing, run, ended=time.time() - 4 * DAY)
    dapr.broken.add("one")
    before = of_run(store, "one")
    assert await sweeping(store, dapr).sweep() == 1
    assert (of_run(store, "one"), await listed(store)) == (before, {"one"})


async def test_a_broken_document_keeps_no_other_run(store, dapr, listing):
    for run in ("broken", "old"):
        await store_run(store, listing, run, ended=time.time() - 4 * DAY)
    await store.update(effect_document(model_key("broken", 1)), lambda _: {"key": 5, "calls": 7})
    assert await sweeping(store, dapr).sweep() == 1
    assert await listed(store) == {"broken"}


async def test_two_sweepers_never_erase_one_run_side_by_side(store, dapr, listing):
    await store_run(store, listing, "old", ended=time.time() - 4 * DAY)
    assert await sweeping(store, dapr)._claimed("old")
    assert await sweeping(store, dapr).sweep() == 0
    assert dapr.purged == []
    assert await sweeping_later(store, dapr) == 1


@pytest.mark.parametrize("status", ["RUNNING", "COMPLETED"])
async def test_a_new_run_of_an_id_that_another_sweeper_has_freed_meanwhile_is_left_alone(store, dapr, listing, status):
    for run in ("first", "second"):
        await store_run(store, listing, run, ended=time.time() - 4 * DAY)
    dapr.running.add("second")
    new = head("second", ended=None if status == "RUNNING" else time.time(), status=status).dump()

    async def purge(run, purge=dapr.purge):
        if run == "first":
            await store.update(head_key("second"), lambda _: new)
        return await purge(run)

    dapr.purge = purge
    assert await sweeping(store, dapr).sweep() == 1
    assert (dapr.purged, dapr.terminated) == (["first"], [])
    assert (await store.get(head_key("second"))).value == new


async def test_a_delete_that_is_made_again_takes_no_head_of_a_new_run_of_that_id(store, dapr, listing):
    await store_run(store, listing, "r", ended=time.time() - 4 * DAY)
    delete = store.delete

    async def repeated(key, *, etag=None):
        """Its answer is lost, and before it is asked again somebody uses the id that is free now."""
        done = await delete(key, etag=etag)
        if key == head_key("r"):
            await store.create(key, replace(head("r", ended=None, status="RUNNING"), task="another").dump())
            done = await delete(key, etag=etag)
        return done

    store.delete = repeated
    await sweeping(store, dapr).sweep()
    assert Head.load((await store.get(head_key("r"))).value).task == "another"


async def test_a_death_at_any_write_leaves_nothing_for_ever(monkeypatch):
    monkeypatch.setattr(erasure, "_GROUP", 2)
    dies_after, finished = 0, False
    while not finished:
        store = MemoryStore()
        await store_run(store, Listing(store), "old", ended=time.time() - 4 * DAY, turns=3, calls=1, segments=3)
        store.dies_after = store.calls["writes"] + dies_after
        try:
            await sweeping(store, Dapr(store)).sweep()
            finished = of_run(store, "old") == [] and await listed(store) == set()
        except StoreError:
            pass
        store.dies_after = None
        await sweeping_later(store, Dapr(store))
        await sweeping_later(store, Dapr(store))
        assert of_run(store, "old") == [], f"after {dies_after} writes"
        assert await listed(store) == set()
        dies_after += 1
    assert dies_after > 8


async def test_an_id_that_is_used_again_is_listed_again(store, dapr, listing):
    await store_run(store, listing, "id", ended=time.time() - 4 * DAY)
    await sweeping(store, dapr).sweep()
    await store_run(store, listing, "id", ended=time.time() - DAY)
    assert await listed(store) == {"id"}


async def pause(_):
    """None."""


async def test_runs_that_their_process_could_not_enter_any_more_are_found_in_dapr(store, dapr):
    for number in range(8):
        await store.create(head_key(f"run-{number}"), head(f"run-{number}", ended=time.time()).dump())
    entered = Listing(store)
    entered.add("run-3")
    await entered.flush()
    assert await list_strays(dapr, Listing(store), pause=pause) == 7  # all runs but the entered one, and nothing that is none
    assert await listed(store) == {f"run-{number}" for number in range(8)}


async def test_runs_in_the_list_that_dapr_lost_or_never_had_are_given_to_the_janitor_unless_they_have_ended(store, dapr):
    entered, index = Listing(store), OpenRuns(store, pod="a")
    for run, age, status in (("orphan", 600, "RUNNING"), ("young", 5, "RUNNING"), ("over", 600, "FAILED"), ("fine", 600, "RUNNING")):
        found = replace(head(run, ended=None, status=status), created=time.time() - age)
        await store.create(head_key(run), found.dump())
        entered.add(run)
    await entered.flush()
    dapr.lost = {"orphan", "young", "over"}
    assert await list_strays(dapr, Listing(store), orphans=partial(take_in, store, index), pause=pause) == 0
    assert set(await index.all()) == {"orphan"}


async def test_a_dapr_that_does_not_list_is_asked_again_ever_more_seldom_until_it_does(store, dapr):
    await store.create(head_key("run"), head("run", ended=time.time()).dump())
    dapr.broken.add("everything")
    pauses = []

    async def passing(seconds):
        pauses.append(seconds)
        if seconds == 240.0:
            dapr.broken.clear()

    await look_for_strays(dapr, Listing(store), every=60.0, pause=passing)
    assert [seconds for seconds in pauses if seconds >= 60.0] == [60.0, 120.0, 240.0]
    assert await listed(store) == {"run"}


async def test_pages_with_nothing_due_are_not_read_again_and_again(store, dapr, listing):
    await store_run(store, listing, "failed", ended=time.time() - 4 * DAY, status="FAILED")
    sweeper_ = sweeping(store, dapr)
    await sweeper_.sweep()
    assert await read_by(sweeper_, store) == []


async def read_by(sweeper_, store):
    """What one more sweep reads of runs."""
    read, get_many = [], store.get_many
    store.get_many = lambda keys: get_many([read.append(key) or key for key in keys])
    await sweeper_.sweep()
    return [key for key in read if not key.startswith("sessions/")]


async def test_a_run_that_enters_a_page_behind_one_that_is_kept_for_longer_goes_in_its_time(store, dapr, listing, monkeypatch):
    monkeypatch.setattr(sweeper, "_AGAIN_SECONDS", 0.0)
    sweeper_, ended = sweeping(store, dapr), time.time() - 4 * DAY
    await store_run(store, listing, "failed", ended=ended, status="FAILED")
    assert await sweeper_.sweep() == 0
    await store_run(store, listing, "completed", ended=ended)
    assert await sweeper_.sweep() == 1
    assert await listed(store) == {"failed"}
    await listing.close()
    await sweeper_.sweep()
    assert await read_by(sweeper_, store) == []  # the page is closed: nothing comes into it any more
