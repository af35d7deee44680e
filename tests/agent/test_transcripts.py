"""What a process has at hand of a run is that run's, and not an earlier one's whose id it has."""

import pytest

from holdfast_agent.documents import ModelTurn, ToolCall, Usage, effect_document, evaluation_key, model_key
from holdfast_agent.transcripts import Transcripts
from tests.agent.memory import MemoryStore

OLD, NEW = 1.0, 2.0


def said(arguments, number=1):
    asked = (ToolCall("c", "pay", arguments),) if arguments else ()
    return ModelTurn(model_key("x", number), arguments, asked, Usage(), "m", 0.0, 0.0, open=None if asked else "candidate")


async def stored(store, *turns):
    for turn in turns:
        await store.create(effect_document(turn.key), turn.dump())


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def old(store):
    """A process that worked on the run of before and was not there when it ended."""
    transcripts = Transcripts(store)
    transcripts.meet("x", OLD)
    transcripts.remember("x/1/model", said('{"to": "old"}').dump())
    return transcripts


async def test_a_call_of_a_new_run_has_its_own_arguments_wherever_it_is_carried_out(store, old):
    await stored(store, said('{"to": "new"}'))
    assert (await old.turn("x", 1, accepted=OLD)).calls[0].arguments == '{"to": "old"}'
    assert (await old.turn("x", 1, accepted=NEW)).calls[0].arguments == '{"to": "new"}'


async def test_a_new_run_is_not_told_what_an_earlier_one_said(store):
    transcripts, counted = Transcripts(store), {"turns": 1, "segments": 0, "context": 1000}
    await stored(store, said(""))
    await store.create(effect_document(evaluation_key("x", 1)), {"key": "x/1/evaluation", "accepted": False, "feedback": "old"})
    assert "old" in str((await transcripts.conversation("x", accepted=OLD, **counted)).messages("t"))
    await store.update(effect_document(evaluation_key("x", 1)), lambda document: document | {"feedback": "new"})
    assert "old" in str((await transcripts.conversation("x", accepted=OLD, **counted)).messages("t")), "it is at hand"
    told = str((await transcripts.conversation("x", accepted=NEW, **counted)).messages("t"))
    assert ("new" in told, "old" in told) == (True, False)


async def test_the_turns_of_a_new_run_are_packed_and_not_an_earlier_ones(store, old):
    await stored(store, said("", number=1))
    await store.create(effect_document(evaluation_key("x", 1)), {"key": "x/1/evaluation", "accepted": True})
    [[turn, _]] = await old.of_turns("x", range(1, 2), accepted=NEW)
    assert turn["calls"] == []


async def test_what_was_written_here_of_a_run_needs_no_reading(store, old):
    await old.turn("x", 1, accepted=OLD)
    assert store.widest == 0


async def test_no_more_runs_are_remembered_than_wanted(store):
    transcripts = Transcripts(store, max_runs=2)
    for number in range(5):
        transcripts.meet(f"run-{number}", 1.0)
        transcripts.remember(f"run-{number}/1/model", said("{}").dump())
    assert [*transcripts._accepted] == ["run-3", "run-4"]
    assert [*transcripts._fresh] == ["run-3/1/model", "run-4/1/model"]
