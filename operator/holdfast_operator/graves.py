"""What was deleted while lists are read: a page that is older than the deletion still says that it is there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holdfast_operator.facts import newer
from holdfast_operator.kinds import Kind

Manifest = dict[str, Any]


class Graves:
    """Deletions that events have told while a list ran. Without a list there is nothing to remember."""

    def __init__(self) -> None:
        self._lists = 0
        self._versions: dict[tuple[Kind, str, str], str] = {}

    @contextmanager
    def listing(self) -> Iterator[None]:
        """Around the pages of a list."""
        self._lists += 1
        try:
            yield
        finally:
            self._lists -= 1
            if not self._lists:
                self._versions.clear()

    def hold(self, kind: Kind, event: str | None, live: Manifest) -> bool:
        """Whether an object is told of as it was before it was deleted. An event that tells of a deletion is no such word, and is noted."""
        place, version = _place(kind, live), live["metadata"]["resourceVersion"]
        if event == "DELETED":
            if self._lists:
                self._versions[place] = version
            return False
        return place in self._versions and not newer(version, self._versions[place])


def _place(kind: Kind, live: Manifest) -> tuple[Kind, str, str]:
    return kind, live["metadata"]["namespace"], live["metadata"]["name"]
