"""What Prometheus can ask: work done and left, requests sent, Agents and how they are.

Values of labels come from this program and its settings alone: condition types and reasons, kinds, verbs, HTTP codes, and namespaces of
the administrator's own list that cannot be read. So the number of series does not grow with the number of Agents.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast_operator.memory import Memory
from holdfast_operator.queue import Sizes

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class _Now(Collector):
    """Counts that are looked up when asked for, so that no label outlives its Agent."""

    def __init__(
        self, memory: Memory, queue: Callable[[], Sizes], leading: Callable[[], bool], unreadable: Callable[[], Iterable[str]]
    ) -> None:
        self._memory, self._queue, self._leading, self._unreadable = memory, queue, leading, unreadable

    def collect(self) -> Iterator[Metric]:
        """Look."""
        agents = GaugeMetricFamily("holdfast_agents", "Agents by the status of their condition Ready.", labels=["ready"])
        for ready, count in self._memory.ready_counts().items():
            agents.add_metric([ready], count)
        yield agents
        labels = ["condition", "status", "reason"]
        found = GaugeMetricFamily("holdfast_agent_conditions", "Agents by what their conditions say.", labels=labels)
        for labelled, count in sorted(self._memory.condition_counts().items()):
            found.add_metric(labelled, count)
        yield found
        refused = GaugeMetricFamily("holdfast_namespace_unreadable", "Namespaces of the list that cannot be read.", labels=["name"])
        for namespace in self._unreadable():
            refused.add_metric([namespace], 1)
        yield refused
        yield from self._of_the_queue()
        yield GaugeMetricFamily("holdfast_leading", "1 on the replica that works, 0 on those that stand by.", value=float(self._leading()))

    def _of_the_queue(self) -> Iterator[Metric]:
        sizes = self._queue()
        yield GaugeMetricFamily("holdfast_queue_depth", "Agents that wait for a look, delayed ones included.", value=sizes.depth)
        yield GaugeMetricFamily("holdfast_queue_due", "Agents whose time for a look has come, and no worker yet.", value=sizes.due)
        yield GaugeMetricFamily("holdfast_queue_wait_seconds", "How long the longest of these has waited.", value=sizes.waited)
        yield GaugeMetricFamily("holdfast_queue_failing", "Agents whose last look failed and is tried again.", value=sizes.failing)
        yield GaugeMetricFamily("holdfast_reconciles_running", "Looks under way.", value=sizes.running)


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(
        self,
        *,
        memory: Memory,
        queue: Callable[[], Sizes],
        leading: Callable[[], bool],
        unreadable: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Now(memory, queue, leading, unreadable))
        self._looks = Counter("holdfast_reconciles", "Looks at an Agent.", ["result"], registry=self._registry)
        self._seconds = Histogram("holdfast_reconcile_seconds", "Duration of a look.", buckets=_BUCKETS, registry=self._registry)
        self._requests = Counter(
            "holdfast_api_requests", "Requests to the API server, watches aside.", ["verb", "resource", "code"], registry=self._registry
        )
        for result in ("done", "retry", "error"):
            # A rate needs a zero to begin with.
            self._looks.labels(result)

    def looked(self, result: str, seconds: float) -> None:
        """Count one look: result `done`, `retry` or `error`."""
        self._looks.labels(result).inc()
        self._seconds.observe(seconds)

    def requested(self, verb: str, resource: str, status: int) -> None:
        """Count one request; status 0 means no answer."""
        self._requests.labels(verb, resource, str(status)).inc()

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)
