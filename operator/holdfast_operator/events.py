"""Kubernetes Events on the Agent: one when it turns, none for what stays, and repeats are counted instead of multiplied."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from holdfast_api import conditions, names
from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.desired.meta import Manifest
from holdfast_operator.drift import Told
from holdfast_operator.kinds import EVENT
from holdfast_operator.observe import Verdict

logger = logging.getLogger(__name__)

News = tuple[str, str, bool]
"""Reason, message, and whether nobody has to do anything."""

_QUIET = frozenset({conditions.PROGRESSING, conditions.UNKNOWN})
_MAX_MESSAGE = 1000


def turned(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Verdict]) -> Verdict | None:
    """The condition Ready, if it tells something new that is worth an Event.

    Being on the way is not; that a new Agent is not ready yet is not; that it is in trouble is.
    """
    ready = after[conditions.READY]
    old = before.get(conditions.READY, {})
    if ready.reason in _QUIET or (old.get("status"), old.get("reason")) == (ready.status, ready.reason):
        return None
    return ready


class Reporter:
    """Writes Events. They are news, not state: one that cannot be written is logged and given up."""

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float]) -> None:
        self._cluster, self._clock = cluster, clock

    async def report(self, agent: Manifest, before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Verdict]) -> None:
        """Report how the Agent has turned, if it has."""
        verdict = turned(before, after)
        if verdict is None:
            return
        logger.info("%s/%s: %s: %s", agent["metadata"]["namespace"], agent["metadata"]["name"], verdict.reason, verdict.message)
        news = (verdict.reason, verdict.message, verdict.good)
        await self._try(agent, news, digest=names.digest([agent["metadata"]["uid"], verdict.status, verdict.reason, verdict.message], 16))

    async def repaired(self, agent: Manifest, told: Sequence[Told]) -> None:
        """Report what somebody else had changed."""
        for one in told:
            await self._try(agent, (*one, one.good), digest=names.digest([agent["metadata"]["uid"], *one], 16))

    async def _try(self, agent: Manifest, news: News, *, digest: str) -> None:
        try:
            await self._write(agent["metadata"], *news, digest=digest)
        except ApiError as error:
            logger.warning("an Event was not written: %s", error)

    async def _write(self, agent: Mapping[str, Any], reason: str, message: str, good: bool, *, digest: str) -> None:  # noqa: FBT001 - see News
        now = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace = agent["namespace"]
        # The name makes the same news about the same Agent the same Event.
        name = f"{agent['name']}.{digest}"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": names.GROUP_VERSION,
                "kind": names.KIND,
                "name": agent["name"],
                "namespace": namespace,
                "uid": agent["uid"],
            },
            "type": "Normal" if good else "Warning",
            "reason": reason,
            "message": message[:_MAX_MESSAGE],
            "source": {"component": names.FIELD_MANAGER},
            "reportingComponent": names.FIELD_MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        if not await self._cluster.create(EVENT, event):
            await self._cluster.count_event(EVENT, namespace, name, now)
