"""The list of runs, newest first, filtered by what their heads say."""

from typing import Final

from holdfast_agent.documents import Head
from holdfast_agent.http import views
from holdfast_agent.http.parts import Parts

_LOOKED_AT: Final = 2000
"""Runs whose heads are read for one page; a filter that few pass gets a short page and a place to go on from."""


async def listed(parts: Parts, cursor: str | None, limit: int, *, status: str | None, session: str | None) -> tuple[list[Head], str | None]:
    """Heads of at most `limit` runs, and where to go on; None: that was all. There may be fewer and still more to come.

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
        found += [head for head in heads if (status in (None, views.status(head))) and (session in (None, head.session))]
        looked_at += len(page)
        if cursor is None or len(found) >= limit or looked_at >= _LOOKED_AT:
            return found, cursor
