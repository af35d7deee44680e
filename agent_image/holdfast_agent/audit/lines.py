"""Documents of a run as lines of text: what `GET /runs/ID/audit?documents=true` gives and `verify` reads. Pure.

One line is one document: `{"key": ..., "document": ...}` in the words of the store, the head first.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Final

from holdfast_agent.documents import Document

Item = tuple[str, Document]
MEDIA_TYPE: Final = "application/x-ndjson"


class LineError(Exception):
    """A line is not what was exported; the message says which."""


def line(key: str, document: Document) -> str:
    """One document as a line."""
    return json.dumps({"key": key, "document": document}, ensure_ascii=False, separators=(",", ":")) + "\n"


def parse(lines: Iterable[str | bytes]) -> Iterator[Item]:
    """Documents out of lines.

    Raises:
        LineError: a line is not one.
    """
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            read = json.loads(text)
            key, document = read["key"], read["document"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            told = f'line {number} is not {{"key": ..., "document": ...}}: use what GET /runs/RUN/audit?documents=true gives'
            raise LineError(told) from error
        if not isinstance(key, str) or not isinstance(document, dict):
            raise LineError(f"line {number}: key must be text and document an object")
        yield key, document
