"""A run's documents as the audit sees them: names, digests and what they say of the chain. Pure.

Documents are up to a quarter of a mebibyte each and a run may have thousands, so each is reduced to a `Sheet` as it comes along.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdfast_agent.audit.chain import Chain, fingerprint
from holdfast_agent.documents import head_key

Document = Mapping[str, Any]

RECALL: Final = "recall"
_CONTEXT: Final = "context"
_SEGMENT: Final = "segment"


@dataclass(frozen=True)
class Sheet:
    """One document.

    Attributes:
        name: its key without the run, as the chain names it.
        digest: `fingerprint` of the whole document.
        says: the name that it gives itself; None if it gives none.
        chain: what a model turn says the chain was before it.
    """

    name: str
    digest: str
    says: str | None
    chain: Chain | None


@dataclass(frozen=True)
class Segment:
    """Copies of several documents in one piece.

    Attributes:
        messages: (name, digest) of each.
        last_turn: what it says is the last turn that was packed with it.
        whole: whether it is shaped as segments are.
    """

    messages: tuple[tuple[str, str], ...]
    last_turn: object
    whole: bool


@dataclass(frozen=True)
class Papers:
    """All that is there of one run.

    Attributes:
        head: None if it is missing.
        sheets: by name, without the segments.
        segments: by number.
    """

    run: str
    head: Document | None
    sheets: dict[str, Sheet]
    segments: dict[int, Segment]

    @property
    def turns(self) -> list[int]:
        """Numbers of the turns whose model documents are there, in order."""
        return sorted(number for name in self.sheets if (number := turn_of(name)) is not None)


def gather(run: str, documents: Iterable[tuple[str, Document]]) -> Papers:
    """What (key, document) pairs make up.

    Args:
        run: the run's id; documents of others are left out.
        documents: as they are in the store.
    """
    papers = Papers(run, None, {}, {})
    head: Document | None = None
    for key, document in documents:
        if key == head_key(run):
            head = document
            continue
        name = key.removeprefix(f"{head_key(run)}/")
        kind, _, number = name.partition("/")
        if name == key:
            continue
        if kind == _SEGMENT and number.isdigit():
            papers.segments[int(number)] = _segment(run, document)
        else:
            papers.sheets[record_name(name)] = sheet(run, name, document)
    return Papers(run, head, papers.sheets, papers.segments)


def sheet(run: str, name: str, document: Document) -> Sheet:
    """One document; `name` is where it was found."""
    says = document.get("key")
    inner = str(says).removeprefix(f"{run}/") if says is not None else None
    chain = document.get("audit")
    return Sheet(record_name(name), fingerprint(document), inner, chain if isinstance(chain, dict) else None)


def record_name(name: str) -> str:
    """How the chain names what is stored under a name: the snapshot of a session is the result of `recall`."""
    return RECALL if name == _CONTEXT else name


def document_name(record: str) -> str:
    """Where a record's document is."""
    return _CONTEXT if record == RECALL else record


def turn_of(name: str) -> int | None:
    """The turn whose model document has that name, or None."""
    number, _, kind = name.partition("/")
    return int(number) if kind == "model" and number.isdigit() else None


def _segment(run: str, document: Document) -> Segment:
    messages = document.get("messages")
    named = tuple(_named(run, message) for message in (messages if isinstance(messages, list) else ()))
    return Segment(named, document.get("last_turn"), whole=document.keys() == {"last_turn", "messages"})


def _named(run: str, message: Any) -> tuple[str, str]:  # noqa: ANN401 - what somebody may have written into a segment
    if not isinstance(message, dict):
        return "", ""
    return str(message.get("key", "")).removeprefix(f"{run}/"), fingerprint(message)
