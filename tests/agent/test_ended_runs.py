"""What happens to a run that has ended already: its head stays as it was sealed, and its session holds it only if it ended well."""

from dataclasses import replace

import pytest

from holdfast_agent.activities import finish, pack
from holdfast_agent.activities.steps import Activity, Steps
from holdfast_agent.audit import Auditor
from holdfast_agent.controls import EndedRun
from holdfast_agent.documents import Head, ModelTurn, Usage, effect_document, evaluation_key, head_key, model_key, segment_key
from holdfast_agent.flights import Flights
from holdfast_agent.heads import ERASING, change
from holdfast_agent.sessions import Exchange, Sessions
from holdfast_agent.store import StoreError
from tests.agent.desks import Index
from tests.agent.houses import House, head_of
from tests.agent.memory import MemoryStore

ERROR = {"type": "RunTimeout", "message": "it took too long"}


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def steps(store):
    return Steps(sidecar=None, store=store, revisions=None, flights=Flights(), index=Index(), ended=lambda _: None)


async def packed(steps):
    call = {"run": "r", "first": 1, "last": 1, "segments": 0, "usage": Usage(1).dump(), "attempt": 1, "failed": 0}
    return await steps.once(Activity(pack.key, pack.pack), call)


async def one_turn(store, head):
    await store.create(head_key("r"), head.dump())
    turn = ModelTurn(model_key("r", 1), "text", (), Usage(), "m", 0.0, 1.0, open="candidate")
    await store.create(effect_document(turn.key), turn.dump())
    await store.create(effect_document(evaluation_key("r", 1)), {"key": "r/1/evaluation", "accepted": False})


async def test_packing_tells_the_head_of_a_run_under_way(steps, store):
    await one_turn(store, head_of("r"))
    assert await packed(steps) == {"key": "r/1/pack", "segments": 1}
    head = Head.load((await store.get(head_key("r"))).value)
    assert (head.packed, head.segments, head.usage.turns) == (1, 1, 1)
    assert await store.get(segment_key("r", 0))


async def test_a_run_that_was_ended_by_force_while_it_was_packed_stays_as_it_was_sealed(steps, store):
    ended = Auditor("", "key").sealed(
        head_of("r").canceled(1.0, "", forced=True).failed(ERROR, Usage(), 2.0), {"count": 0, "hash": "0", "tail": []}
    )
    await one_turn(store, ended)
    assert await packed(steps) == {"key": "r/1/pack", "segments": 1}
    assert (await store.get(head_key("r"))).value == ended.dump()


@pytest.mark.parametrize("verb", ["cancel", "force_cancel", "suspend", "resume"])
async def test_a_control_that_comes_too_late_leaves_a_sweepers_claim_in_the_head(verb):
    house = House(head_of("r").completed("yes", Usage(), 1.0))
    claimed = house.store.documents[head_key("r")] | {ERASING: {"by": "sweeper", "at": 1.0}}
    house.store.documents[head_key("r")] = claimed
    with pytest.raises(EndedRun):
        await getattr(house.controls, verb)("r")
    assert house.store.documents[head_key("r")] == claimed


def test_a_change_leaves_alone_what_is_not_there_what_has_ended_and_what_stays_the_same():
    running = head_of("r")
    suspended = change(lambda head: head.suspend(5.0))
    assert suspended(running.dump()) == replace(running, suspended=5.0).dump()
    assert suspended(replace(running, suspended=5.0).dump()) is None
    assert suspended(running.completed("yes", Usage(), 1.0).dump()) is None
    assert suspended(None) is None


async def in_session(store, head):
    """A run whose process died between its session and its head."""
    await store.create(head_key("r"), head.dump())
    await Sessions(store).append("s", Exchange("other", "t", "a", 1.0), accepted=head.created)
    await Sessions(store).append("s", Exchange("r", "t", "a", head.created), accepted=head.created)


async def with_a_former_run(store, head):
    """A run that has the id of one that is in the session, and was erased since."""
    await store.create(head_key("r"), head.dump())
    await Sessions(store).append("s", Exchange("r", "t", "a", 2.0), accepted=1.0)


async def members(store):
    return [entry.run for entry in (await Sessions(store).read("s")).entries]


async def finished(steps):
    call = {"run": "r", "error": ERROR, "usage": Usage(1).dump(), "attempt": 1, "failed": 0}
    return await steps.once(Activity(finish.key, finish.finish), call)


async def test_a_run_that_was_about_to_complete_and_failed_leaves_its_session(steps, store):
    await in_session(store, head_of("r", session="s"))
    await finished(steps)
    assert await members(store) == ["other"]


async def test_a_run_that_has_completed_stays_in_its_session_whoever_comes_too_late(steps, store):
    await in_session(store, head_of("r", session="s").completed("yes", Usage(), 1.0))
    claimed = await store.update(head_key("r"), lambda document: document | {ERASING: {"by": "sweeper", "at": 1.0}})
    await finished(steps)
    assert await members(store) == ["other", "r"]
    assert (await store.get(head_key("r"))).value == claimed


@pytest.fixture
def house():
    house = House(head_of("r", session="s"), r="RUNNING")
    house.store = house.runs._store = house.controls._store = house.janitor._store = house.index._store = MemoryStore()
    return house


async def test_a_run_that_is_ended_by_force_leaves_its_session(house):
    await in_session(house.store, head_of("r", session="s"))
    assert (await house.controls.force_cancel("r")).status == "CANCELED"
    assert await members(house.store) == ["other"]


async def test_the_session_keeps_the_run_that_had_the_id_of_one_that_failed(steps, store):
    await with_a_former_run(store, head_of("r", session="s"))
    await finished(steps)
    assert await members(store) == ["r"]


async def test_the_session_keeps_the_run_that_had_the_id_of_one_that_is_ended_by_force(house):
    await with_a_former_run(house.store, head_of("r", session="s"))
    await house.controls.force_cancel("r")
    assert await members(house.store) == ["r"]


async def test_a_run_that_was_closed_and_could_not_leave_its_session_is_taken_out_by_the_janitor(house):
    await in_session(house.store, head_of("r", session="s"))
    await house.index.ensure("r")
    house.store.broken = {"session/s"}
    with pytest.raises(StoreError):
        await house.controls.force_cancel("r")
    await house.janitor.tidy(thorough=False)
    assert "r" in await house.index.all()
    house.store.broken = set()
    await house.janitor.tidy(thorough=False)
    assert await members(house.store) == ["other"]
    assert await house.index.all() == {}
