"""The parts of one agent, put together: who knows whom. `program` says when they start and stop."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from holdfast_agent.activities import Steps, table
from holdfast_agent.audit.export import Audits
from holdfast_agent.controls import Controls
from holdfast_agent.documents import Head
from holdfast_agent.engine import Engine
from holdfast_agent.flights import Flights
from holdfast_agent.http.asked import asked
from holdfast_agent.http.parts import Parts
from holdfast_agent.janitor import Janitor
from holdfast_agent.listing import Listing
from holdfast_agent.loop import WORKFLOW
from holdfast_agent.observer import Observer
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.outbox import Outbox
from holdfast_agent.publishing import publish
from holdfast_agent.revisions import Revisions
from holdfast_agent.runs import Runs
from holdfast_agent.sessions import Sessions
from holdfast_agent.settings import Settings
from holdfast_agent.sidecar import Sidecar
from holdfast_agent.store import Store
from holdfast_agent.sweeper import Sweeper
from holdfast_agent.timelines import Timelines
from holdfast_agent.triggers.intake import Intake, routes
from holdfast_agent.triggers.ticker import Ticker
from holdfast_agent.workflow import agent


@dataclass(frozen=True)
class Ground:
    """What everything else stands on: made first, and closed last."""

    sidecar: Sidecar
    store: Store
    revisions: Revisions
    flights: Flights
    observer: Observer


@dataclass(frozen=True)
class Assembly:
    """A whole agent: the worker not connected yet, nobody looking after anything."""

    engine: Engine
    parts: Parts
    janitor: Janitor
    sweeper: Sweeper
    ticker: Ticker


def assemble(settings: Settings, ground: Ground, stack: AsyncExitStack, *, overdue_seconds: float) -> Assembly:
    """Put an agent together.

    Args:
        settings: what to serve.
        ground: the parts that there are already.
        stack: closes what is made here.
        overdue_seconds: how late a durable timer must be to count as lost.
    """
    store, observer, config = ground.store, ground.observer, settings.config
    listing = Listing(store)
    stack.push_async_callback(listing.close)
    index = OpenRuns(store, pod=settings.pod, listing=listing)

    outbox = Outbox(agent=config.name, sidecar=ground.sidecar, store=store, index=index, metrics=observer.metrics)

    def ended(head: Head) -> None:
        runs.ended(head)

    steps = Steps(
        sidecar=ground.sidecar,
        store=store,
        revisions=ground.revisions,
        flights=ground.flights,
        index=index,
        ended=ended,
        auditor=settings.auditor,
        observer=observer,
        outbox=outbox,
    )
    engine = Engine(ground.sidecar, name=WORKFLOW, workflow=agent, activities=table(steps), passed=observer.metrics.passed)
    stack.push_async_callback(engine.close)
    runs = Runs(
        store=store, engine=engine, revisions=ground.revisions, index=index, auditor=settings.auditor, observer=observer, outbox=outbox
    )
    observer.metrics.agent(config.name, ground.revisions.current.name, (tool.name for tool in config.tools))
    observer.metrics.counts_documents(lambda: store.written)
    observer.metrics.watches_servers(lambda: ground.revisions.current.toolbox.health)
    observer.metrics.triggers((trigger.name for trigger in config.triggers if trigger.schedule), (route.name for route in routes(config)))
    controls = Controls(runs=runs, store=store, engine=engine, index=index)
    ticker = Ticker(store=store, runs=runs, controls=controls, triggers=config.triggers, metrics=observer.metrics)
    return Assembly(
        engine=engine,
        parts=Parts(
            runs=runs,
            controls=controls,
            timelines=Timelines(store),
            listing=listing,
            sessions=Sessions(store),
            audits=Audits(store),
            metrics=observer.metrics,
            config=config,
            toolbox=ground.revisions.current.toolbox,
            ticker=ticker,
            intake=Intake(runs=runs, ask=asked, publish=partial(publish, ground.sidecar), metrics=observer.metrics),
        ),
        janitor=Janitor(runs=runs, store=store, engine=engine, index=index, overdue_seconds=overdue_seconds),
        sweeper=Sweeper(
            store=store,
            engine=engine,
            listing=listing,
            index=index,
            retention=config.retention,
            longest_run=config.limits.run_timeout_seconds,
        ),
        ticker=ticker,
    )
