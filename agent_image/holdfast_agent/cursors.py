"""Cursors: where a list that is read in pages goes on."""


class CursorError(ValueError):
    """The cursor is none that a list has given out."""

    def __init__(self, cursor: str) -> None:
        super().__init__(f"{cursor[:200]!r} is not a cursor of this list")
