"""A sidecar that has locked itself up is asked to end, so that it is started again.

When a worker's stream ends while daprd 1.18.2 is about to hand it a workflow's turn, daprd may wait for that turn while it takes the actor
types back, and for ever: the next worker's stream is accepted, and nothing comes through it. daprd calls itself healthy all the while,
so nobody else would do anything. It takes a crash of the agent at a bad moment, four in ten when it meets the end of a turn's tools.
"""

import asyncio
import logging
from typing import Final, Protocol

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 60.0


class Engine(Protocol):
    """What is asked of the engine."""

    @property
    def streaming(self) -> bool:
        """Whether the worker's stream of work is open."""

    async def ready(self) -> bool:
        """Whether the sidecar sends work here."""


class Sidecar(Protocol):
    """What is asked of the sidecar."""

    async def healthy(self) -> bool:
        """Whether it serves."""

    async def end(self) -> None:
        """Ask it to end."""


async def guard(engine: Engine, sidecar: Sidecar, *, look: float = _LOOK_SECONDS, patience: float = PATIENCE_SECONDS) -> None:
    """Look now and then, for ever.

    Args:
        engine: the worker.
        sidecar: that it is connected to.
        look: seconds between two looks.
        patience: for how many seconds a healthy sidecar may give nothing to a connected worker.
    """
    starved, pause = 0.0, patience
    while True:
        await asyncio.sleep(look)
        if not engine.streaming or await engine.ready() or not await sidecar.healthy():
            starved, pause = 0.0, patience
            continue
        starved += look
        if starved >= pause:
            _LOG.error(
                "the sidecar is healthy but knows no worker, although ours has been connected for %.0f s: it is asked to end", starved
            )
            await sidecar.end()
            starved, pause = 0.0, _AGAIN_SECONDS
