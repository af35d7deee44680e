"""Messages of several turns in few documents. Pure, and the same cut at every execution, because segments are write-once."""

from collections.abc import Iterator

from holdfast_agent.documents import SEGMENT_BYTES, Document
from holdfast_api.names import canonical


def segments_of(messages: list[Document], *, last_turn: int) -> Iterator[Document]:
    """Cut messages into documents of at most `SEGMENT_BYTES`, or of one message.

    Args:
        messages: `ModelTurn` and `ToolOutcome` documents in the order of the conversation.
        last_turn: number of the last turn among them, written into each document.
    """
    piece: list[Document] = []
    size = 0
    for message in messages:
        more = len(canonical(message).encode())
        if piece and size + more > SEGMENT_BYTES:
            yield {"last_turn": last_turn, "messages": piece}
            piece, size = [], 0
        piece.append(message)
        size += more
    if piece:
        yield {"last_turn": last_turn, "messages": piece}
