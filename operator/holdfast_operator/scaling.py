"""The number of pods by itself: for an Agent whose other wishes cannot be carried out."""

import logging

from holdfast_api import names
from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.drift import pause, repaired
from holdfast_operator.facts import Seen
from holdfast_operator.kinds import DEPLOYMENT, Key
from holdfast_operator.memory import Record
from holdfast_operator.queue import Retry
from holdfast_operator.writing import remember, write

logger = logging.getLogger(__name__)

SCALE_MANAGER = f"{names.FIELD_MANAGER}-scale"
"""Owns the number of pods while nothing else of an Agent can be applied."""


async def scale_only(cluster: Cluster, key: Key, record: Record, replicas: int) -> Seen | None:
    """Give an existing Deployment its number of pods, and nothing else: for an Agent whose other wishes cannot be carried out.

    Returns:
        The Deployment, if that was to be written.

    Raises:
        Retry: it could not be reached, or something else changed it in the meantime.
    """
    known = record.children.get((DEPLOYMENT, key[1]))
    if known is None or known.owner != record.uid or record.deployment is None or record.deployment.wanted == replicas:
        return None
    head = {"namespace": key[0], "name": key[1], "uid": known.uid, "resourceVersion": known.version}
    body = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "metadata": head, "spec": {"replicas": replicas}}
    try:
        live = await write(cluster, record, DEPLOYMENT, body, manager=SCALE_MANAGER)
    except ApiError as error:
        raise Retry(str(error), after=error.retry_after) from None
    found = remember(record, DEPLOYMENT, key[1], live)
    if record.left == known.digest:
        # The number of pods has another owner now. That was us and nobody else, so pods that stand are left alone still.
        record.left = found.digest
    logger.info("%s/%s: scaled to %d, the rest waits", *key, replicas)
    return found


async def hold_scale(cluster: Cluster, key: Key, record: Record, replicas: int, *, now: float) -> list[float]:
    """Scale an Agent in trouble as `scale_only` does; a number that somebody else insists on waits as any other drift.

    Returns:
        Seconds until it is due, if it waits.

    Raises:
        Retry: as `scale_only`.
    """
    place, insisted = (DEPLOYMENT, key[1]), record.scaled == replicas
    if insisted and record.deployment and record.deployment.wanted != replicas and (wait := pause(record.repairs.get(place), now)):
        return [wait]
    if await scale_only(cluster, key, record, replicas):
        if insisted:
            record.repairs[place] = repaired(record.repairs.get(place), now)
        record.scaled = replicas
    return []
