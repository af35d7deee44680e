"""What Kopf calls: every event goes to the intake, and nothing else happens here.

Only low-level `on.event` handlers: they keep no state on the objects, add no finalizer, and cost one call per event. Change handlers,
timers, daemons and indexes would write to the Agent or hold its body.
"""

from typing import Any

import kopf

from holdfast_api import names
from holdfast_operator.intake import Intake
from holdfast_operator.kinds import AGENT, COMPONENT, KOPF_WATCHED, POD, Kind
from holdfast_operator.session import Backoffs
from holdfast_operator.stateless import NoDiffBase

IDLE_SECONDS = 0.2
"""How long Kopf keeps a worker per object after its last event: most of an operator's memory is these, not the objects."""

CHUNK = 100
"""Objects of a kind that Kopf reads at a time when it begins to watch: all kinds are read at once, each object a task for a while."""

REQUEST_SECONDS = 30.0

EXIT_SECONDS = 20.0
"""After which a Kopf that cannot end is killed with the process: better a restart than an operator that watches nothing."""


def build_registry(intake: Intake) -> kopf.OperatorRegistry:
    """Handlers for all watched kinds, in a registry of their own."""
    registry = kopf.OperatorRegistry()

    @kopf.on.event(AGENT.group, AGENT.version, AGENT.plural, registry=registry)
    async def on_agent(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401 - Kopf's keyword arguments
        intake.agent(event["type"], dict(event["object"]))

    @kopf.on.event(POD.group, POD.version, POD.plural, registry=registry)
    async def on_pod(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401 - Kopf's keyword arguments
        intake.pod(event["type"], dict(event["object"]))

    for kind in KOPF_WATCHED:
        _watch_children(registry, intake, kind)
    return registry


def _watch_children(registry: kopf.OperatorRegistry, intake: Intake, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"on_{kind.plural}")
    async def on_child(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401 - Kopf's keyword arguments
        intake.child(kind, event["type"], dict(event["object"]))


def build_settings() -> kopf.OperatorSettings:
    """Kopf as a watcher: no peering, no posting, no waiting workers, no look at CRDs.

    `worker_limit` stays unset: it would limit throughput to limit / idle_timeout. Scanning would need the right to list all CRDs of the
    cluster, and would start the watches of Dapr's kinds without anybody knowing when. The operator asks for Dapr's API by itself and
    starts Kopf anew when it comes or goes.
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
    for kind in (POD, *KOPF_WATCHED):
        # Components are watched whole: Agents may name ones that somebody else made, and wait for them.
        if kind != COMPONENT:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = names.LABEL_AGENT
    return settings
