"""A run's documents against its anchor. Pure.

Two things are done, and they do not depend on each other. The proof: the chain is made anew from all documents and must come out at the
hash that the anchor holds and the key signed. The search, when it does not: tails and the chain that each turn stored say where.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast_agent.audit.chain import END, Chain, extended, genesis, head_digest, key_id, mac, record
from holdfast_agent.audit.sheets import RECALL, Papers

Kind = Literal["edited", "missing", "added", "moved", "forged", "unsigned", "unsealed"]
HEAD = "head"
ANCHOR = "anchor"
_MOST = 1_000_000


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        kind: what was done to it.
        where: the document's name (`3/model`, `3/0`, `segment/1`), `head` or `anchor`.
        message: for people, with what to do.
    """

    kind: Kind
    where: str
    message: str


@dataclass(frozen=True)
class Station:
    """Where the chain was written down: a turn of the model, or the anchor.

    Attributes:
        chain: as it stands there.
        entries: the records since the station before, as (name, entry of a tail).
    """

    where: str
    chain: Chain
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """What was found, and what was looked at."""

    findings: tuple[Finding, ...]
    records: int = 0
    segments: int = 0
    anchor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def intact(self) -> bool:
        """Whether everything is as it was written, and signed."""
        return not self.findings


def verify(papers: Papers, keys: Sequence[str]) -> Report:
    """Check a run that has ended.

    Args:
        papers: all that is there of it.
        keys: that it may have been signed with: the agent's present one and former ones.
    """
    head = papers.head
    if head is None:
        return Report((Finding("missing", HEAD, "the head is not there: without it nothing says what the run was and how it ended"),))
    anchor = head.get("audit")
    if not isinstance(anchor, dict) or not anchor.get("hash"):
        return Report(
            (Finding("unsealed", ANCHOR, "there is no anchor: taken out, or the run was begun by a version that kept no records"),)
        )
    if not _names(anchor.get("tail"), END):
        told = "has not ended" if head.get("status") == "RUNNING" else "ended without being sealed"
        return Report((Finding("unsealed", ANCHOR, f"the run {told}: verify it again once it has an anchor"),), anchor=anchor)
    trail = _trail(papers, head, anchor)
    claimed = [entry for station in trail for entry in station.entries]
    findings = tuple(_signature(papers.run, anchor, keys))
    if not _comes_out(papers, head, anchor, claimed):
        findings += tuple(_search(papers, head, anchor, trail))
    findings += tuple(_added(papers, claimed, {finding.where for finding in findings})) + tuple(_segments(papers, head))
    return Report(findings, records=len(claimed), segments=len(papers.segments), anchor=anchor)


def _signature(run: str, anchor: Chain, keys: Sequence[str]) -> Iterator[Finding]:
    signed, kid = anchor.get("mac"), anchor.get("kid")
    if not signed:
        yield Finding("unsigned", ANCHOR, "the anchor is not signed: taken out, or the agent had no HOLDFAST_AUDIT_KEY")
        return
    key = next((key for key in keys if key_id(key) == kid), None)
    if key is None:
        known = ", ".join(map(key_id, keys)) or "none"
        yield Finding("unsigned", ANCHOR, f"the anchor is signed with key {kid}, given are: {known}. Give that key, see key rotation")
    elif mac(key, run=run, anchor={"spiffe": "", "count": 0} | anchor) != signed:
        yield Finding("forged", ANCHOR, "the signature does not fit: the anchor's count, hash or SPIFFE id was changed")


def _comes_out(papers: Papers, head: Mapping[str, Any], anchor: Chain, claimed: list[tuple[str, str]]) -> bool:
    """Whether the documents, in the order that they claim, lead from the run's begin to the anchor."""
    names = [name for name, _ in claimed]
    return bool(
        all(_digest(papers, head, name) for name in names)
        and _led(papers, head, _genesis(head, anchor)["hash"], names) == anchor["hash"]
        and len(names) == anchor.get("count")
    )


def _search(papers: Papers, head: Mapping[str, Any], anchor: Chain, trail: list[Station]) -> Iterator[Finding]:
    claimed = [entry for station in trail for entry in station.entries]
    found = {finding.where: finding for finding in _records(papers, head, claimed)}
    for turn in range(1, max([0, *papers.turns, *_turns(name for name, _ in claimed)]) + 1):
        name = f"{turn}/model"
        if name not in papers.sheets:
            found.setdefault(name, Finding("missing", name, "the model's turn is not there, and what it called may be missing with it"))
    at, count, before = _genesis(head, anchor)["hash"], 0, HEAD
    for station in trail:
        names = [name for name, _ in station.entries]
        leads = _led(papers, head, at, names), count + len(names)
        at, count = str(station.chain.get("hash")), _number(station.chain.get("count"))
        if leads != (at, count) and not found.keys() & {station.where, before, *(HEAD if name == END else name for name in names)}:
            told = "what it says of the chain before it is not what the documents before it give"
            found[station.where] = Finding("edited", station.where, told)
        before = station.where
    if not found:
        found[ANCHOR] = Finding("edited", ANCHOR, "the documents do not come out at its hash, and none of them says where they went apart")
    yield from found.values()


def _records(papers: Papers, head: Mapping[str, Any], claimed: list[tuple[str, str]]) -> Iterator[Finding]:
    """Records whose documents are not what the tails say."""
    for name, entry in claimed:
        digest, where = _digest(papers, head, name), HEAD if name == END else name
        if digest is None:
            yield Finding("missing", where, "it is in the chain, and the document is not there")
        elif record(name, digest) != entry:
            says = papers.sheets[name].says if name != END else name
            if says not in (None, name):
                yield Finding("moved", where, f"here is what was written as {says}")
            else:
                yield Finding("edited", where, "it is not what was written")


def _added(papers: Papers, claimed: list[tuple[str, str]], wrong: set[str]) -> Iterator[Finding]:
    """Documents that the chain does not have; `wrong`: where something was found already.

    The turn after a record names it. Where that turn is not as it was written, nothing can be said of the records before it but whether
    they are what they say they are.
    """
    for name in sorted(papers.sheets.keys() - {name for name, _ in claimed}):
        turn, _, kind = name.partition("/")
        names_it = f"{turn}/model" if kind == "compact" or not turn.isdigit() else f"{int(turn) + 1}/model"
        says = papers.sheets[name].says
        if names_it not in wrong:
            yield Finding("added", name, "it is there, and the chain does not have it: put in, or written after the run was ended by force")
        elif says not in (None, name):
            yield Finding("moved", name, f"here is what was written as {says}")


def _segments(papers: Papers, head: Mapping[str, Any]) -> Iterator[Finding]:
    """Segments are copies for reading in one piece: what they hold must be what the documents are."""
    told: list[str] = []
    for number in range(_number(head.get("segments"))):
        where, segment = f"segment/{number}", papers.segments.get(number)
        if segment is None:
            yield Finding("missing", where, "the segment is not there")
            return
        names = [name for name, _ in segment.messages]
        wrong = [name for name, digest in segment.messages if name not in papers.sheets or papers.sheets[name].digest != digest]
        following = papers.segments.get(number + 1)
        ends = following is None or following.last_turn != segment.last_turn
        last = _turns(names[-1:])
        if wrong or not segment.whole or len(set(names)) != len(names) or (ends and [segment.last_turn] != last):
            yield Finding("edited", where, f"it does not hold what the documents are: {', '.join(wrong) or 'its frame was changed'}")
        told += names
    expected = [name for turn in range(1, _number(head.get("packed")) + 1) for name in _conversation(papers, turn)]
    if told != expected and set(told) <= papers.sheets.keys():
        yield Finding("edited", "segment", "the segments do not hold every message of the turns that they are said to hold, in order")


def _conversation(papers: Papers, turn: int) -> list[str]:
    calls = sorted(
        int(call) for name in papers.sheets for number, _, call in [name.partition("/")] if number == str(turn) and call.isdigit()
    )
    judged = [f"{turn}/evaluation"] if f"{turn}/evaluation" in papers.sheets else []
    return [f"{turn}/model", *(f"{turn}/{call}" for call in calls), *judged]


def _trail(papers: Papers, head: Mapping[str, Any], anchor: Chain) -> list[Station]:
    """The stations with the records that lead to each.

    A turn that was edited may not even say the truth about those before it. If these lead to its hash all the same, they are as written.
    """
    trail = [Station(where, chain, tuple(_entries(chain))) for where, chain in _stations(papers, anchor)]
    said = {name: entry for station in trail for name, entry in station.entries}
    at = str(_genesis(head, anchor)["hash"])
    for number, station in enumerate(trail):
        found = papers.sheets.get(station.where)
        if found and said.get(station.where) != record(station.where, found.digest):
            names = _natural(papers, station.where)
            if _led(papers, head, at, names) == station.chain.get("hash"):
                entries = tuple((name, record(name, _digest(papers, head, name) or "")) for name in names)
                trail[number] = Station(station.where, station.chain, entries)
        at = str(station.chain.get("hash"))
    return trail


def _natural(papers: Papers, where: str) -> list[str]:
    """Records between the turn before and this one, in the order in which a run makes them."""
    turn = int(where.partition("/")[0])
    before = [RECALL if turn == 1 else "", f"{turn}/compact"]
    return [name for name in (*_conversation(papers, turn - 1), *before) if name in papers.sheets]


def _led(papers: Papers, head: Mapping[str, Any], at: str, names: Iterable[str]) -> str:
    """The hash to which these documents lead from another one."""
    for name in names:
        at = extended(at, name, _digest(papers, head, name) or "")
    return at


def _stations(papers: Papers, anchor: Chain) -> Iterator[tuple[str, Chain]]:
    """Where the chain was written down, in order: each turn of the model, and the anchor."""
    for turn in papers.turns:
        name = f"{turn}/model"
        yield name, papers.sheets[name].chain or {}
    yield ANCHOR, anchor


def _entries(chain: Chain) -> Iterator[tuple[str, str]]:
    tail = chain.get("tail")
    for entry in tail if isinstance(tail, list) else ():
        yield str(entry).partition(" ")[0], str(entry)


def _turns(names: Iterable[str]) -> list[int]:
    return [int(turn) for name in names for turn in [name.partition("/")[0]] if turn.isdigit() and int(turn[:7]) <= _MOST]


def _digest(papers: Papers, head: Mapping[str, Any], name: str) -> str | None:
    if name == END:
        return head_digest(head)
    sheet = papers.sheets.get(name)
    return sheet.digest if sheet else None


def _genesis(head: Mapping[str, Any], anchor: Chain) -> Chain:
    fields = (str(head.get(name, "")) for name in ("id", "revision", "digest"))
    run, revision, task = fields
    return genesis(run=run, revision=revision, spiffe=str(anchor.get("spiffe", "")), task_digest=task)


def _number(value: object) -> int:
    """A count from a document that anybody may have edited: nothing that makes us count for ever."""
    return value if isinstance(value, int) and 0 <= value <= _MOST else 0


def _names(tail: object, name: str) -> bool:
    return isinstance(tail, list) and any(str(entry).partition(" ")[0] == name for entry in tail)
