"""`spec.observability`: traces, logs and metrics of the agent and its sidecar."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from holdfast_api.v1alpha1.types import ApiModel, Rule, Url, address

_COLLECTOR = r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$"
_SOMEWHERE = Rule(
    "!has(self.samplingRate) || has(self.otlp) || has(self.zipkin)",
    "samplingRate needs somewhere to send traces to: give otlp or zipkin",
    lambda tracing: "sampling_rate" not in tracing.model_fields_set or bool(tracing.otlp or tracing.zipkin),
)


class Tracing(ApiModel):
    """Where spans are sent, and of how many runs."""

    RULES = (_SOMEWHERE,)

    sampling_rate: Annotated[str, StringConstraints(max_length=16, pattern=r"^(0(\.[0-9]+)?|1(\.0+)?)$")] = Field(
        default="1",
        description='Share of runs that are traced, from "0" to "1". What a caller traces is traced.',
    )
    otlp: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=_COLLECTOR), AfterValidator(address)] | None = Field(
        default=None,
        description="URL of a collector that speaks OTLP over HTTP, for example http://otel-collector.monitoring:4318. "
        "It gets the spans of the agent and of the sidecar.",
    )
    zipkin: Url | None = Field(
        default=None, description="URL that takes Zipkin spans, for example http://zipkin:9411/api/v2/spans. It gets the sidecar's alone."
    )


class Observability(ApiModel):
    """Traces, logs and metrics."""

    tracing: Tracing | None = Field(default=None, description="Left out: no spans are made, unless `env` says so.")
    api_logging: bool = Field(default=False, description="true: the sidecar logs each call of its API, without addresses' details.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Of the agent and of the sidecar.")
    metrics: bool = Field(
        default=True, description="false: the sidecar serves no metrics. The agent's own are always at /metrics of its port."
    )
