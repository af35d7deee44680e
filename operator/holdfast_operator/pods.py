"""Pods that were admitted without a sidecar are replaced, because they cannot gain one, but never in a storm."""

import logging

from holdfast_operator.cluster import Cluster
from holdfast_operator.kinds import POD, Key
from holdfast_operator.memory import Record

logger = logging.getLogger(__name__)

_FIRST_WAIT = 5.0
_MAX_WAIT = 300.0
_DOUBLINGS = 16
"""More would change nothing, and a float ends at a thousand of them."""


async def replace_uninjected(cluster: Cluster, key: Key, record: Record, *, now: float) -> list[float]:
    """Delete pods without a sidecar, waiting twice as long each time as long as their successors have none either.

    Returns:
        Seconds until it may be tried again; empty when there is nothing to do.
    """
    pods = [(name, pod) for name, pod in record.pods.items() if pod.uninjected]
    if not pods:
        if any(pod.ready for pod in record.pods.values()):
            record.replaced = 0
        return []
    if 0.0 < record.replace_after - now <= _MAX_WAIT:  # a longer wait means that the clock was set back
        return [record.replace_after - now]
    wait = min(_FIRST_WAIT * 2.0 ** min(record.replaced, _DOUBLINGS), _MAX_WAIT)
    record.replaced, record.replace_after = record.replaced + 1, now + wait
    for name, pod in pods:
        logger.warning("%s/%s: pod %s has no Dapr sidecar and is replaced; the next time not before %.0f s", *key, name, wait)
        await cluster.delete(POD, key[0], name, uid=pod.uid)
    return [wait]
