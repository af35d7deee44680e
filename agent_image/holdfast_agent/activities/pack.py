"""The activity `pack`: the messages of some turns go into segments, so that the run can be read in few pieces."""

from dataclasses import replace

from holdfast_agent import documents
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.documents import Head, Usage
from holdfast_agent.heads import change
from holdfast_agent.segments import segments_of


def key(call: Input) -> str:
    """Key of the effect."""
    return f"{call['run']}/{call['last']}/pack"


async def pack(steps: Steps, key: str, call: Input) -> Output:
    """Pack the turns `first` to `last`.

    Returns:
        `{key, segments}`, the number of segments that there are now.
    """
    run, first, last = call["run"], call["first"], call["last"]
    entry = await steps.store.get(documents.head_key(run))
    if entry is None:
        raise LookupError(f"the head of run {run!r} is missing from the state store")
    turns = await steps.transcripts.of_turns(run, range(first, last + 1), accepted=Head.load(entry.value).created)
    number = call["segments"]
    for segment in segments_of([document for turn in turns for document in turn], last_turn=last):
        await steps.store.create(documents.segment_key(run, number), segment)
        number += 1
    packed, usage = number, Usage.load(call["usage"])
    told = change(lambda head: replace(head.calm(), packed=last, segments=packed, usage=usage))
    await steps.store.update(documents.head_key(run), told, known=entry)
    return {"key": key, "segments": number}
