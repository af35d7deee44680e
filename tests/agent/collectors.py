"""A real OpenTelemetry Collector for tests: it takes OTLP over HTTP and Zipkin, and its file exporter writes what it took."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import tools
from e2e.cluster.places import places
from holdfast_agent.local.ports import free_ports
from holdfast_agent.local.process import Process
from tests.agent.otlp import Receiver, spans_of

STARTED = "Everything is ready"
START_SECONDS = 60.0
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Collector:
    """Where a collector takes spans, and the files that it writes for each way that they came."""

    otlp: str
    zipkin: str
    folder: Path

    def came_by(self, way: str) -> Receiver:
        """What came by `otlp` or `zipkin` so far. The message that is being written is left for the next look."""
        written = bytearray((self.folder / way).read_bytes()) if (self.folder / way).exists() else bytearray()
        found, at = Receiver(getattr(self, way), [], written), 0
        while len(written) >= (start := at + _LENGTH_BYTES):
            at = start + int.from_bytes(written[at:start], "big")
            if at > len(written):
                break
            found.spans.extend(spans_of(bytes(written[start:at])))
        return found


def configuration(folder: Path, otlp: int, zipkin: int) -> dict[str, Any]:
    """A pipeline for each way in, so that a span is known by the way that it came."""

    def address(port: int) -> dict[str, Any]:
        return {"endpoint": f"127.0.0.1:{port}"}

    def written(way: str) -> dict[str, Any]:
        return {"path": str(folder / way), "format": "proto", "flush_interval": "100ms"}

    ways = ("otlp", "zipkin")
    return {
        "receivers": {"otlp": {"protocols": {"http": address(otlp)}}, "zipkin": address(zipkin)},
        "exporters": {f"file/{way}": written(way) for way in ways},
        "service": {
            "pipelines": {f"traces/{way}": {"receivers": [way], "exporters": [f"file/{way}"]} for way in ways},
        },
    }


def _written(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


@contextlib.asynccontextmanager
async def collecting(folder: Path) -> AsyncIterator[Collector]:
    """A collector for as long as it is used; `python3 -m e2e.cluster tools collector` builds its program."""
    program = tools.find(places(), "otel-collector", "otel-collector")
    otlp, zipkin = free_ports(2)
    config, log = _written(folder, configuration(folder, otlp, zipkin)), folder / "collector.log"
    process = Process("otel-collector", [program, "--config", f"file:{config}"], env={}, log=log)

    async def started() -> bool:
        return log.exists() and STARTED in log.read_text()

    process.start()
    try:
        await process.until(started, within=START_SECONDS)
        yield Collector(f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{zipkin}/api/v2/spans", folder)
    finally:
        await process.stop()
