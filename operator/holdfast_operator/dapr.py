"""Is Dapr's API served, and which Components are there that are not ours?"""

import asyncio
import logging
from collections.abc import Callable

from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.kinds import COMPONENT, CONFIGURATION, DAPR_GROUP, RESILIENCY

logger = logging.getLogger(__name__)

POLL_SECONDS = 3.0
_NEEDED = frozenset(kind.plural for kind in (COMPONENT, CONFIGURATION, RESILIENCY))


class DaprApi:
    """What is known of Dapr in this cluster. One cheap discovery request for the whole operator every few seconds keeps it true."""

    def __init__(self, cluster: Cluster, *, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._components: set[tuple[str, str]] = set()
        self.installed = False

    def advice(self) -> str:
        """What to do when Dapr is not installed."""
        return (
            "Dapr is not installed in this cluster: `helm upgrade --install dapr dapr --repo https://dapr.github.io/helm-charts "
            f"--namespace {self._namespace} --create-namespace --set dapr_sidecar_injector.sidecarDropALLCapabilities=true`"
        )

    def has_component(self, namespace: str, name: str) -> bool:
        """Whether a Component exists."""
        return (namespace, name) in self._components

    def saw_component(self, namespace: str, name: str, *, alive: bool) -> bool:
        """Remember whether a Component exists.

        Returns:
            Whether that is news.
        """
        if alive == ((namespace, name) in self._components):
            return False
        (self._components.add if alive else self._components.discard)((namespace, name))
        return True

    def components(self) -> set[tuple[str, str]]:
        """All Components that are known."""
        return set(self._components)

    async def check(self) -> bool:
        """Ask the API server.

        Returns:
            Whether the answer has changed.
        """
        served = await self._cluster.served(DAPR_GROUP, COMPONENT.version)
        before, self.installed = self.installed, served >= _NEEDED
        return before != self.installed

    async def poll(self, changed: Callable[[], None]) -> None:
        """Ask again and again; call `changed` when Dapr came or went."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if await self.check():
                    logger.warning("Dapr's API is %s", "served now" if self.installed else "not served any more")
                    changed()
            except ApiError as error:
                logger.warning("asking for Dapr's API failed: %s", error)
