"""What Prometheus reads: counters of what this process did, gauges of what the store holds. docs/observability.md lists them.

Names of what models do follow OpenTelemetry's GenAI conventions (`gen_ai_client_*`), the rest begins with `holdfast_`. The values of
labels come from the configuration, never from a caller or a model, so there are only so many series: a tool that the model made up counts
as `unknown`. Counters begin at zero in each process, as Prometheus expects; gauges are read from the store again, so a restart does not
change them.
"""

import itertools
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from holdfast_agent import waits
from holdfast_agent.heads import Head
from holdfast_agent.tools.sources import Health
from holdfast_api.names import MCP_SEPARATOR

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
UNKNOWN_TOOL: Final = "unknown"
_STATUSES: Final = ("completed", "failed", "canceled")
_OUTCOMES: Final = ("completed", "failed", "unknown", "rejected", "skipped")
_DECISIONS: Final = ("approved", "rejected", "timedOut")
_STEPS: Final = ("model", "tool", "undo", "recall", "compact", "evaluation", "pack", "finish")
_KINDS: Final = ("transient", "permanent", "fatal")
TICK_OUTCOMES: Final = ("begun", "missed", "skipped")
EVENT_OUTCOMES: Final = ("accepted", "repeated", "expired", "postponed", "refused")
_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""As the GenAI conventions advise for `gen_ai.client.operation.duration`."""
_CALL_SECONDS: Final = (*_SECONDS, 300, 900, 3600, 14_400, 86_400)
"""Tools may take hours."""
_TOKENS: Final = tuple(4**power for power in range(14))
"""As the GenAI conventions advise for `gen_ai.client.token.usage`."""
_RUN_SECONDS: Final = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)


class Metrics:
    """All metrics of one process, on a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which Prometheus does not need to see a restart
        self.registry = registry = CollectorRegistry()
        self._agent = Info("holdfast_agent", "Which agent this is, and which revision new runs begin with.", registry=registry)
        self._started = Counter("holdfast_runs_started", "Runs accepted here.", registry=registry)
        self._runs = Counter("holdfast_runs", "Runs that ended here, by how they ended.", ["status"], registry=registry)
        self._seconds = Histogram(
            "holdfast_run_duration_seconds", "From accepting a run to its end.", ["status"], buckets=_RUN_SECONDS, registry=registry
        )
        self._open = Gauge(
            "holdfast_runs_active", "Runs of all replicas that have not ended, by what they are at.", ["state"], registry=registry
        )
        self._waiting = Gauge("holdfast_approvals_waiting", "Calls of all replicas that wait for a person's decision.", registry=registry)
        self._looked = Gauge("holdfast_open_runs_looked_at_timestamp_seconds", "When the two gauges were last taken.", registry=registry)
        self._turns = Counter("holdfast_turns", "Turns that models took.", registry=registry)
        self._calls = Counter("holdfast_tool_calls", "Tool calls, by what they came to.", ["tool", "outcome"], registry=registry)
        self._call_seconds = Histogram(
            "holdfast_tool_call_duration_seconds", "Each attempt of a tool call.", ["tool"], buckets=_CALL_SECONDS, registry=registry
        )
        self._approvals = Counter("holdfast_approvals", "Decisions about calls.", ["decision"], registry=registry)
        self._failures = Counter("holdfast_step_failures", "Attempts of steps that failed.", ["step", "kind"], registry=registry)
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of each model call, as the provider counts them.",
            ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"],
            buckets=_TOKENS,
            registry=registry,
        )
        self._model_seconds = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "Each call of a model.",
            ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._ticks = Counter(
            "holdfast_trigger_ticks", "Ticks of schedules, by what became of them here.", ["trigger", "outcome"], registry=registry
        )
        self._tick = Gauge(
            "holdfast_trigger_last_tick_timestamp_seconds", "The newest tick that began a run.", ["trigger"], registry=registry
        )
        self._events = Counter(
            "holdfast_events", "Events that Dapr delivered here, by what became of them.", ["route", "outcome"], registry=registry
        )
        self._brokers = Gauge(
            "holdfast_broker_connected", "Whether the sidecar has the pub/sub Component.", ["component"], registry=registry
        )
        self._published = Counter("holdfast_results_published", "Attempts to publish the end of a run.", ["outcome"], registry=registry)
        self._written: Callable[[], int] = int
        self._passed = 0
        self._tools: set[str] = set()
        registry.register(_Payload(self))
        for state in waits.STATES:
            self._open.labels(state)

    def agent(self, name: str, revision: str, tools: Iterable[str]) -> None:
        """Who this is. All that can be counted is there from the start, so that the first of its kind shows as an increase."""
        self._agent.info({"agent": name, "revision": revision})
        for status in _STATUSES:
            self._runs.labels(status)
            self._seconds.labels(status)
        self._tools.update(tools)
        for tool, outcome in itertools.product((*self._tools, UNKNOWN_TOOL), _OUTCOMES):
            self._calls.labels(tool, outcome)
        for decision in _DECISIONS:
            self._approvals.labels(decision)
        for step, kind in itertools.product(_STEPS, _KINDS):
            self._failures.labels(step, kind)

    def triggers(self, schedules: Iterable[str], routes: Iterable[str]) -> None:
        """What may begin runs by itself."""
        for trigger, outcome in itertools.product(schedules, TICK_OUTCOMES):
            self._ticks.labels(trigger, outcome)
        for route, outcome in itertools.product(routes, EVENT_OUTCOMES):
            self._events.labels(route, outcome)

    def ticked(self, trigger: str, outcome: str, count: int = 1) -> None:
        """What became of ticks."""
        self._ticks.labels(trigger, outcome).inc(count)

    def tick(self, trigger: str, tick: int | None) -> None:
        """The newest tick that began a run, on whichever replica."""
        if tick is not None:
            self._tick.labels(trigger).set(tick)

    def event(self, route: str, outcome: str) -> None:
        """What became of an event."""
        self._events.labels(route, outcome).inc()

    def brokers(self, names: Iterable[str], missing: Iterable[str]) -> None:
        """Which brokers the sidecar has."""
        gone = set(missing)
        for name in names:
            self._brokers.labels(name).set(name not in gone)

    def published(self, outcome: str) -> None:
        """The end of a run was published, or could not be."""
        self._published.labels(outcome).inc()

    def watches_outbox(self, waiting: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Where is told how many ends of runs wait for which component and topic."""
        self.registry.register(_Unpublished(waiting))

    def watches_servers(self, servers: Callable[[], Iterable[Health]]) -> None:
        """Where is told how MCP servers stand."""
        self.registry.register(_Servers(servers))

    def _label(self, tool: str) -> str:
        """A tool as it is counted. Those of an MCP server count as their item: what they are called is the server's say."""
        item = tool.partition(MCP_SEPARATOR)[0]
        return next((name for name in (tool, item) if name in self._tools), UNKNOWN_TOOL)

    def counts_documents(self, written: Callable[[], int]) -> None:
        """Where the bytes of documents are counted."""
        self._written = written

    def started(self) -> None:
        """A run was accepted."""
        self._started.inc()

    def ended(self, head: Head) -> None:
        """A run ended by this process's doing."""
        status = head.status.lower()
        self._runs.labels(status).inc()
        if head.ended is not None:
            self._seconds.labels(status).observe(max(0.0, head.ended - head.created))

    def chat(self, *, provider: str, model: str, seconds: float, error: str | None, tokens: tuple[int, int] | None) -> None:
        """A model was called; `tokens` are input and output, None when nothing came back."""
        self._model_seconds.labels("chat", provider, model, error or "").observe(seconds)
        for kind, count in zip(("input", "output"), tokens or (), strict=False):
            self._tokens.labels("chat", provider, model, kind).observe(count)

    def tool(self, *, name: str, seconds: float) -> None:
        """A tool was called; whether it worked is known once the call is stored."""
        self._tools.add(name)
        self._call_seconds.labels(self._label(name)).observe(seconds)

    def turn(self) -> None:
        """A turn of the model is stored."""
        self._turns.inc()

    def call(self, *, tool: str, outcome: str) -> None:
        """What a call came to is stored."""
        self._calls.labels(self._label(tool), outcome).inc()

    def decided(self, decision: str) -> None:
        """A call was made or not by a person's decision, or because none came in time."""
        self._approvals.labels(decision).inc()

    def failed(self, *, step: str, kind: str) -> None:
        """An attempt of a step failed."""
        self._failures.labels(step, kind).inc()

    def passed(self, size: int) -> None:
        """Bytes of a step's input or result went through the workflow."""
        self._passed += size

    def open_runs(self, heads: Iterable[Head]) -> None:
        """The runs that have not ended, as they were just read."""
        tally: Tally[str] = Tally()
        waiting = 0
        for head in heads:
            tally[waits.of_run(head)] += 1
            waiting += sum(approval.decision is None for approval in head.approvals.values())
        for state in waits.STATES:
            self._open.labels(state).set(tally[state])
        self._waiting.set(waiting)
        self._looked.set(time.time())

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

    @property
    def payload(self) -> tuple[int, int]:
        """Bytes of documents written, and bytes of steps' inputs and results."""
        return self._written(), self._passed


class _Servers(Collector):
    """How MCP servers stand, asked for when somebody reads."""

    def __init__(self, servers: Callable[[], Iterable[Health]]) -> None:
        self._servers = servers

    def collect(self) -> Iterator[Metric]:
        """The metrics; none where there is no such server."""
        found = list(self._servers())
        if found:
            up = GaugeMetricFamily("holdfast_mcp_server_up", "Whether it listed its tools when it was last asked.", labels=["tool"])
            tools = GaugeMetricFamily("holdfast_mcp_server_tools", "Its tools that the model may call.", labels=["tool"])
            for server in found:
                up.add_metric([server.tool], float(bool(server.up)))
                tools.add_metric([server.tool], float(len(server.functions)))
            yield from (up, tools)


class _Unpublished(Collector):
    """Ends of runs that could not be published, asked for when somebody reads."""

    def __init__(self, waiting: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._waiting = waiting

    def collect(self) -> Iterator[Metric]:
        """The metric; none before anything was to be published."""
        told = "Ends of runs that this process could not publish and tries again."
        gauge = GaugeMetricFamily("holdfast_results_unpublished", told, labels=["component", "topic"])
        for target, count in sorted(self._waiting().items()):
            gauge.add_metric(target, count)
        yield gauge


class _Payload(Collector):
    """How much the history by reference saves: counted where the bytes are, read when somebody asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        written, passed = self._metrics.payload
        yield CounterMetricFamily("holdfast_document_bytes", "JSON of documents written to the store.", value=written)
        yield CounterMetricFamily(
            "holdfast_workflow_bytes", "JSON of steps' inputs and results, which go through the workflow.", value=passed
        )
        ratio = written / passed if passed else 0.0
        yield GaugeMetricFamily(
            "holdfast_payload_ratio", "Bytes of documents for each byte through the workflow, since the start.", value=ratio
        )
