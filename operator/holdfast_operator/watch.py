"""Follows one kind of object: from the version of a list on, for ever, through all that an API server can do to a watch.

Past Kopf, which would decode each event for a queue and a task of its own before anybody sees that it is the echo of our own write:
most events are, and a write would cost half as much again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from holdfast_operator.backoff import Backoffs
from holdfast_operator.cluster import ApiError, Cluster, Manifest
from holdfast_operator.facts import older
from holdfast_operator.kinds import Kind
from holdfast_operator.scopes import forbidden

logger = logging.getLogger(__name__)

_PATIENCE = 5
"""Attempts in a row in which a watch told nothing, after which the version that it goes on from is doubted."""

FORBIDDEN_SECONDS = 30.0
"""Pause where a right is missing: somebody has to grant it, and each kind in each such namespace asks."""


@dataclass(frozen=True)
class Followed:
    """What is followed.

    Attributes:
        kind: of the objects.
        scope: namespace, or None for all.
        selector: labels, empty for all objects.
    """

    kind: Kind
    scope: str | None
    selector: str = ""


class Watch:
    """One watch. An event is told once for each time that the server sends it; after a failure some may come again, and none is skipped."""

    def __init__(
        self,
        cluster: Cluster,
        followed: Followed,
        *,
        take_list: Callable[[], Awaitable[str]],
        tell: Callable[[str, Manifest], None],
        start_anew: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            cluster: where.
            followed: what.
            take_list: lists the objects, tells of them and of those that are gone, and gives the list's resourceVersion.
            tell: hears of each event but bookmarks: its type and the object, of which there is only the metadata for some kinds.
            start_anew: called when the kind is not served any more, or the cluster was put back to an earlier state.
        """
        self._cluster, self._followed = cluster, followed
        self._take_list, self._tell, self._start_anew = take_list, tell, start_anew
        self._version, self._reached = "", ""
        self._heard, self._deaf, self._refused = False, 0, False

    async def run(self, version: str = "") -> None:
        """Follow.

        Args:
            version: resourceVersion of a list that was told already; without one a list comes first.
        """
        self._version, pauses = version, iter(Backoffs())
        while True:
            self._heard, after = False, 0.0
            try:
                self._version = self._version or await self._list()
                await self._listen()
            except ApiError as error:
                after = FORBIDDEN_SECONDS if forbidden(error) else error.retry_after or 0.0
                self._doubt(error)
            if self._heard:
                self._deaf, pauses = 0, iter(Backoffs())
            # After an orderly end, too: where something on the way ends every watch at once, that must be no storm.
            await asyncio.sleep(next(pauses) + after)

    async def _list(self) -> str:
        version = await self._take_list()
        if older(version, self._reached):
            # An etcd that was restored: whatever it tells has an earlier version than what is remembered, and would be no news.
            self._start_anew()
        return version

    async def _listen(self) -> None:
        followed = self._followed
        events = self._cluster.watch(followed.kind, followed.scope, self._version, selector=followed.selector)
        async for event, live in events:
            self._heard, self._refused, self._version = True, False, live["metadata"]["resourceVersion"]
            if event != "BOOKMARK":
                self._tell(event, live)

    def _doubt(self, error: ApiError) -> None:
        """Whether to go on where the watch was: after a broken connection or a busy server yes, from what is too old no."""
        plural = self._followed.kind.plural
        if error.not_served:
            self._start_anew()
        self._deaf += not self._heard
        if error.transient and self._deaf < _PATIENCE:
            logger.info("the watch of %s goes on: %s", plural, error)
            return
        # A namespace that may not be listed is told by `scopes`. One that may be listed and not watched is told here, once.
        unwatched = forbidden(error) and bool(self._version)
        expected = error.status == HTTPStatus.GONE or (self._refused if unwatched else self._followed.scope and forbidden(error))
        level = logging.DEBUG if expected else logging.WARNING
        logger.log(level, "the watch of %s starts anew: %s", plural, error)
        self._refused |= unwatched
        self._reached, self._version, self._deaf = self._version or self._reached, "", 0
