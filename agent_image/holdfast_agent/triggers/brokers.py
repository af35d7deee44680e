"""Notices a broker that was away when the sidecar started.

Dapr 1.18 tries a Component once, when the sidecar starts. One that has `ignoreErrors`, so that runs go on without it, is then missing until
the next start, and nobody hears of its events: measured, also long after the broker is back. So the sidecar is asked to end, and whoever
keeps it running starts it again; ever more seldom, because a broker that is set up wrongly must not cost more than that.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Final

from holdfast_agent.metrics import Metrics
from holdfast_agent.sidecar import Sidecar
from holdfast_api.config import AgentConfig

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 10.0
_FIRST_SECONDS: Final = 60.0
_LONGEST_SECONDS: Final = 3600.0


def brokers(config: AgentConfig) -> frozenset[str]:
    """The pub/sub Components that an agent uses."""
    found = {config.pubsub.component} if config.pubsub else set[str]()
    return frozenset(found | {trigger.topic.component for trigger in config.triggers if trigger.topic})


async def watch(sidecar: Sidecar, wanted: Iterable[str], metrics: Metrics) -> None:
    """Look after brokers until canceled; done at once if there are none."""
    names, pause, since = frozenset(wanted), _FIRST_SECONDS, time.monotonic()
    while names:
        known = await sidecar.components()
        missing = names - known if known is not None else frozenset()
        if known is not None:
            metrics.brokers(names, missing)
        if not missing:
            since = time.monotonic()
            pause = pause if known is None else _FIRST_SECONDS
        elif time.monotonic() >= since + pause:
            told = ", ".join(sorted(missing))
            _LOG.warning("pub/sub %s could not be reached when the sidecar started: it is asked to start again", told)
            await sidecar.end()
            pause, since = min(2 * pause, _LONGEST_SECONDS), time.monotonic()
        await asyncio.sleep(_LOOK_SECONDS)
