"""What is known of every Agent between two looks: digests and facts, never bodies.

One exception is bounded and short-lived: the manifest that came with the event that made an Agent due is kept, as JSON text, until its
turn, so that a new Agent costs no extra read. A large one is not kept and is read again instead.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from holdfast_api.conditions import READY
from holdfast_operator.drift import Repair
from holdfast_operator.facts import DeploymentFacts, PodFacts, Seen, newer
from holdfast_operator.kinds import Key, Kind

ChildId = tuple[Kind, str]
Manifest = dict[str, Any]
Found = tuple[tuple[str, str, str], ...]
_MAX_KEPT = 16 * 1024


@dataclass(slots=True)
class Record:
    """One Agent.

    Five attributes say what has been done with its children; each answers another question about one that is not as it should be:

    - `settled`: is it only that the server stores it in other words? Then there is nothing to do.
    - `carried_out`: did the last look want the same? If not, the Agent has changed, and the child is applied at once.
    - `undone`: was that look stopped before it came to this child? Then it is applied at once, too, and it is nobody's deed.
    - `repairs`: else somebody has changed it; how often lately says how long its repair waits.
    - `scaled`: the same for the number of pods of an Agent in trouble, of which nothing else is applied.

    Attributes:
        uid: of the Agent; empty while only children of it were seen.
        version: resourceVersion up to which events of the Agent are no news: that of the last look, or the one our own status write made.
        heard: the latest resourceVersion of the Agent that an event has told; a look may be behind it, or ahead.
        pending: text of the manifest to reconcile, until it is taken.
        children: children that were seen alive and are controlled by an Agent of this name.
        settled: for children that the server stores in other words than ours: (wanted digest, digest as stored).
        deployment: counts of the Deployment.
        pods: pods by name.
        references: (kind, name) of the objects outside that the Agent needs.
        read: resourceVersions of the ConfigMaps outside, as the last look found them.
        tokens: whether the token Secrets are known to exist.
        tokens_doubted: they were there before this new Agent, so they may be a former Agent's and about to go.
        team: that it was in when it was last carried out; empty for none, None while it has not been.
        left: digest of the Deployment that another program wrote and that is left alone; empty while none is.
        replaced: pods without a sidecar that were deleted in a row.
        replace_after: Unix time before which no further one is deleted.
        conditions: type, status and reason of each condition at the last look.
        carried_out: digest of all children as the last look wanted them: what differs since, but for `undone`, somebody else has changed.
        undone: those of them that were refused, or not reached.
        repairs: children that were repaired lately.
        scaled: number of pods that the Deployment was last given by itself, while nothing else could be carried out.
        awaited: what is being written or read, and the latest version of it that an event has told meanwhile.
        overtaken: an event has told something later than the answer that it met; see `awaited`.
        gone: children that were lost while an answer was awaited, and the version they were lost at: the answer may be of an earlier one.
    """

    uid: str = ""
    version: str = ""
    heard: str = ""
    pending: str | None = None
    children: dict[ChildId, Seen] = field(default_factory=dict)
    settled: dict[ChildId, tuple[str, str]] = field(default_factory=dict)
    deployment: DeploymentFacts | None = None
    pods: dict[str, PodFacts] = field(default_factory=dict)
    references: frozenset[ChildId] = frozenset()
    read: dict[ChildId, str] = field(default_factory=dict)
    tokens: bool = False
    tokens_doubted: bool = False
    team: str | None = None
    left: str = ""
    replaced: int = 0
    replace_after: float = 0.0
    conditions: Found = ()
    carried_out: str = ""
    undone: tuple[ChildId, ...] = ()
    repairs: dict[ChildId, Repair] = field(default_factory=dict)
    scaled: int | None = None
    awaited: dict[ChildId, str] = field(default_factory=dict)
    overtaken: bool = False
    gone: dict[ChildId, str] = field(default_factory=dict)

    def knows(self, version: str) -> bool:
        """Whether that version of the Agent is no later than what an event has told, or a look has begun with or written."""
        return not (newer(version, self.heard) and newer(version, self.version))

    def keep(self, manifest: Manifest) -> None:
        """Keep the manifest of an event until it is reconciled."""
        self.heard = manifest["metadata"]["resourceVersion"]
        metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
        text = json.dumps({**manifest, "metadata": metadata}, separators=(",", ":"))
        self.pending = text if len(text) <= _MAX_KEPT else None

    def take(self) -> Manifest | None:
        """Take the kept manifest, if there is one."""
        text, self.pending = self.pending, None
        return json.loads(text) if text else None

    def begin(self, version: str) -> None:
        """Begin a look at the Agent as it was at that version. What an event has told of it before or since, but no later one, is dropped.

        A look may read more than the events have told so far. One that is late would else have an older Agent carried out over a newer one.
        """
        self.version = version
        if not newer(self.heard, version):
            self.pending = None

    def is_news(self, child: ChildId, version: str) -> bool:
        """Whether a version of a child is later than the one last seen. Most events are echoes of our own writes, and end here."""
        old = self.children.get(child)
        return old is None or newer(version, old.version)

    def saw(self, child: ChildId, found: Seen) -> bool:
        """Remember a child.

        Returns:
            Whether this is news: a later version with another content.
        """
        old = self.children.get(child)
        if old and not newer(found.version, old.version):
            return False
        self.children[child] = found
        return old is None or (old.digest, old.uid, old.superseded_at) != (found.digest, found.uid, found.superseded_at)

    def lose(self, child: ChildId, version: str) -> None:
        """Forget a child that is not there any more, or not ours, since that version."""
        self.children.pop(child, None)
        if child in self.awaited:
            self.gone[child] = version

    def awaits(self, child: ChildId, version: str) -> bool:
        """Whether a child is just being written or read: what an event tells of it is judged with the answer, which may tell the same."""
        if child not in self.awaited:
            return False
        if newer(version, self.awaited[child]):
            self.awaited[child] = version
        return True

    def is_as_wanted(self, child: ChildId, wanted: str) -> bool:
        """Whether a child is known to be as its manifest says."""
        found = self.children.get(child)
        if found is None or found.superseded_at is not None:
            return False
        return found.digest == wanted or self.settled.get(child) == (wanted, found.digest)


class Memory:
    """All records, and which Agents need which outside objects."""

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}
        self._needed: dict[tuple[str, Kind, str], set[Key]] = {}
        self._found: dict[Found, Found] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._records

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def record(self, key: Key) -> Record:
        """The record of an Agent, made when there is none."""
        return self._records.setdefault(key, Record())

    def find(self, key: Key) -> Record | None:
        """The record of an Agent, or None."""
        return self._records.get(key)

    def forget(self, key: Key) -> None:
        """Drop an Agent that is gone. Its children may live on for a moment; their events make a new, small record."""
        if record := self._records.pop(key, None):
            self._unneed(key, record.references)

    def need(self, key: Key, references: frozenset[ChildId]) -> None:
        """Say which outside objects an Agent needs."""
        record = self.record(key)
        self._unneed(key, record.references - references)
        for kind, name in references - record.references:
            self._needed.setdefault((key[0], kind, name), set()).add(key)
        record.references = references

    def needing(self, namespace: str, kind: Kind, name: str) -> set[Key]:
        """Agents that need this object."""
        return set(self._needed.get((namespace, kind, name), ()))

    def found(self, record: Record, conditions: Found) -> None:
        """Say what the conditions of an Agent are. Most Agents have the same ones, and share one object."""
        record.conditions = self._found.setdefault(conditions, conditions)

    def ready_counts(self) -> dict[str, int]:
        """Agents by the status of their condition Ready."""
        counts = {"True": 0, "False": 0, "Unknown": 0}
        for (kind, status, _), count in self.condition_counts().items():
            if kind == READY:
                counts[status] += count
        return counts

    def condition_counts(self) -> Counter[tuple[str, str, str]]:
        """Agents by type, status and reason of a condition; only those that have been looked at."""
        shapes = Counter(record.conditions for record in self._records.values() if record.uid)
        counts: Counter[tuple[str, str, str]] = Counter()
        for conditions, agents in shapes.items():
            counts.update(dict.fromkeys(conditions, agents))
        return counts

    def _unneed(self, key: Key, references: frozenset[ChildId]) -> None:
        for kind, name in references:
            place = (key[0], kind, name)
            if keys := self._needed.get(place):
                keys.discard(key)
                if not keys:
                    del self._needed[place]
