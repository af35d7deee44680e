"""Revisions are kept open while they are used, and not all of them for ever."""

import asyncio

import pytest

from holdfast_agent import documents, revisions
from holdfast_agent.revisions import Revision, RevisionError, Revisions
from holdfast_agent.store import Entry
from tests.agent.agents import agent_config


class Shelf:
    """A store of revisions."""

    def __init__(self, *configs):
        self.documents = {documents.revision_key(config.revision): config.document() for config in configs}

    async def get(self, key):
        await asyncio.sleep(0)
        return Entry(self.documents[key], "1") if key in self.documents else None


@pytest.fixture
def configs():
    return [agent_config("http://127.0.0.1:1", system_prompt=f"Prompt {number}.") for number in range(5)]


@pytest.fixture
async def kept_two(configs, monkeypatch):
    """Revisions of which two are kept; and the names of those that were closed."""
    monkeypatch.setattr(revisions, "_KEPT", 2)
    closed = []

    class Noting(Revision):
        @classmethod
        async def open(cls, config, environ):
            opened = await Revision.open(config, environ)
            close = opened.toolbox.close

            async def noted():
                closed.append(config.revision)
                await asyncio.sleep(0)  # as connections and processes that are ended take a moment
                await close()

            opened.toolbox.close = noted
            return opened

    current = await Revision.open(configs[0], {})
    monkeypatch.setattr(revisions, "Revision", Noting)
    kept = Revisions(current, Shelf(*configs), {})
    yield kept, closed
    await kept.close()


async def test_a_revision_in_use_stays_open_however_many_come_after_it(configs, kept_two):
    kept, closed = kept_two
    first, *others = [config.revision for config in configs[1:]]
    async with kept.use(first) as used:
        for name in others:
            async with kept.use(name):
                pass
        assert used.name == first
        assert closed == others[:2]
    assert closed == others[:2]
    async with kept.use(others[-1]):
        pass
    assert first not in closed


async def test_the_revision_unused_for_longest_is_closed_first(configs, kept_two):
    kept, closed = kept_two
    one, two, three, _ = (config.revision for config in configs[1:])
    for name in (one, two, one, three):
        async with kept.use(name):
            pass
    assert closed == [two]


async def test_many_who_want_one_revision_open_it_once(configs, kept_two):
    kept, closed = kept_two
    name = configs[1].revision

    async def user():
        async with kept.use(name) as revision:
            await asyncio.sleep(0)
            return revision

    found = await asyncio.gather(*(user() for _ in range(5)))
    assert len({id(revision) for revision in found}) == 1
    assert closed == []


async def test_a_revision_that_could_not_be_had_is_looked_for_again(configs, kept_two):
    kept, _ = kept_two
    late = agent_config("http://127.0.0.1:1", system_prompt="Late.")
    with pytest.raises(RevisionError, match="not in the state store"):
        async with kept.use(late.revision):
            pass
    kept._store.documents[documents.revision_key(late.revision)] = late.document()
    async with kept.use(late.revision) as revision:
        assert revision.config.system_prompt == "Late."


async def test_a_revision_that_comes_into_use_while_another_is_closed_stays_open(configs, kept_two):
    kept, closed = kept_two
    one, two, three, four = (config.revision for config in configs[1:])
    async with kept.use(one) as first, kept.use(two):
        pass
    closing, gate, used = asyncio.Event(), asyncio.Event(), asyncio.Event()
    close = first.toolbox.close

    async def slowly():
        closing.set()
        await gate.wait()
        await close()

    first.toolbox.close = slowly

    async def use_for_a_while():
        async with kept.use(three):
            await used.wait()

    dropping = asyncio.create_task(use_for_a_while())
    async with kept.use(four):
        used.set()
        await closing.wait()
        async with kept.use(two):
            gate.set()
            await dropping
            assert closed == [one, three]


async def test_two_who_drop_revisions_at_once_close_each_once(configs, kept_two):
    kept, closed = kept_two
    one, two, *others = (config.revision for config in configs[1:])
    async with kept.use(one), kept.use(two):
        pass
    both = asyncio.Barrier(2)

    async def user(name):
        async with kept.use(name):
            await both.wait()

    await asyncio.gather(*map(user, others))
    assert sorted(closed) == sorted([one, two])
