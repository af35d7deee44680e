"""How much of a model's context each part of a conversation may take. Pure, and the same at every execution.

A run is summed up once a call has taken three quarters of the context (`plan.py`), and the results of one turn may take the last quarter:
so the turn after it still fits. Bytes are turned into tokens by the providers' own rule of thumb, four characters of English for one token;
it is used where nothing better is known, and a provider that says that something is too long is believed.
"""

from collections.abc import Iterable
from typing import Final

BYTES_PER_TOKEN: Final = 4
_RESULTS: Final = 4
_SESSION: Final = 4
_KEPT: Final = 4
_SUMMARY: Final = 16
_SUMMED: Final = 2


def tokens(size: int) -> int:
    """About how many tokens so many bytes are."""
    return -(-size // BYTES_PER_TOKEN)


def results(context: int) -> int:
    """Bytes that the results of one turn may take together.

    Args:
        context: tokens that the model can take, here and below.
    """
    return context * BYTES_PER_TOKEN // _RESULTS


def session(context: int) -> int:
    """Bytes that the exchanges of a session may take together."""
    return context * BYTES_PER_TOKEN // _SESSION


def kept(context: int) -> int:
    """Bytes that the turns may take which a summary leaves whole."""
    return context * BYTES_PER_TOKEN // _KEPT


def summary(context: int) -> int:
    """Bytes that a summary may have."""
    return context * BYTES_PER_TOKEN // _SUMMARY


def summed(context: int) -> int:
    """Bytes of what is summed up in one call of the model."""
    return context * BYTES_PER_TOKEN // _SUMMED


def share(sizes: Iterable[int], room: int) -> int:
    """The most that each may have so that together they have at most `room`: the small ones keep all, the large ones share the rest."""
    left, ordered = room, sorted(sizes)
    for number, size in enumerate(ordered):
        each = left // (len(ordered) - number)
        if size > each:
            return each
        left -= size
    return max(ordered, default=room)


def cut(text: str, size: int) -> str:
    """The text, or so many bytes of its beginning and a note that says how much is missing."""
    data = text.encode(errors="replace")
    if len(data) <= size:
        return data.decode()
    kept = data[: max(0, size)].decode(errors="ignore")
    return f"{kept}\n[cut off here: this text has {len(data)} bytes, and {len(kept.encode())} of them fit into the conversation]"
