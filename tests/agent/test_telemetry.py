"""What the environment asks for in traces, and which span is whose."""

import pytest

from holdfast_agent.scope import Trace
from holdfast_agent.telemetry import Sampler, Telemetry, provider_and_model, root_of, wanted

ID, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = Trace(ID, CALLER, sampled=True)
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_traces_are_sent_only_where_an_endpoint_says_so(environ, expected):
    assert wanted(environ) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"00-{ID}-{CALLER}-01", PARENT),
        (f"00-{ID}-{CALLER}-00", Trace(ID, CALLER, sampled=False)),
        (f"cc-{ID}-{CALLER}-01-more", PARENT),
        (f"00-{ID}-{CALLER}-01-more", None),
        (f"ff-{ID}-{CALLER}-01", None),
        (f"00-{'0' * 32}-{CALLER}-01", None),
        (f"00-{ID}-{'0' * 16}-01", None),
        (f"00-{ID.upper()}-{CALLER}-01", None),
        ("", None),
        (None, None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_wants(text, expected):
    assert Trace.parse(text) == expected


def test_every_process_makes_the_same_ids_and_each_effect_another():
    assert PARENT.child("r/1/0/1/1") == PARENT.child("r/1/0/1/1")
    assert len({PARENT.child(name).span_id for name in ("r", "r/1/0/1/1", "r/1/0/2/1", "r/1/1/1/1")}) == 4
    assert Trace("1" * 32, CALLER, sampled=True).child("r").span_id != PARENT.child("r").span_id


def telemetry(environ=ENDPOINT, *, own=True):
    return Telemetry("agent", own=own, sampler=Sampler(environ))


def test_a_run_in_a_callers_trace_has_its_root_below_the_caller():
    root, parent = root_of(telemetry().begin("r", str(PARENT)), "r")

    assert (root.trace_id, parent) == (ID, CALLER)
    assert root.span_id not in (CALLER, "0" * 16)


def test_a_run_that_nobody_traces_has_a_trace_of_its_own_and_no_parent():
    begun = telemetry().begin("r", None)
    root, parent = root_of(begun, "r")

    assert parent is None
    assert str(root) == begun, "what the head keeps is where the run is"
    assert telemetry().begin("r", None) != begun


def test_without_an_endpoint_a_callers_trace_is_kept_and_none_is_begun():
    assert telemetry(own=False).begin("r", str(PARENT)) == str(PARENT)
    assert telemetry(own=False).begin("r", None) is None
    assert telemetry(own=False).root(str(PARENT), "r") == PARENT


@pytest.mark.parametrize(
    ("sampler", "argument", "parent", "expected"),
    [
        ("parentbased_always_on", "", None, True),
        ("parentbased_always_on", "", Trace(ID, CALLER, sampled=False), False),
        ("always_on", "", Trace(ID, CALLER, sampled=False), True),
        ("always_off", "", PARENT, False),
        ("parentbased_always_off", "", PARENT, True),
        ("parentbased_always_off", "", None, False),
        ("traceidratio", "0", None, False),
        ("traceidratio", "1", None, True),
        ("parentbased_traceidratio", "0", PARENT, True),
    ],
)
def test_the_sampler_is_the_one_that_the_environment_names(sampler, argument, parent, expected):
    environ = {"OTEL_TRACES_SAMPLER": sampler} | ({"OTEL_TRACES_SAMPLER_ARG": argument} if argument else {})

    assert Sampler(environ).sampled(ID, parent) is expected


def test_a_ratio_takes_that_share_of_traces_and_the_same_ones_everywhere():
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}
    traces = [f"{number:016x}{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}" for number in range(1, 2001)]
    taken = [trace for trace in traces if Sampler(environ).sampled(trace, None)]

    assert 400 < len(taken) < 600
    assert taken == [trace for trace in traces if Sampler(environ).sampled(trace, None)]


def test_a_ratio_that_is_none_traces_every_run():
    assert Sampler({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"}).sampled(ID, None)


def test_models_are_named_as_the_conventions_want():
    assert provider_and_model("openai/gpt-5-mini") == ("openai", "gpt-5-mini")
    assert provider_and_model("bedrock/anthropic.claude/v2") == ("aws.bedrock", "anthropic.claude/v2")
    assert provider_and_model("component/own") == ("component", "own")
    assert provider_and_model("echo") == ("echo", "echo")


def test_opentelemetrys_sdk_is_imported_only_where_traces_are_sent():
    import subprocess
    import sys

    code = "import sys, holdfast_agent.program; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
