"""What exists, by lists.

Once before the first look, so that a restart reads and writes nothing that is as it should be, and then every few minutes, as a net
under events that were lost. The watches go on from the first lists, so nothing is listed twice and nothing happens in between.

Of ConfigMaps, where clusters keep their megabytes, only the metadata are asked for. One stream of all of them serves three ends: our
own, those that Agents name, and their first appearance. Secrets, where that is granted, are watched in the same way.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from functools import partial

from holdfast_api import names
from holdfast_operator.cluster import ApiError, Cluster, Page
from holdfast_operator.dapr import DaprApi
from holdfast_operator.facts import newer
from holdfast_operator.intake import Intake, Manifest, owner
from holdfast_operator.kinds import AGENT, CHILDREN, COMPONENT, CONFIG_MAP, DAPR_GROUP, POD, SECRET, Key, Kind
from holdfast_operator.memory import Memory
from holdfast_operator.scopes import Scopes, forbidden
from holdfast_operator.watch import Followed, Watch

logger = logging.getLogger(__name__)

SELECTOR = names.LABEL_AGENT
JITTER = 0.2
SECOND_SECONDS = 30.0
"""After the start, everything is looked at once more; later as often as the settings say."""

_SETTLE = 5.0


class Inventory:
    """Lists everything that Agents are made of."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        memory: Memory,
        intake: Intake,
        dapr: DaprApi,
        namespaces: tuple[str, ...],
        scopes: Scopes | None = None,
        secrets: bool = False,
    ) -> None:
        """Prepare.

        Args:
            cluster: where to list.
            memory: what was known.
            intake: who is told.
            dapr: whether Dapr's kinds are there.
            namespaces: which ones; none for all.
            scopes: is told which of these can be read; None where nobody asks.
            secrets: whether Secrets may be listed, too.
        """
        self._referenced = (CONFIG_MAP, SECRET) if secrets else (CONFIG_MAP,)
        self._cluster, self._memory, self._intake, self._dapr = cluster, memory, intake, dapr
        self._scopes: tuple[str | None, ...] = namespaces or (None,)
        self._versions: dict[Followed, str] = {}
        self._readable = scopes or Scopes()
        self.listed = asyncio.Event()
        """Set when Kopf has listed Agents anew, so that it may have missed deletions."""

    async def take(self, *, presence: bool = False) -> None:
        """List all children and pods, and note what has changed or vanished since it was last seen.

        A namespace that may not be read is left out; see `scopes`.

        Args:
            presence: only look what is there, by metadata alone, which is far cheaper.
        """
        for followed in self._followed():
            with self._where_it_may_be_read(followed.scope):
                self._versions[followed] = await self._list(followed, presence=presence)

    def _followed(self) -> list[Followed]:
        kinds = dict.fromkeys((*CHILDREN, *self._referenced, POD))
        served = [kind for kind in kinds if kind.group != DAPR_GROUP or self._dapr.installed]
        # Agents name ConfigMaps and Components that somebody else has made, and wait for them.
        unmarked = {COMPONENT, *self._referenced}
        return [Followed(kind, scope, "" if kind in unmarked else SELECTOR) for kind in served for scope in self._scopes]

    @contextlib.contextmanager
    def _where_it_may_be_read(self, scope: str | None) -> Iterator[None]:
        try:
            yield
        except ApiError as error:
            if scope is None or not forbidden(error):
                raise

    async def _list(self, followed: Followed, *, presence: bool = False) -> str:
        with self._readable.reading(followed.kind, followed.scope):
            return await self._list_it(followed, presence=presence)

    async def _list_it(self, followed: Followed, *, presence: bool) -> str:
        if followed.kind == POD:
            return await self._pods(followed.scope, presence=presence)
        # At the start no Agent has named anything yet, and each is looked at with what is there then.
        every = followed.kind in self._referenced and not presence and not self._intake.quiet
        return await self._children(followed.kind, followed.scope, every=every, presence=presence)

    async def take_agents(self) -> None:
        """List all Agents: those with something new are looked at, those that are gone are forgotten."""
        for scope in self._scopes:
            with self._where_it_may_be_read(scope), self._readable.reading(AGENT, scope):
                await self._agents(scope)

    async def _agents(self, scope: str | None) -> None:
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

        Once more soon after the start. And of Agents soon after Kopf has listed them: what was deleted before is in no event.
        Between two of these, what could not be read is asked for again: Kopf does not say when it can.
        """
        wait, presence = SECOND_SECONDS, True
        while True:
            due = time.monotonic() + wait * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
            while (now := time.monotonic()) < due:
                if await self._listed_before(min(due, now + SECOND_SECONDS)) and not await self._tried(self.take_agents):
                    due = min(due, time.monotonic() + SECOND_SECONDS)
                await self.ask_again()
            if await self._tried(self.take, presence=presence) and await self._tried(self.take_agents):
                wait, presence = every, False
            else:
                wait = min(every, SECOND_SECONDS)

    async def ask_again(self) -> None:
        """Whether what could not be read can be read by now. A namespace that still cannot costs one request."""
        for namespace, kinds in self._readable.refused():
            with contextlib.suppress(ApiError):
                for kind in kinds:
                    with self._readable.reading(kind, namespace):
                        await anext(self._cluster.pages(kind, namespace, metadata_only=True))

    async def _listed_before(self, due: float) -> bool:
        """Wait until that time; shortly after Kopf has listed Agents it is over, with True."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(due - time.monotonic(), 0.0)):
                await self.listed.wait()
                await asyncio.sleep(_SETTLE)
                self.listed.clear()
                return True
        return False

    async def _tried(self, work: Callable[..., Awaitable[None]], **options: bool) -> bool:
        self.listed.clear()
        try:
            await work(**options)
        except ApiError as error:
            logger.warning("taking stock failed and is done again soon: %s", error)
            return False
        return True

    def watches(self, *, start_anew: Callable[[], None]) -> list[Coroutine[None, None, None]]:
        """Follow children, pods and what Agents name, in every namespace that is looked after, or in the cluster.

        Args:
            start_anew: called when a kind is not served any more, or the cluster was put back to an earlier state.
        """
        return [self._watch(followed, start_anew).run(self._versions.get(followed, "")) for followed in self._followed()]

    def _watch(self, followed: Followed, start_anew: Callable[[], None]) -> Watch:
        return Watch(
            self._cluster,
            followed,
            take_list=partial(self._list, followed),
            tell=partial(self._hand_in, followed.kind),
            start_anew=start_anew,
        )

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
        seen, owned, version = set[Key](), set[Key](), ""
        async for page in self._pages(kind, scope, selector=selector, metadata_only=presence or kind.metadata_only):
            version = version or page.version
            for live in page.items:
                place = (live["metadata"]["namespace"], live["metadata"]["name"])
                seen.add(place)
                if owner(live):
                    owned.add(place)
                if not presence:
                    self._hand_in(kind, None, live)
        self._notice_missing(kind, scope, seen, owned, version)
        if every:
            self._notice_unreadable(kind, scope, seen, version)
        return version

    async def _pages(self, kind: Kind, scope: str | None, *, selector: str, metadata_only: bool) -> AsyncIterator[Page]:
        with self._intake.graves.listing():
            async for page in self._cluster.pages(kind, scope, selector=selector, metadata_only=metadata_only):
                yield page

    def _hand_in(self, kind: Kind, event: str | None, live: Manifest) -> None:
        """Give an object to the intake. One that cannot be understood is nobody else's trouble."""
        try:
            if kind == POD:
                self._intake.pod(event, live)
            else:
                self._intake.child(kind, event, live)
        except Exception:
            metadata = live.get("metadata", {})
            logger.exception("%s %s/%s cannot be read", kind.kind, metadata.get("namespace"), metadata.get("name"))

    def _notice_missing(self, kind: Kind, scope: str | None, seen: set[Key], owned: set[Key], version: str) -> None:
        for key in self._memory:
            record = self._memory.find(key)
            if record is None or scope not in {None, key[0]}:
                continue
            for child, found in list(record.children.items()):
                # One that was made after the list was read is in no list yet.
                if child[0] == kind and (key[0], child[1]) not in owned and not newer(found.version, version):
                    self._intake.missing(key, child, version)
        if kind == COMPONENT:
            for namespace, name in self._dapr.components() - seen:
                if scope in {None, namespace}:
                    # The list's version: a Component that was made after it was read is in no list yet either.
                    self._intake.component(namespace, name, None, version=version)
                    for key in self._memory.needing(namespace, kind, name):
                        self._intake.due(key)

    def _notice_unreadable(self, kind: Kind, scope: str | None, seen: set[tuple[str, str]], version: str) -> None:
        """Agents that have read an object which is in no list any more are looked at."""
        for key in self._memory:
            record = self._memory.find(key)
            if record is None or scope not in {None, key[0]}:
                continue
            if any(one == kind and (key[0], name) not in seen and not newer(read, version) for (one, name), read in record.read.items()):
                self._intake.due(key)

    async def _pods(self, scope: str | None, *, presence: bool) -> str:
        seen, version = set(), ""
        async for page in self._pages(POD, scope, selector=SELECTOR, metadata_only=presence):
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
        return version
