"""Writes and reads of one Agent's objects, and what their answers say. Events may be faster than an answer; an echo is no news then."""

from collections.abc import Awaitable
from typing import Any, TypeVar

from holdfast_operator.cluster import Cluster, Manifest
from holdfast_operator.facts import Seen, deployment_facts, newer, seen
from holdfast_operator.kinds import DEPLOYMENT, Kind
from holdfast_operator.memory import ChildId, Record

T = TypeVar("T", Manifest, Manifest | None)


async def write(cluster: Cluster, record: Record, kind: Kind, manifest: Manifest, **options: Any) -> Manifest:  # noqa: ANN401 - those of `apply`
    """Apply an object of an Agent.

    Args:
        cluster: where.
        record: of the Agent.
        kind: of the object.
        manifest: what we want of it.
        options: of `Cluster.apply`.
    """
    return await _answer(record, (kind, manifest["metadata"]["name"]), cluster.apply(kind, manifest, **options))


async def read(cluster: Cluster, record: Record, kind: Kind, namespace: str, name: str) -> Manifest | None:
    """Read an object of an Agent that is to be remembered; None when it does not exist."""
    return await _answer(record, (kind, name), cluster.get(kind, namespace, name))


async def _answer(record: Record, place: ChildId, request: Awaitable[T]) -> T:
    """Events of it that come meanwhile make nobody look; one that told more than the answer marks the record."""
    answered = ""
    record.awaited[place] = ""
    try:
        live = await request
        answered = live["metadata"]["resourceVersion"] if live else ""
    finally:
        told = record.awaited.pop(place, "")
        # Without an answer, nobody knows whose deed it was.
        record.overtaken |= bool(told) and newer(told, answered)
    return live


def remember(record: Record, kind: Kind, name: str, live: Manifest) -> Seen:
    """Keep what an answer tells of a child."""
    found, place = seen(kind, live), (kind, name)
    gone = record.gone.pop(place, "")
    # An event may have told of a later state before this answer was read; whoever told of a loss has made the Agent due.
    if gone and newer(gone, found.version):
        return found
    record.saw(place, found)
    if kind == DEPLOYMENT and record.children[place].version == found.version:
        record.deployment = deployment_facts(live)
    return found
