"""What Kopf calls: every event of an Agent goes to the intake, and nothing else happens here. All else is followed by `watch`.

Only a low-level `on.event` handler: it keeps no state on the objects, adds no finalizer, and costs one call per event. Change handlers,
timers, daemons and indexes would write to the Agent or hold its body.
"""

from typing import Any

import kopf

from holdfast_operator.backoff import Backoffs
from holdfast_operator.intake import Intake
from holdfast_operator.kinds import AGENT
from holdfast_operator.stateless import NoDiffBase

IDLE_SECONDS = 0.2
"""How long Kopf keeps a worker per object after its last event: most of an operator's memory is these, not the objects."""

CHUNK = 100
"""Agents that Kopf reads at a time when it begins to watch: each is a task for a while."""

REQUEST_SECONDS = 30.0

EXIT_SECONDS = 20.0
"""After which a Kopf that cannot end is killed with the process: better a restart than an operator that watches nothing."""


def build_registry(intake: Intake) -> kopf.OperatorRegistry:
    """The handler of Agents, in a registry of its own."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event(AGENT.group, AGENT.version, AGENT.plural, registry=registry)
    async def on_agent(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401 - Kopf's keyword arguments
        intake.agent(event["type"], dict(event["object"]))

    return registry


def build_settings() -> kopf.OperatorSettings:
    """Kopf as a watcher: no peering, no posting, no waiting workers, no look at CRDs.

    `worker_limit` stays unset: it would limit throughput to limit / idle_timeout. Scanning would need the right to list all CRDs of the
    cluster. The operator asks for Dapr's API by itself and starts anew when it comes or goes.
    """
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.watching.chunk_size = CHUNK
    settings.process.ultimate_exiting_timeout = EXIT_SECONDS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.error_backoffs = Backoffs()
    return settings
