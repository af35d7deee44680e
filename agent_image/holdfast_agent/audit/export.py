"""The documents of one run, out of the store in pieces."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from holdfast_agent import documents
from holdfast_agent.audit.chain import Chain, fingerprint, link
from holdfast_agent.audit.lines import Item
from holdfast_agent.audit.records import anchor, end, in_order, links, records
from holdfast_agent.audit.sheets import RECALL, document_name, turn_of
from holdfast_agent.documents import Document, Head, ModelTurn
from holdfast_agent.store import Store

_TURNS_AT_ONCE: Final = 4


class Audits:
    """What runs left behind, for whoever asks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def documents(self, run: str) -> AsyncIterator[Item]:
        """Everything that is stored of a run; see `documents_of`.

        Raises:
            StoreError: the store does not answer.
        """
        return documents_of(self._store, run)

    async def view(self, run: str) -> dict[str, Any]:
        """The records of a run and its anchor, without a word of what was said: `{id, status, revision, records, anchor}`.

        The records are in the order of the chain, each with the number of the link that binds it, as far as the chain is written down.

        Raises:
            StoreError: the store does not answer.
        """
        head: Document = {}
        numbers: dict[str, int] = {}
        first: list[dict[str, Any]] = []
        found: list[dict[str, Any]] = []
        undone: list[dict[str, Any]] = []
        async for key, document in self.documents(run):
            numbers |= links(document.get("audit"))
            if key == documents.head_key(run):
                head = document
            elif not key.startswith(documents.segment_key(run, 0)[:-1]):
                name = key.removeprefix(f"{documents.head_key(run)}/")
                into = undone if name.endswith("/undo") else first if name == document_name(RECALL) else found
                into += records(name, document)
        told = in_order([*first, *found, *reversed(undone), *end(head)], numbers)
        return {"id": run, "status": head.get("status"), "revision": head.get("revision"), "records": told, "anchor": anchor(head)}


async def documents_of(store: Store, run: str) -> AsyncIterator[Item]:
    """Everything that is stored of a run and that its chain speaks of, the head first, some turns at a time.

    Raises:
        StoreError: the store does not answer.
    """
    entry = await store.get(documents.head_key(run))
    if entry is None:
        return
    yield documents.head_key(run), entry.value
    head = Head.load(entry.value)
    names = set(named(entry.value.get("audit")))
    # One turn more than there can be: what somebody put behind the end must be seen too.
    last = max([head.usage.turns, head.packed, *map(_turn, names)]) + (1 if head.terminal else documents.UNPACKED)
    seen: set[str] = set()
    for first in range(1, last + 1, _TURNS_AT_ONCE):
        async for name, document in _turns(store, run, range(first, min(first + _TURNS_AT_ONCE, last + 1))):
            names |= set(named(document.get("audit")))
            seen.add(name)
            yield f"{documents.head_key(run)}/{name}", document
    # What the chain names and the turns did not lead to: a session's snapshot, or calls of a turn whose own document is gone.
    for name in sorted(set(map(document_name, names)) - seen):
        found = await store.get(f"{documents.head_key(run)}/{name}")
        if found:
            yield f"{documents.head_key(run)}/{name}", found.value
    for number in range(head.segments):
        key = documents.segment_key(run, number)
        found = await store.get(key)
        if found:
            yield key, found.value


async def recorded(store: Store, head: Head) -> Chain | None:
    """The chain of a run whose workflow will not end it: from what is stored, in the order in which a run makes it.

    Raises:
        StoreError: the store does not answer.
    """
    begun = head.audit
    if begun is None or begun.get("count") != 0:
        return None
    chain: Chain = {name: begun[name] for name in ("count", "hash", "tail")}
    undone: list[dict[str, Any]] = []
    first = head.packed if head.packed and not head.ending else 1
    recall = await store.get(f"{documents.head_key(head.id)}/{document_name(RECALL)}") if head.session else None
    if recall:
        chain = link(chain, [_result(head.id, RECALL, recall.value)]) or chain
    async for name, document in _turns(store, head.id, range(first, head.packed + documents.UNPACKED + 1)):
        if name.endswith("/undo"):
            undone.append(_result(head.id, name, document))
            continue
        # A turn holds what the chain was before it, so what is older need not be read.
        if turn_of(name) and isinstance(document.get("audit"), dict):
            chain = {field: document["audit"][field] for field in ("count", "hash", "tail")}
        chain = link(chain, [_result(head.id, name, document)]) or chain
    return link(chain, reversed(undone))


def _result(run: str, name: str, document: Document) -> dict[str, Any]:
    return {"key": f"{run}/{name}", "digest": fingerprint(document)}


async def _turns(store: Store, run: str, turns: range) -> AsyncIterator[tuple[str, Document]]:
    """The documents of some turns by their names in the run, in the order in which they came to be."""
    prefix = f"{documents.head_key(run)}/"
    found = await store.get_many(f"{prefix}{turn}/{kind}" for turn in turns for kind in ("compact", "model", "evaluation"))
    said = {turn: entry.value for turn in turns if (entry := found.get(f"{prefix}{turn}/model"))}
    calls = [f"{turn}/{call}" for turn, document in said.items() for call in range(len(ModelTurn.load(document).calls))]
    found |= await store.get_many(f"{prefix}{call}{undo}" for call in calls for undo in ("", "/undo"))
    for turn in turns:
        own = [call for call in calls if call.partition("/")[0] == str(turn)]
        names = [f"{turn}/compact", f"{turn}/model", *own, f"{turn}/evaluation", *(f"{call}/undo" for call in own)]
        for name in names:
            if entry := found.get(prefix + name):
                yield name, entry.value


def named(chain: Any) -> Iterator[str]:  # noqa: ANN401 - whatever a document holds as its chain
    """Names of the records in a chain's tail."""
    tail = chain.get("tail") if isinstance(chain, dict) else None
    for entry in tail if isinstance(tail, list) else ():
        yield str(entry).partition(" ")[0]


def _turn(name: str) -> int:
    number = name.partition("/")[0]
    return int(number) if number.isdigit() and len(number) < 7 else 0  # noqa: PLR2004 - nobody has a million turns
