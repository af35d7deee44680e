"""The chain of a run: one hash over all its records in order. Pure.

A record is the key of an effect and the digest of the document that holds its result. Each link hashes the one before it together with
the next record, so nothing can be changed, taken out, put in or moved without another hash at the end. The first link binds the run to
what was asked, to its revision and to the agent's SPIFFE id; the last one holds the head as the run ended, and is signed with a key that
is not in the store.

A chain is JSON-ready data: `{"count": links, "hash": 64 hex digits, "tail": [...]}`. The tail names the records since the newest model
turn, each as `<key without the run> <12 hex digits>`: a turn's document stores the chain as it was before it, so the tails together tell
which record a wrong hash comes from. What is proven hangs on the full digests alone.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from holdfast_agent.heads import ERASING, PUBLISHED, Head
from holdfast_api import names

Chain = dict[str, Any]

END: Final = "end"
"""Name of the last record: the head as the run ended."""
_SHORT: Final = 12
_WHOLE: Final = 64


def fingerprint(document: Mapping[str, Any]) -> str:
    """Digest of a stored document: 64 hex digits."""
    return names.digest(dict(document), _WHOLE)


def genesis(*, run: str, revision: str, spiffe: str, task_digest: str) -> Chain:
    """The chain of a run in which nothing has happened.

    Args:
        run: its id.
        revision: what it is pinned to.
        spiffe: the agent's identity; empty where there is none.
        task_digest: over what was asked, see `documents.task_digest`.
    """
    bound = {"run": run, "revision": revision, "spiffe": spiffe, "task": task_digest}
    return {"count": 0, "hash": names.digest(bound, _WHOLE), "tail": []}


def link(chain: Chain | None, results: Iterable[Mapping[str, Any]]) -> Chain | None:
    """The chain after some more results of activities, in the order of their steps.

    Args:
        chain: so far; None for a run that was begun without one, and then it stays so.
        results: those with a `digest` (`fingerprint` of the stored document) are linked under their `key`; the others stored nothing.
    """
    if chain is None:
        return None
    for result in results:
        if result.get("digest"):
            chain = _linked(chain, str(result["key"]).partition("/")[2], str(result["digest"]))
    return chain


def head_digest(head: Mapping[str, Any]) -> str:
    """Digest of a head as far as it is sealed: all of it but the anchor itself, and what is done with it afterwards."""
    return fingerprint({name: value for name, value in head.items() if name not in ("audit", ERASING, PUBLISHED)})


def mac(key: str, *, run: str, anchor: Mapping[str, Any]) -> str:
    """Signature of an anchor.

    Args:
        key: the secret.
        run: the run's id.
        anchor: its count, hash and SPIFFE id are signed. The revision and the task are in the hash.
    """
    signed = {"run": run, "spiffe": anchor["spiffe"], "count": anchor["count"], "hash": anchor["hash"]}
    return hmac.new(key.encode(), names.canonical(signed).encode(), hashlib.sha256).hexdigest()


def key_id(key: str) -> str:
    """Eight hex digits that tell keys apart without giving anything away."""
    return hmac.new(key.encode(), b"holdfast audit key", hashlib.sha256).hexdigest()[:8]


@dataclass(frozen=True)
class Auditor:
    """Who this agent is in the records, and with which key it signs.

    Attributes:
        spiffe: the agent's SPIFFE id; empty where there is none.
        key: None where there is none; then anchors are not signed.
    """

    spiffe: str = ""
    key: str | None = field(default=None, repr=False)

    def begun(self, head: Head) -> Head:
        """A new run's head with the chain that its workflow begins with, and whom that is bound to."""
        chain = genesis(run=head.id, revision=head.revision, spiffe=self.spiffe, task_digest=head.digest)
        return replace(head, audit=chain | {"spiffe": self.spiffe})

    def sealed(self, head: Head, chain: Chain | None) -> Head:
        """An ended run's head with its anchor.

        Args:
            head: as it will be stored, as yet with what `begun` put into it.
            chain: all links so far; None for a run without one, which gets no anchor.
        """
        if chain is None:
            return head
        document = head.dump()
        anchor = {**_linked(chain, END, head_digest(document)), "spiffe": (head.audit or {}).get("spiffe", self.spiffe)}
        if self.key is not None:
            anchor |= {"kid": key_id(self.key), "mac": mac(self.key, run=head.id, anchor=anchor)}
        return replace(head, audit=anchor)


@lru_cache(maxsize=2048)  # a workflow that is replayed makes the same links again at every step
def extended(previous: str, name: str, digest: str) -> str:
    """The hash of one more link."""
    return names.digest([previous, name, digest], _WHOLE)


def record(name: str, digest: str) -> str:
    """A record as tails name it."""
    return f"{name} {digest[:_SHORT]}"


def _linked(chain: Chain, name: str, digest: str) -> Chain:
    # Only a model turn stores the chain, so what came before it need not be named again after it.
    tail = [] if _stores_chain(name) else list(chain["tail"])
    return {
        "count": chain["count"] + 1,
        "hash": extended(chain["hash"], name, digest),
        "tail": [*tail, record(name, digest)],
    }


def _stores_chain(name: str) -> bool:
    return name.endswith("/model")
