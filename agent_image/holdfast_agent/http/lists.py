"""The list of runs, newest first, filtered by what their heads say."""

from typing import Final

from holdfast_agent.documents import Head
from holdfast_agent.http import views
from holdfast_agent.http.parts import Parts
from holdfast_agent.http.steps import View

_LOOKED_AT: Final = 2000
"""Runs whose heads are read for one page; a filter that few pass gets a short page and a place to go on from."""


async def listed(parts: Parts, cursor: str | None, limit: int, wanted: dict[str, str | None]) -> tuple[list[Head], str | None]:
    """Heads of at most `limit` runs, and where to go on; None: that was all. There may be fewer and still more to come.

    Args:
        parts: where runs are read from.
        cursor: where to begin; None: with the newest.
        limit: see above.
        wanted: what their summaries say (`views.summary`), by field; None: anything.

    Raises:
        CursorError: `cursor` is no place of the list.
        StoreError: the store does not answer.
    """
    found: list[Head] = []
    looked_at = 0
    while True:
        # Never more than there is room for, so that the cursor of the list is ours too.
        page, cursor = await parts.listing.page(cursor, limit - len(found))
        heads = await parts.timelines.heads([run for _, run in page])
        found += [head for head in heads if _passes(views.summary(head), wanted)]
        looked_at += len(page)
        if cursor is None or len(found) >= limit or looked_at >= _LOOKED_AT:
            return found, cursor


def _passes(run: View, wanted: dict[str, str | None]) -> bool:
    return all(value is None or run.get(name) == value for name, value in wanted.items())
