"""What an earlier version of the operator left behind: which pods stand, and how to know where it did not say who wrote them."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from holdfast_api import names
from holdfast_operator.cluster import Cluster, Manifest
from holdfast_operator.desired.deployment import ANNOTATION_DAPR
from holdfast_operator.desired.pins import Pins
from holdfast_operator.desired.rotation import ANNOTATION_SEEN
from holdfast_operator.desired.standing import ANNOTATION_MARK, Mark, Standing, Writing, only_adds
from holdfast_operator.desired.steps import Steps
from holdfast_operator.facts import Seen
from holdfast_operator.kinds import COMPONENT, CONFIG_MAP, DEPLOYMENT, Key
from holdfast_operator.memory import Record
from holdfast_operator.ownership import owned
from holdfast_operator.refusals import gather
from holdfast_operator.writing import remember, write

logger = logging.getLogger(__name__)

MARK_MANAGER = f"{names.FIELD_MANAGER}-mark"
"""Owns what is noted on a Deployment that is otherwise left alone, so that its former operator finds it as it was."""


def standing(key: Key, record: Record) -> Standing | None:
    """The Deployment of an Agent, and what stands with it; None where it is not there, or its revision is not, or not readably."""
    live, found = record.deployment, record.children.get((DEPLOYMENT, key[1]))
    if live is None or found is None or found.owner != record.uid:
        return None
    revision = record.children.get((CONFIG_MAP, names.config_map(key[1], live.revision)))
    if revision is None or revision.owner != record.uid or revision.superseded_at is not None:
        return None
    if (pins := Pins.parse(revision.pins)) is None:
        return None
    components = frozenset(name for (kind, name), child in record.children.items() if kind == COMPONENT and child.owner == record.uid)
    touched = bool(record.left) and record.left != found.digest
    return Standing(Mark.parse(live.mark), live.revision, pins, components, touched, found.digest)


async def write_down(
    cluster: Cluster, key: Key, record: Record, manifest: Manifest, *, now: Writing, make: Callable[[Writing], Steps]
) -> tuple[Steps, Writing]:
    """The children of an Agent: as this version has them, or with the pods that an earlier one made.

    Args:
        cluster: the API server.
        key: of the Agent.
        record: what is known of it.
        manifest: the Agent.
        now: who writes, and from what.
        make: from that to the children.
    """
    there = standing(key, record)
    if there and not there.mark.inputs and not there.touched:
        newest = make(now)
        if not await _was_written_for(cluster, key, manifest, there, newest):
            return newest, now
        there = replace(there, mark=Mark("", now.mark.inputs))
    now = replace(now, standing=there)
    return make(now), now


async def _was_written_for(cluster: Cluster, key: Key, manifest: Manifest, there: Standing, newest: Steps) -> bool:
    """Whether pods without a mark are what an earlier version made of this very Agent.

    They are if that version had seen the Agent as it is now, and what we would write only adds to what it wrote.

    Args:
        cluster: the API server.
        key: of the Agent.
        manifest: the Agent.
        there: its pods.
        newest: its children as this version would have them.
    """
    status = manifest.get("status", {})
    if status.get("observedGeneration") != manifest["metadata"]["generation"] or status.get("revision") != there.revision:
        return False
    former = names.config_map(key[1], there.revision)
    places = ((DEPLOYMENT, key[1]), (CONFIG_MAP, former))
    live, config = await gather((kind, name, cluster.get(kind, key[0], name)) for kind, name in places)
    ours = {child.kind: child.manifest for step in newest for child in step if child.kind in {DEPLOYMENT, CONFIG_MAP}}
    if live is None or config is None:
        return False
    before, after = (json.loads(held["data"][names.CONFIG_KEY]) for held in (config, ours[CONFIG_MAP]))
    revision = ours[CONFIG_MAP]["metadata"]["labels"][names.LABEL_REVISION]
    pods, wanted = owned(live).get("spec", {}).get("template", {}), ours[DEPLOYMENT]["spec"]["template"]
    if pods == wanted:
        # Written again it rolls nothing, so it need not stand: somebody may have taken our own mark off.
        return False
    return only_adds(before, after) and only_adds(_comparable(pods, there.revision, revision), _comparable(wanted, revision, revision))


async def leave_alone(cluster: Cluster, key: Key, record: Record, writing: Writing, own: Seen | None) -> None:
    """Note on a Deployment that stands from what it was written, and which Secrets were there; remember it as it was decided on.

    Args:
        cluster: the API server.
        key: of the Agent.
        record: what is known of it.
        writing: what was decided.
        own: the Deployment after a write of ours since then; None when there was none.

    Raises:
        ApiError: it was changed in the meantime, or there is no answer.
    """
    live = record.deployment
    if live is None:
        # Deleted since it was decided on: it is made anew by the look that this has asked for.
        return
    seen_now = writing.rotation.text()
    if not live.mark or (seen_now and seen_now != live.rotation[0]):
        # Both each time: what an apply does not repeat, it takes away.
        annotations = {ANNOTATION_MARK: live.mark or Mark("", writing.mark.inputs).text(), ANNOTATION_SEEN: seen_now}
        own = await _annotate(cluster, key, record, {name: text for name, text in annotations.items() if text})
        logger.info("%s/%s: pods of another version of the operator stay as they are", *key)
    assert writing.standing is not None
    # Not as it is by now: an event may just have told that somebody changed it, and the next look has to see that.
    record.left = own.digest if own else record.left or writing.standing.digest


async def _annotate(cluster: Cluster, key: Key, record: Record, annotations: Mapping[str, str]) -> Seen:
    known = record.children[(DEPLOYMENT, key[1])]
    head = {"namespace": key[0], "name": key[1], "uid": known.uid, "resourceVersion": known.version, "annotations": annotations}
    body = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "metadata": head}
    return remember(record, DEPLOYMENT, key[1], await write(cluster, record, DEPLOYMENT, body, manager=MARK_MANAGER))


def _comparable(template: Manifest, revision: str, instead: str) -> Manifest:
    """A pod template without digests, and with another revision."""
    found: Manifest = json.loads(names.canonical(template).replace(revision, instead))
    found.get("metadata", {}).get("annotations", {}).pop(ANNOTATION_DAPR, None)
    return found
