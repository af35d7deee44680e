"""One event loop for all `async def` functions of a process, so that what they keep (a client, a pool) stays usable."""

from collections.abc import Awaitable
from typing import Any


class Loop:
    """Made when it is first needed: importing asyncio takes longer than all the rest of this program, and most functions are plain."""

    def __init__(self) -> None:
        """Make nothing yet."""
        self._runner: Any = None

    def wait(self, awaitable: Awaitable[Any]) -> Any:  # noqa: ANN401 - whatever it gives
        """Run it to its end."""
        if self._runner is None:
            import asyncio  # noqa: PLC0415 - see the class

            self._runner = asyncio.Runner()
        return self._runner.run(_awaited(awaitable))


async def _awaited(awaitable: Awaitable[Any]) -> Any:  # noqa: ANN401 - whatever it gives
    return await awaitable
