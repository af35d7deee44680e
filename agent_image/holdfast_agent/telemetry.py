"""Traces of runs, as OpenTelemetry's GenAI conventions want them: one `invoke_agent` for the run, one `chat` or `execute_tool` a call.

A run outlives processes, so no span is kept open. Each is made when it has ended, from facts that are in documents or at hand, and its id
is made from the run's trace and the effect's key: whoever carries the step out again after a crash makes the same span, and a parent's id
is known before the parent is there. The root is made by whoever ends the run.

OpenTelemetry is imported by `Telemetry.open`, and only when an endpoint is named: without one it costs nothing.
"""

import json
import logging
import os
import secrets
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from holdfast_agent.heads import Head
from holdfast_agent.scope import CHAT, Operation, Trace

_LOG = logging.getLogger(__name__)
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_DELAY: Final = "OTEL_BSP_SCHEDULE_DELAY"
_DELAY_MILLIS: Final = 200.0
"""How long an ended span may wait for others before it is sent. The default of 5 s is what a crash would cost."""
_LAST_SECONDS: Final = 2.0
_HTTP: Final = "http/protobuf"
_NANO: Final = 1_000_000_000

PROVIDERS: Final = {
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "deepseek": "deepseek",
    "googleai": "gcp.gemini",
    "mistral": "mistral_ai",
    "openai": "openai",
}
"""Names of `gen_ai.provider.name` for ours; others are given as they are."""


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether spans are to be sent anywhere."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER", "").lower() == "none":
        return False
    if not any(environ.get(name) for name in _ENDPOINTS):
        return False
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _HTTP)
    if protocol != _HTTP:
        _LOG.error(
            "no traces: OTLP is spoken as %s only, and %s is %r: set it, and the port (4318 as a rule)", _HTTP, _PROTOCOLS[1], protocol
        )
        return False
    return True


def provider_and_model(label: str) -> tuple[str, str]:
    """A model's label as the conventions want it."""
    provider, _, model = label.partition("/")
    return PROVIDERS.get(provider, provider), model or label


def messages(role: str, text: str, calls: Iterable[tuple[str, str, str]] = ()) -> str:
    """One message as the conventions want it; `calls` are (id, tool, arguments)."""
    parts: list[dict[str, str]] = [{"type": "text", "content": text}] if text else []
    parts += [{"type": "tool_call", "id": number, "name": name, "arguments": asked} for number, name, asked in calls]
    return json.dumps([{"role": role, "parts": parts}], ensure_ascii=False)


def root_of(text: str | None, run: str) -> tuple[Trace, str | None] | None:
    """Where the span of the run itself is, and its parent's id.

    Args:
        text: `Head.trace`: the caller's traceparent, or, of a run that nobody's trace led to, that of the run itself.
        run: its id.
    """
    trace = Trace.parse(text)
    if trace is None:
        return None
    own = Trace(trace.trace_id, trace.span_id, trace.sampled).child(run)
    return own, None if own.span_id == trace.span_id else trace.span_id


class Sampler:
    """Which runs that nobody's trace led to are traced, by OTEL_TRACES_SAMPLER; those of a caller are as the caller's trace is."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._name = environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower()
        argument = environ.get("OTEL_TRACES_SAMPLER_ARG", "1")
        try:
            self._ratio = min(1.0, max(0.0, float(argument)))
        except ValueError:
            _LOG.error("OTEL_TRACES_SAMPLER_ARG is %r and not a number from 0 to 1: every run is traced", argument)
            self._ratio = 1.0

    def sampled(self, trace_id: str, parent: Trace | None) -> bool:
        """Whether the run is traced; the same for one trace wherever it is asked."""
        if parent is not None and self._name.startswith("parentbased"):
            return parent.sampled
        if self._name.endswith("always_off"):
            return False
        return not self._name.endswith("traceidratio") or int(trace_id[16:], 16) < self._ratio * (1 << 64)


class Telemetry:
    """Makes spans and sends them, or only passes on what callers send."""

    def __init__(self, agent: str, *, own: bool, sampler: Sampler, content: bool = False) -> None:
        """See `open`."""
        self.own, self._agent, self._sampler, self._content = own, agent, sampler, content
        self._processor: Any = None
        self._exporter: Any = None
        self._resource: Any = None
        self._scope: Any = None

    @classmethod
    def open(cls, agent: str, *, pod: str, revision: str, environ: Mapping[str, str]) -> "Telemetry":
        """What the environment asks for.

        Args:
            agent: its name, which is the service's too unless OTEL_SERVICE_NAME says otherwise.
            pod: names this process.
            revision: that new runs begin with.
            environ: OTEL_* variables. The exporter itself reads the process's own.
        """
        made = cls(agent, own=wanted(environ), sampler=Sampler(environ), content=environ.get(_CONTENT, "").lower() == "true")
        if made.own:
            made._connect(pod, revision, delay=None if environ.get(_DELAY) else _DELAY_MILLIS)
            _LOG.info("traces are sent by OTLP")
        return made

    def begin(self, run: str, traceparent: str | None) -> str | None:
        """What the head of a new run keeps as its trace."""
        parent = Trace.parse(traceparent)
        if not self.own:
            return str(parent) if parent else None
        trace_id = parent.trace_id if parent else secrets.token_hex(16)
        sampled = self._sampler.sampled(trace_id, parent)
        if parent:
            return str(Trace(trace_id, parent.span_id, sampled))
        return str(Trace(trace_id, "0" * 16, sampled).child(run))

    def root(self, text: str | None, run: str) -> Trace | None:
        """Where what a run calls has its parent: the run's own span, or the caller's where no spans are made here."""
        if not self.own:
            return Trace.parse(text)
        found = root_of(text, run)
        return found[0] if found else None

    def operation(self, run: str, operation: Operation) -> None:
        """A call of a model or a tool that has ended becomes a span."""
        trace = operation.trace
        if not (self.own and trace and trace.sampled and operation.parent):
            return
        attributes = {"gen_ai.operation.name": operation.kind, "holdfast.run.id": run, "holdfast.step": operation.step}
        if operation.kind == CHAT:
            provider, model = provider_and_model(operation.name)
            attributes |= {"gen_ai.provider.name": provider, "gen_ai.request.model": model}
        else:
            attributes |= {"gen_ai.tool.name": operation.name, "gen_ai.tool.type": "function"}
        attributes |= {name: value for name, value in operation.facts.items() if value is not None}
        if self._content:
            attributes |= {attribute: said() for attribute, said in operation.content.items()}
        name = f"{operation.kind} {attributes.get('gen_ai.request.model', operation.name)}"
        self._emit(
            name,
            trace,
            operation.parent,
            began=operation.began,
            ended=operation.ended,
            attributes=attributes,
            error=operation.error,
            client=operation.kind == CHAT,
        )

    def ended(self, head: Head) -> None:
        """The span of the run itself."""
        found = root_of(head.trace, head.id)
        if not (self.own and found and found[0].sampled and head.ended is not None):
            return
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": self._agent,
            "gen_ai.usage.input_tokens": head.usage.input_tokens,
            "gen_ai.usage.output_tokens": head.usage.output_tokens,
            "holdfast.run.id": head.id,
            "holdfast.run.status": head.status,
            "holdfast.revision": head.revision,
            "holdfast.turns": head.usage.turns,
            "holdfast.tool_calls": head.usage.tool_calls,
        }
        attributes |= {"gen_ai.conversation.id": head.session} if head.session else {}
        if self._content:
            attributes["gen_ai.input.messages"] = messages("user", head.task)
            attributes |= {"gen_ai.output.messages": messages("assistant", head.result)} if head.result else {}
        error = (head.error or {}).get("type") if head.status != "COMPLETED" else None
        root, parent = found
        self._emit(f"invoke_agent {self._agent}", root, parent, began=head.created, ended=head.ended, attributes=attributes, error=error)

    def close(self) -> None:
        """Send what waits, for some seconds at most. Blocks."""
        if not self._processor:
            return
        # The exporter tries for ten seconds to reach a collector that is away; once it is shut down it does not.
        enough = threading.Timer(_LAST_SECONDS, self._exporter.shutdown)
        enough.start()
        self._processor.shutdown()
        enough.cancel()

    def _connect(self, pod: str, revision: str, *, delay: float | None) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see the module's text
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": self._agent}
        self._resource = Resource.create(named | {"service.instance.id": pod, "service.version": revision})
        self._scope = InstrumentationScope("holdfast_agent")
        self._exporter = OTLPSpanExporter()
        self._processor = BatchSpanProcessor(self._exporter, schedule_delay_millis=delay)

    def _emit(
        self,
        name: str,
        trace: Trace,
        parent: str | None,
        *,
        began: float,
        ended: float,
        attributes: Mapping[str, Any],
        error: str | None,
        client: bool = False,
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 - see the module's text
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags  # noqa: PLC0415

        def context(span_id: str, *, remote: bool) -> SpanContext:
            return SpanContext(int(trace.trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED))

        span = ReadableSpan(
            name,
            context=context(trace.span_id, remote=False),
            parent=context(parent, remote=True) if parent else None,
            resource=self._resource,
            attributes=dict(attributes) | ({"error.type": error} if error else {}),
            kind=SpanKind.CLIENT if client else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR) if error else Status(StatusCode.UNSET),
            start_time=int(began * _NANO),
            end_time=int(ended * _NANO),
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)
