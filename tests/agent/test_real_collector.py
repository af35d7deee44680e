"""One run in a real OpenTelemetry Collector, sent there by agent and sidecar as an Agent's fields say."""

import pytest

from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import resolve
from holdfast_operator.desired.configuration import configuration
from holdfast_operator.desired.deployment import PodInputs, template
from holdfast_operator.desired.pins import Kept
from tests.agent.agents import TOKEN
from tests.agent.collectors import collecting
from tests.agent.conftest import API_TOKEN

pytestmark = pytest.mark.dapr

DEFAULTS = AgentDefaults.model_validate({"model": {"component": "llm"}, "state": {"component": "store"}})
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CANARIES = {
    "task": "canarytask",
    "prompt": "canaryprompt",
    "argument": "canaryargument",
    "result": "canaryresult",
    "answer": "canaryanswer",
}
SCRIPT = {
    "rules": [
        {"turns": [{"toolCalls": [{"name": "search", "arguments": {"city": CANARIES["argument"]}}]}, {"answer": CANARIES["answer"]}]}
    ],
    "tools": {"search": {"result": CANARIES["result"]}},
}


def made_of(tracing):
    """The sidecar's Configuration and the container's variables that the operator makes of an Agent's `observability.tracing`."""
    found = parse_agent(
        {"metadata": {"name": "agent", "namespace": "default", "uid": "u"}, "spec": {"observability": {"tracing": tracing}}}
    )
    resolved = resolve(found, DEFAULTS, {})
    [container] = template(found, PodInputs("image", resolved, DEFAULTS, "", Kept()))["spec"]["containers"]
    environ = {entry["name"]: entry["value"] for entry in container["env"] if entry["name"].startswith("OTEL_")}
    return {"configuration": configuration(found, resolved)["spec"], "environ": environ}


def way_up(span, spans):
    """Names from a span up to the one whose parent nobody sent, and that parent."""
    by_id, names = {each.id: each for each in spans}, [span.name]
    while span.parent in by_id:
        span = by_id[span.parent]
        names.append(span.name)
    return names, span.parent


async def test_agent_sidecar_and_workflow_are_one_trace_in_a_real_collector_and_nothing_that_was_said_is_in_it(stage, tmp_path):
    async with collecting(tmp_path / "collector") as collector:
        fields = made_of({"otlp": collector.otlp, "zipkin": collector.zipkin, "samplingRate": "1"})
        here = await stage(SCRIPT, "search", system_prompt=CANARIES["prompt"], **fields)
        caller = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        status, run = await here.agent.call("POST", "/run", json={"task": CANARIES["task"]}, headers=caller)
        assert status == 202, run
        assert (await here.agent.ended(run["instance_id"]))["result"] == CANARIES["answer"]

        async def whole():
            came = {way: {span.name.lower() for span in collector.came_by(way).of(TRACE)} for way in ("otlp", "zipkin")}
            return "orchestration||agent" in came["otlp"] & came["zipkin"] and "invoke_agent agent" in came["otlp"]

        await here.agent.until(whole, within=60)
        sent, zipkin = collector.came_by("otlp"), collector.came_by("zipkin")

    spans = sent.of(TRACE)
    assert {way_up(span, spans)[1] for span in spans} == {CALLER}, "every span hangs below the caller's"
    named = {span.name: span for span in spans}
    top = "invoke_agent agent"
    started = ["orchestration||agent", "create_orchestration||agent", "/TaskHubSidecarService/StartInstance", top]
    for way in (
        [top],
        ["chat scripted", top],
        ["execute_tool search", top],
        ["/dapr.proto.runtime.v1.Dapr/ConverseAlpha2", "chat scripted", top],
        ["activity||model", *started],
        ["activity||tool", *started],
    ):
        assert way_up(named[way[0]], spans)[0] == way
    chat, tool = named["chat scripted"].attributes, named["execute_tool search"].attributes
    assert (chat["gen_ai.operation.name"], chat["gen_ai.request.model"], tool["gen_ai.operation.name"]) == (
        "chat",
        "scripted",
        "execute_tool",
    )
    assert chat["gen_ai.usage.input_tokens"] > 0
    assert chat["gen_ai.usage.output_tokens"] > 0
    assert tool["gen_ai.tool.name"] == "search"
    # Zipkin gets the sidecar's spans alone, and the same ones.
    sidecars = {span.id for span in zipkin.of(TRACE)}
    assert sidecars <= {span.id for span in spans if not span.name.startswith(("invoke_agent", "chat", "execute_tool"))}
    for secret in (*CANARIES.values(), TOKEN, API_TOKEN):
        assert secret.encode() not in sent.raw + zipkin.raw, secret
