"""An OTLP receiver for tests: what an agent and a sidecar send, as plain spans."""

import contextlib
import gzip
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse


@dataclass(frozen=True)
class Span:
    """One span as it was received; ids in hex, an empty parent for none."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    failed: bool
    began: int
    ended: int
    kind: int
    attributes: dict[str, Any] = field(hash=False)


@dataclass
class Receiver:
    """Where spans arrive. `raw` is every byte of them, for tests that look for what must not be there."""

    url: str
    spans: list[Span]
    raw: bytearray

    def of(self, trace: str) -> list[Span]:
        """The spans of one trace, each once: one that was made again after a crash must be the same to the last attribute."""
        found: dict[str, Span] = {}
        for span in self.spans:
            if span.trace == trace:
                assert found.setdefault(span.id, span) == span, (found[span.id], span)
        return list(found.values())


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver for as long as it is used."""
    listener = socket.create_server(("127.0.0.1", 0))
    receiver = Receiver(f"http://127.0.0.1:{listener.getsockname()[1]}", [], bytearray())

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        data = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        receiver.raw += data
        receiver.spans += spans_of(data)
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf")

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()


def spans_of(data: bytes) -> list[Span]:
    """The spans of one message."""
    resources = ExportTraceServiceRequest.FromString(data).resource_spans
    services = [_plain(resource.resource.attributes).get("service.name", "") for resource in resources]
    each = zip(services, resources, strict=True)
    return [_span(service, span) for service, resource in each for scope in resource.scope_spans for span in scope.spans]


def _span(service: str, span: Any) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        kind=span.kind,
        attributes=_plain(span.attributes),
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {item.key: _value(item.value) for item in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind) if kind else None
