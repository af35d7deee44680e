"""What exists, by lists.

Once before the first look, so that a restart reads and writes nothing that is as it should be, and then every few minutes, as a net
under events that were lost.

ConfigMaps are watched here as well, because Kopf has no metadata-only watch and ConfigMaps are where clusters keep their megabytes.
One stream of metadata of all ConfigMaps serves three ends: our own, those that Agents name, and their first appearance. Secrets, where
that is granted, are watched in the same way.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Coroutine

from holdfast_api import names
from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.dapr import DaprApi
from holdfast_operator.facts import newer
from holdfast_operator.intake import Intake, Manifest
from holdfast_operator.kinds import AGENT, CHILDREN, COMPONENT, CONFIG_MAP, DAPR_GROUP, POD, SECRET, Key, Kind
from holdfast_operator.memory import Memory

logger = logging.getLogger(__name__)

SELECTOR = names.LABEL_AGENT
JITTER = 0.2
SECOND_SECONDS = 30.0
"""After the start, everything is looked at once more; later as often as the settings say."""

_SETTLE = 5.0
_RECONNECT = (0.5, 2.0)


class Inventory:
    """Lists everything that Agents are made of."""

    def __init__(
        self, *, cluster: Cluster, memory: Memory, intake: Intake, dapr: DaprApi, namespaces: tuple[str, ...], secrets: bool = False
    ) -> None:
        """Prepare.

        Args:
            cluster: where to list.
            memory: what was known.
            intake: who is told.
            dapr: whether Dapr's kinds are there.
            namespaces: which ones; none for all.
            secrets: whether Secrets may be listed, too.
        """
        self._referenced = (CONFIG_MAP, SECRET) if secrets else (CONFIG_MAP,)
        self._cluster, self._memory, self._intake, self._dapr = cluster, memory, intake, dapr
        self._scopes: tuple[str | None, ...] = namespaces or (None,)
        self.listed = asyncio.Event()
        """Set when a kind that is watched was listed anew, so that deletions may have been missed."""

    async def take(self, *, presence: bool = False) -> None:
        """List all children and pods, and note what has changed or vanished since it was last seen.

        Args:
            presence: only look what is there, by metadata alone, which is far cheaper.
        """
        for kind in dict.fromkeys((*CHILDREN, *self._referenced)):
            if kind.group == DAPR_GROUP and not self._dapr.installed:
                continue
            # What Agents name is listed too, but not at the start: the watch does that then.
            every = kind in self._referenced and not presence and not self._intake.quiet
            for scope in self._scopes:
                await self._children(kind, scope, every=every, presence=presence)
        for scope in self._scopes:
            await self._pods(scope, presence=presence)

    async def take_agents(self) -> None:
        """List all Agents: those with something new are looked at, those that are gone are forgotten."""
        for scope in self._scopes:
            present: set[Key] = set()
            async for page in self._cluster.pages(AGENT, scope, metadata_only=True):
                for live in page.items:
                    key = (live["metadata"]["namespace"], live["metadata"]["name"])
                    present.add(key)
                    if newer(live["metadata"]["resourceVersion"], self._memory.record(key).version):
                        self._intake.due(key)
            for key in self._memory:
                if key not in present and scope in {None, key[0]}:
                    self._intake.due(key)

    async def repeat(self, every: float) -> None:
        """Take stock again and again.

        Once more soon after the start, and soon after Kopf has listed a kind, at the start or anew: what was deleted before is in no event.
        """
        wait, presence = SECOND_SECONDS, True
        while True:
            due = time.monotonic() + wait * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
            while await self._listed_before(due):
                await self._again(presence=True)
            if await self._again(presence=presence):
                wait, presence = every, False
            else:
                wait = min(every, SECOND_SECONDS)

    async def _listed_before(self, due: float) -> bool:
        """Wait until that time; shortly after Kopf has listed a kind it is over, with True."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(due - time.monotonic(), 0.0)):
                await self.listed.wait()
                await asyncio.sleep(_SETTLE)
                self.listed.clear()
                return True
        return False

    async def _again(self, *, presence: bool) -> bool:
        self.listed.clear()
        try:
            await self.take(presence=presence)
            await self.take_agents()
        except ApiError as error:
            logger.warning("taking stock failed and is done again soon: %s", error)
            return False
        return True

    def watches(self) -> list[Coroutine[None, None, None]]:
        """Follow the metadata of what Agents name, in every namespace that is looked after, or in the cluster."""
        return [self._watch(kind, scope) for kind in self._referenced for scope in self._scopes]

    async def _watch(self, kind: Kind, scope: str | None) -> None:
        while True:
            try:
                version = await self._children(kind, scope, every=True)
                while version:
                    version = await self._follow(kind, scope, version)
                    # It ends every five minutes, or, where something on the way ends it, at once: no storm then.
                    await asyncio.sleep(random.uniform(*_RECONNECT))  # noqa: S311 - spreads load, guards nothing
            except ApiError as error:
                level = logging.DEBUG if error.status == 410 else logging.WARNING  # noqa: PLR2004 - HTTP
                logger.log(level, "the watch of %ss starts anew: %s", kind.kind, error)
            await asyncio.sleep(random.uniform(*_RECONNECT))  # noqa: S311 - spreads load, guards nothing

    async def _follow(self, kind: Kind, scope: str | None, version: str) -> str:
        async for event, live in self._cluster.watch_metadata(kind, scope, version):
            version = live["metadata"]["resourceVersion"]
            if event != "BOOKMARK":
                self._hand_in(kind, event, live)
        return version

    async def _children(self, kind: Kind, scope: str | None, *, every: bool = False, presence: bool = False) -> str:
        """List one kind of child.

        Args:
            kind: what to list.
            scope: namespace, or None for all.
            every: those that are no children, too, for the Agents that need them.
            presence: do not look at what has changed, only at what is gone.

        Returns:
            The resourceVersion of the list.
        """
        # Components are listed whole: which ones exist is asked for by Agents that name one.
        selector = "" if every or kind == COMPONENT else SELECTOR
        seen, version = set(), ""
        async for page in self._cluster.pages(kind, scope, selector=selector, metadata_only=presence or kind.metadata_only):
            version = version or page.version
            for live in page.items:
                seen.add((live["metadata"]["namespace"], live["metadata"]["name"]))
                if not presence:
                    self._hand_in(kind, None, live)
        self._notice_missing(kind, scope, seen, version)
        if every:
            self._notice_unreadable(kind, scope, seen, version)
        return version

    def _hand_in(self, kind: Kind, event: str | None, live: Manifest) -> None:
        """Give an object to the intake. One that cannot be understood is nobody else's trouble: Kopf sees it so as well."""
        try:
            if kind == POD:
                self._intake.pod(event, live)
            else:
                self._intake.child(kind, event, live)
        except Exception:
            metadata = live.get("metadata", {})
            logger.exception("%s %s/%s cannot be read", kind.kind, metadata.get("namespace"), metadata.get("name"))

    def _notice_missing(self, kind: Kind, scope: str | None, seen: set[tuple[str, str]], version: str) -> None:
        for key in self._memory:
            record = self._memory.find(key)
            if record is None or scope not in {None, key[0]}:
                continue
            for child, found in list(record.children.items()):
                # One that was made after the list was read is in no list yet.
                if child[0] == kind and (key[0], child[1]) not in seen and not newer(found.version, version):
                    self._intake.missing(key, *child)
        if kind == COMPONENT:
            for namespace, name in self._dapr.components() - seen:
                if scope in {None, namespace}:
                    self._intake.component(namespace, name, None)

    def _notice_unreadable(self, kind: Kind, scope: str | None, seen: set[tuple[str, str]], version: str) -> None:
        """Agents that have read an object which is in no list any more are looked at."""
        for key in self._memory:
            record = self._memory.find(key)
            if record is None or scope not in {None, key[0]}:
                continue
            if any(one == kind and (key[0], name) not in seen and not newer(read, version) for (one, name), read in record.read.items()):
                self._intake.due(key)

    async def _pods(self, scope: str | None, *, presence: bool) -> None:
        seen, version = set(), ""
        async for page in self._cluster.pages(POD, scope, selector=SELECTOR, metadata_only=presence):
            version = version or page.version
            for live in page.items:
                seen.add((live["metadata"]["namespace"], live["metadata"]["name"]))
                if not presence:
                    self._hand_in(POD, None, live)
        for key in self._memory:
            record = self._memory.find(key)
            gone = [name for name in record.pods if (key[0], name) not in seen] if record and scope in {None, key[0]} else []
            for name in gone:
                assert record is not None
                if not newer(record.pods[name].version, version):
                    del record.pods[name]
                    self._intake.due(key)
