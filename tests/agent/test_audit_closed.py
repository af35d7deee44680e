"""A run that others had to end has all its turns on record; what was asked for and what was approved can be compared."""

from holdfast_agent.activities import approval
from holdfast_agent.audit import Auditor, fingerprint, link
from holdfast_agent.audit.export import recorded
from holdfast_agent.audit.records import records
from holdfast_agent.documents import (
    TURNS_PER_GENERATION,
    ModelTurn,
    ToolCall,
    ToolOutcome,
    Usage,
    call_key,
    effect_document,
    head_key,
    model_key,
)
from tests.agent.houses import House, head_of

AUDITOR = Auditor("", "the-key")


async def stored(store, head, turns):
    """A run of so many turns with a call in each, and of one more with its answer. Returns its chain."""
    chain = {name: head.audit[name] for name in ("count", "hash", "tail")}
    for number in range(1, turns + 2):
        calls = (ToolCall("c", "read", "{}"),) if number <= turns else ()
        made = [ModelTurn(model_key("r", number), "text", calls, Usage(1, 0, 10, 5), "m", 0.0, 1.0, audit=chain)]
        made += [ToolOutcome(call_key("r", number, 0), "read", "c", "found", is_error=False, started=1.0, ended=2.0) for _ in calls]
        for effect in made:
            await store.create(effect_document(effect.key), effect.dump())
            chain = link(chain, [{"key": effect.key, "digest": fingerprint(effect.dump())}])
    return chain


async def test_a_run_that_was_closed_in_its_closing_turn_has_that_turn_on_record_and_in_its_usage():
    house = House()
    head = AUDITOR.begun(head_of("r"))
    house.store.documents[head_key("r")] = head.dump()
    chain = await stored(house.store, head, TURNS_PER_GENERATION)
    assert await recorded(house.store, head) == chain
    closed = await house.runs.close(head, {"type": "WorkflowEnded", "message": "gone"})
    assert (closed.usage.turns, closed.usage.input_tokens) == (TURNS_PER_GENERATION + 1, 10 * (TURNS_PER_GENERATION + 1))
    assert closed.audit["count"] == chain["count"] + 1


def test_the_arguments_that_were_asked_for_and_those_that_were_approved_have_one_digest():
    turn = ModelTurn("r/1/model", "", (ToolCall("c", "pay", '{"to": "Ann",  "sum": 5}'),), Usage(), "m", 0.0, 1.0)
    [decision] = records("1/model", turn.dump())
    assert decision["calls"] == [{"tool": "pay", "arguments": approval.digest({"sum": 5, "to": "Ann"})}]
