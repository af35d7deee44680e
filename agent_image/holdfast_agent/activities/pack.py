"""The activity `pack`: the messages of some turns go into segments, so that the run can be read in few pieces."""

from dataclasses import replace

from holdfast_agent import documents
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.documents import Document, Head, Usage
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
    ordered = [document for turn in await steps.transcripts.of_turns(run, range(first, last + 1)) for document in turn]
    number = call["segments"]
    for segment in segments_of(ordered, last_turn=last):
        await steps.store.create(documents.segment_key(run, number), segment)
        number += 1

    def packed(document: Document | None) -> Document | None:
        head = Head.load(document or {})
        return replace(head, packed=last, segments=number, usage=Usage.load(call["usage"]), trouble=None).dump()

    await steps.store.update(documents.head_key(run), packed)
    return {"key": key, "segments": number}
