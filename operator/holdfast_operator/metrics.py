"""What Prometheus can ask: work done, requests sent, Agents and how they are."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class _Sizes(Collector):
    """Counts that are looked up when asked for, so that no label outlives its Agent."""

    def __init__(self, agents: Callable[[], dict[str, int]], depth: Callable[[], int], leading: Callable[[], bool]) -> None:
        self._agents, self._depth, self._leading = agents, depth, leading

    def collect(self) -> Iterator[Metric]:
        """Look."""
        agents = GaugeMetricFamily("holdfast_agents", "Agents by the status of their condition Ready.", labels=["ready"])
        for status, count in self._agents().items():
            agents.add_metric([status], count)
        yield agents
        yield GaugeMetricFamily("holdfast_queue_depth", "Agents that wait for a look, delayed ones included.", value=self._depth())
        yield GaugeMetricFamily("holdfast_leading", "1 on the replica that works, 0 on those that stand by.", value=float(self._leading()))


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self, *, agents: Callable[[], dict[str, int]], depth: Callable[[], int], leading: Callable[[], bool]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._registry.register(_Sizes(agents, depth, leading))
        self._looks = Counter("holdfast_reconciles", "Looks at an Agent.", ["result"], registry=self._registry)
        self._seconds = Histogram("holdfast_reconcile_seconds", "Duration of a look.", buckets=_BUCKETS, registry=self._registry)
        self._requests = Counter(
            "holdfast_api_requests", "Requests to the API server, watches aside.", ["verb", "resource", "code"], registry=self._registry
        )

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
