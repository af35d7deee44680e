"""Writes of one Agent's objects, and what their answers say. An echo may come back before its answer does, and is no news then either."""

from typing import Any

from holdfast_operator.cluster import Cluster, Manifest
from holdfast_operator.facts import Seen, deployment_facts, newer, seen
from holdfast_operator.kinds import DEPLOYMENT, Kind
from holdfast_operator.memory import Record


async def write(cluster: Cluster, record: Record, kind: Kind, manifest: Manifest, **options: Any) -> Manifest:  # noqa: ANN401 - those of `apply`
    """Apply an object of an Agent. Events of it that come meanwhile make nobody look; one that told more than the answer marks the record.

    Args:
        cluster: where.
        record: of the Agent.
        kind: of the object.
        manifest: what we want of it.
        options: of `Cluster.apply`.
    """
    place, answered = (kind, manifest["metadata"]["name"]), ""
    record.writing[place] = ""
    try:
        live = await cluster.apply(kind, manifest, **options)
        answered = live["metadata"]["resourceVersion"]
    finally:
        told = record.writing.pop(place, "")
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
