"""A real sidecar takes the Configuration and the Resiliency that the operator writes, and its spans and the agent's reach one collector."""

import pytest

from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import resolve
from holdfast_operator.desired.configuration import configuration
from holdfast_operator.desired.resiliency import resiliency
from tests.agent.otlp import receiving

DEFAULTS = AgentDefaults.model_validate({"model": {"component": "llm"}, "state": {"component": "store"}})
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def fields(collector):
    return {
        "observability": {"tracing": {"otlp": collector, "samplingRate": "1"}, "apiLogging": True, "metrics": False},
        "resiliency": {
            "model": {"circuitBreaker": {"consecutiveFailures": 3, "timeout": "1m"}},
            "tools": {"circuitBreaker": {}},
            "state": {"timeout": "20s", "circuitBreaker": {}},
        },
        "tools": [{"name": "critic", "agent": {"name": "critic"}}],
        "access": {"callers": ["planner"]},
    }


@pytest.mark.dapr
async def test_the_sidecar_takes_it_and_spans_of_both_reach_the_collector(stage, tmp_path):
    async with receiving() as receiver:
        found = parse_agent({"metadata": {"name": "agent", "uid": "u"}, "spec": fields(receiver.url)})
        resolved = resolve(found, DEFAULTS, {})
        policy = resiliency(found, resolved.config, [])
        stage = await stage(
            {"rules": [{"turns": [{"answer": "done"}]}]},
            configuration=configuration(found, resolved)["spec"],
            resources=[policy | {"metadata": {"name": "fields"}}],
            environ={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url},
        )
        traceparent = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        status, run = await stage.agent.call("POST", "/run", json={"task": "go"}, headers=traceparent)
        assert status == 202, run
        assert (await stage.agent.ended(run["instance_id"]))["status"] == "COMPLETED"

        async def both():
            spans = receiver.of(TRACE)
            return any("ConverseAlpha2" in span.name for span in spans) and any(span.name.startswith("invoke_agent") for span in spans)

        await stage.agent.until(both, within=60)
    log = "".join(path.read_text() for path in tmp_path.rglob("daprd.log"))
    assert "Loading Resiliency configuration: fields" in log
    assert [line for line in log.splitlines() if "level=error" in line and "esilien" in line] == []
