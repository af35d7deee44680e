"""Is Dapr's API served, and which Components are there that are not ours?"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.components import ComponentFacts
from holdfast_operator.facts import newer
from holdfast_operator.kinds import COMPONENT, CONFIGURATION, DAPR_GROUP, RESILIENCY, SUBSCRIPTION

logger = logging.getLogger(__name__)

POLL_SECONDS = 3.0
_CALM_SECONDS = 0.1
_NEEDED = (COMPONENT, CONFIGURATION, RESILIENCY, SUBSCRIPTION)


class DaprApi:
    """What is known of Dapr in this cluster. Cheap discovery requests for the whole operator every few seconds keep it true."""

    def __init__(self, cluster: Cluster, *, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._components: dict[str, dict[str, ComponentFacts]] = {}
        self._actor_stores: dict[tuple[str, str], set[str]] = {}
        """(namespace, app id that sees it, empty for all) -> names: a namespace may have thousands of Components, and each look asks."""
        self.installed = False
        self._doubted = asyncio.Event()

    def advice(self) -> str:
        """What to do when Dapr is not installed."""
        return (
            "Dapr is not installed in this cluster: `helm upgrade --install dapr dapr --repo https://dapr.github.io/helm-charts "
            f"--namespace {self._namespace} --create-namespace --set dapr_sidecar_injector.sidecarDropALLCapabilities=true`"
        )

    def components_in(self, namespace: str) -> Mapping[str, ComponentFacts]:
        """The Components of a namespace, by name."""
        return self._components.get(namespace, {})

    def actor_stores(self, namespace: str, app: str) -> set[str]:
        """Names of the Components that keep workflows and that an app's sidecar sees."""
        return self._actor_stores.get((namespace, app), set()) | self._actor_stores.get((namespace, ""), set())

    def saw_component(self, namespace: str, name: str, facts: ComponentFacts | None, *, version: str = "") -> list[ComponentFacts]:
        """Remember a Component, or with None that it is gone. What is older than what is known is no news: lists come late.

        Args:
            namespace: of the Component.
            name: of it.
            facts: what is known of it.
            version: resourceVersion of its deletion, if an event told of that.

        Returns:
            What it was and is, as far as it keeps workflows and that has changed.
        """
        known, told = self.components_in(namespace).get(name), facts.version if facts else version
        if known and told and newer(known.version, told):
            return []
        there = self._components.setdefault(namespace, {})
        before = there.pop(name, None)
        if facts:
            there[name] = facts
        elif not there:
            del self._components[namespace]
        if before == facts:
            return []
        for each, change in ((before, set.discard), (facts, set.add)):
            for app in (each.scopes or ("",)) if each and each.actors else ():
                names = self._actor_stores.setdefault((namespace, app), set())
                change(names, name)
                if not names:
                    del self._actor_stores[namespace, app]
        return [each for each in (before, facts) if each and each.actors]

    def components(self) -> set[tuple[str, str]]:
        """All Components that are known."""
        return {(namespace, name) for namespace, there in self._components.items() for name in there}

    async def check(self) -> bool:
        """Ask the API server.

        Returns:
            Whether the answer has changed.
        """
        versions = sorted({kind.version for kind in _NEEDED})
        served = {version: await self._cluster.served(DAPR_GROUP, version) for version in versions}
        before, self.installed = self.installed, all(kind.plural in served[kind.version] for kind in _NEEDED)
        return before != self.installed

    def doubt(self) -> None:
        """An object of Dapr's is gone, with its CRD perhaps: ask soon, before the object is made again."""
        self._doubted.set()

    async def poll(self, changed: Callable[[], None]) -> None:
        """Ask again and again; call `changed` when Dapr came or went."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._doubted.wait(), POLL_SECONDS)
            # Many objects go at the same time.
            await asyncio.sleep(_CALM_SECONDS)
            self._doubted.clear()
            try:
                if await self.check():
                    logger.warning("Dapr's API is %s", "served now" if self.installed else "not served any more")
                    changed()
            except ApiError as error:
                logger.warning("asking for Dapr's API failed: %s", error)
