"""One replica works, the others stand by: a `coordination.k8s.io/Lease`, held by renewing it in time.

Whoever fails to renew stops by its own clock before the Lease can pass to another one. The clock is monotonic and runs on while a
process is frozen, so a replica that was stopped for longer than its Lease knows it with the first instruction after it wakes up.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.kinds import Kind

logger = logging.getLogger(__name__)

LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
_DEADLINE = 2 / 3
_RENEWALS = 5


class Leadership:
    """This replica's part in the election.

    A Lease is free when it has no holder, or when this replica has seen the same renewal for a whole lease duration: times written by
    other machines are never compared with our clock. The holder renews five times within the duration and stops after two thirds of it,
    so that its last write has ended long before somebody else begins.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._namespace, self._name, self._identity, self._clock = cluster, namespace, name, identity, clock
        self._duration, self._deadline, self._pause = duration, duration * _DEADLINE, duration / _RENEWALS
        self._renewed = float("-inf")
        self._last_seen: tuple[str, float] = ("", float("-inf"))

    def held(self) -> bool:
        """Whether this replica may write, by its own clock."""
        return self._clock() - self._renewed < self._deadline

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        while not await self._try():  # noqa: ASYNC110 - what is waited for happens on another machine
            await asyncio.sleep(self._pause / 2)
        logger.info("leading as %s", self._identity)

    async def keep(self) -> None:
        """Renew until the Lease is lost."""
        while self.held():
            await asyncio.sleep(self._pause)
            if not self.held():
                break
            await self._try()
        logger.error("the Lease %s/%s is lost", self._namespace, self._name)

    async def release(self) -> None:
        """Give the Lease back, so that another replica need not wait for its end."""
        if not self.held():
            return
        self._renewed = float("-inf")
        try:
            live = await self._cluster.get(LEASE, self._namespace, self._name)
            if live and live["spec"].get("holderIdentity") == self._identity:
                live["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._cluster.update(LEASE, live)
        except ApiError as error:
            logger.warning("the Lease was not given back: %s", error)

    async def _try(self) -> bool:
        started = self._clock()
        try:
            async with asyncio.timeout(self._deadline / 2):
                live = await self._cluster.get(LEASE, self._namespace, self._name)
                if live is None:
                    head = {"name": self._name, "namespace": self._namespace}
                    taken = await self._cluster.create(LEASE, self._manifest({"metadata": head, "spec": {}}))
                elif self._is_free(live):
                    await self._cluster.update(LEASE, self._manifest(live))
                    taken = True
                else:
                    taken = False
        except (ApiError, TimeoutError) as error:
            logger.warning("the Lease %s/%s was not renewed: %s", self._namespace, self._name, error or type(error).__name__)
            return False
        # From before the request: the server's duration began no earlier than this.
        self._renewed = started if taken else float("-inf")
        return taken

    def _is_free(self, live: dict[str, Any]) -> bool:
        spec = live.get("spec", {})
        holder = spec.get("holderIdentity") or ""
        if holder in {"", self._identity}:
            return True
        version = live["metadata"]["resourceVersion"]
        if self._last_seen[0] != version:
            self._last_seen = (version, self._clock())
        return self._clock() - self._last_seen[1] > float(spec.get("leaseDurationSeconds", self._duration))

    def _manifest(self, live: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = live.get("spec", {})
        ours = old.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "renewTime": now,
            "acquireTime": old.get("acquireTime", now) if ours else now,
            "leaseTransitions": old.get("leaseTransitions", 0) + (0 if ours else 1),
        }
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": live["metadata"], "spec": spec}
