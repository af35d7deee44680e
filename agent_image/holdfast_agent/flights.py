"""One flight per key and process, and the gate that lets a process end without breaking anything off.

When a sidecar dies, a second execution of the same activity starts in this process beside the first. It must join the first: the
model's answer is paid for once. And when this process is asked to end, the workflow SDK would cancel what runs within milliseconds;
so new executions are parked (another process gets them once this one has left) and those in the air are waited for.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

_LOG = logging.getLogger(__name__)
_TELL_SECONDS: Final = 5.0

T = TypeVar("T")


class Flights:
    """Effects in the air, by key. Belongs to one event loop."""

    def __init__(self, landed: Callable[[str], None] | None = None) -> None:
        """Nothing is in the air yet.

        Args:
            landed: told the key of each flight that ended.
        """
        self._landed = landed
        self._running: dict[str, asyncio.Task[Any]] = {}
        self.draining = asyncio.Event()
        """Set once the gate is closed."""

    @property
    def count(self) -> int:
        """How many effects are in the air."""
        return len(self._running)

    def join(self, key: str, start: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Future[T]":
        """The result of the flight with that key, started now if there is none.

        Canceling what this gives leaves the flight in the air. Once the gate is closed, it never comes true for a key that is not
        in the air.
        """
        task: asyncio.Task[T] | None = self._running.get(key)
        if task is not None:
            _LOG.info("joined a call in flight", extra={"step": key})
        elif self.draining.is_set():
            return asyncio.get_running_loop().create_future()
        else:
            task = asyncio.get_running_loop().create_task(start())
            self._running[key] = task
            task.add_done_callback(lambda _: self._down(key))
        return asyncio.shield(task)

    def _down(self, key: str) -> None:
        self._running.pop(key, None)
        if self._landed:
            self._landed(key)

    async def drain(self) -> None:
        """Close the gate and return when nothing is in the air. Every effect has a bound of its own."""
        self.draining.set()
        while self._running:
            await asyncio.wait(list(self._running.values()), timeout=_TELL_SECONDS)
            if self._running:
                _LOG.info("stopping: waiting for %d calls in flight", len(self._running))
