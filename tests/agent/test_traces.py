"""One connected trace per run, from the caller's span to every model and tool call, across crashes and processes."""

import asyncio

import pytest

from holdfast_agent.audit.lines import parse
from holdfast_agent.local.ports import free_ports
from holdfast_agent.scope import Trace
from tests.agent.agents import TOKEN
from tests.agent.otlp import receiving

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
SEARCH = {"name": "search", "arguments": {"city": "Paris"}}

pytestmark = pytest.mark.dapr


def script(*, tool="1ms", **more):
    return {
        "rules": [{"turns": [{"toolCalls": [SEARCH]}, {"answer": "done"}]}],
        "tools": {"search": {"latency": tool, "result": "sunny", **more}},
    }


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def traced(stage, receiver):
    """`await traced(script, ...)` -> a stage whose agent sends spans to `receiver`."""

    async def build(text, *tools, **more):
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url} | more.pop("variables", {})
        return await stage(text, *tools, environ=variables, **more)

    return build


async def begun(here, traceparent=PARENT, **more):
    headers = {"traceparent": traceparent} if traceparent else {}
    status, answer = await here.agent.call("POST", "/run", json={"task": "go", **more}, headers=headers)
    assert status == 202, answer
    return answer["instance_id"]


async def told(here):
    """The traceparent of each request that reached a tool."""
    return [call["detail"].get("traceparent") for call in (await here.ledger("tool"))["calls"]]


async def whole(here, receiver, trace):
    """All spans of a run that has ended; its own is sent last."""

    async def rooted():
        return any(span.name.startswith("invoke_agent") for span in receiver.of(trace))

    await here.agent.until(rooted)
    return receiver.of(trace)


def check_connected(spans, caller=CALLER):
    ids = {span.id for span in spans}
    assert {span.parent for span in spans} <= ids | {caller}, "every parent is there"
    roots = [span for span in spans if span.parent == caller]
    assert [span.name for span in roots] == ["invoke_agent agent"]
    return roots[0]


async def test_a_run_is_one_trace_under_the_callers_span(traced, receiver):
    here = await traced(script(), "search")
    run = await begun(here)
    await here.agent.ended(run)
    spans = await whole(here, receiver, TRACE)
    root = check_connected(spans)

    assert sorted(span.name for span in spans) == ["chat scripted", "chat scripted", "execute_tool search", "invoke_agent agent"]
    assert all(span.parent == root.id and root.began <= span.began <= span.ended <= root.ended for span in spans if span is not root)
    assert {span.service for span in spans} == {"agent"}
    assert root.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert root.attributes["gen_ai.agent.name"] == "agent"
    assert root.attributes["holdfast.run.id"] == run
    assert root.attributes["holdfast.tool_calls"] == 1
    chat = next(span for span in spans if span.name == "chat scripted")
    assert chat.attributes["gen_ai.provider.name"] == "openai"
    assert chat.attributes["gen_ai.request.model"] == "scripted"
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0
    assert chat.attributes["gen_ai.response.finish_reasons"]
    tool = next(span for span in spans if span.name == "execute_tool search")
    assert tool.attributes["gen_ai.tool.name"] == "search"
    assert tool.attributes["gen_ai.tool.type"] == "function"
    assert tool.attributes["holdfast.step"] == f"{run}/1/0"
    # The id by which the model asked for it, as in the messages that the model gets and gives.
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with here.agent.session.get(f"{here.agent.url}/runs/{run}/audit?documents=true", headers=headers) as lines:
        stored = dict(parse((await lines.read()).splitlines()))
    [asked] = stored[f"run/{run}/1/model"]["calls"]
    assert tool.attributes["gen_ai.tool.call.id"] == asked["id"] != tool.attributes["holdfast.step"]
    assert not any(span.failed for span in spans)


async def test_a_run_that_nobodys_trace_led_to_is_a_trace_of_its_own(traced, receiver):
    here = await traced(script(), "search")
    await here.agent.ended(await begun(here, traceparent=None))
    trace = (await here.agent.until(_any(receiver))).trace
    spans = await whole(here, receiver, trace)

    assert check_connected(spans, caller="").name == "invoke_agent agent"


def _any(receiver):
    async def arrived():
        return receiver.spans[0] if receiver.spans else None

    return arrived


async def test_a_run_killed_in_a_tool_call_is_still_one_trace_with_one_root_and_no_orphan(traced, receiver):
    here = await traced(script(tool="1s"), "search")
    run = await begun(here)
    await here.agent.until(lambda: here.underway("tool"))
    # Spans wait 0.2 s for others before they are sent; what waits when a process is killed is lost.
    await here.agent.until(_any(receiver))
    await here.agent.kill()
    await here.agent.start()
    assert (await here.agent.ended(run))["result"] == "done"
    spans = await whole(here, receiver, TRACE)
    check_connected(spans)

    assert sorted(span.name for span in spans) == ["chat scripted", "chat scripted", "execute_tool search", "invoke_agent agent"]
    # What the tool was told to be its parent is there, whichever process told it.
    parents = [Trace.parse(header) for header in await told(here)]
    assert len(parents) == 2
    [tool] = [span for span in spans if span.name == "execute_tool search"]
    assert {(trace.trace_id, trace.span_id) for trace in parents} == {(TRACE, tool.id)}


async def test_every_attempt_of_a_call_is_a_span_and_says_what_went_wrong(traced, receiver):
    here = await traced(script(faults=[{"status": 503}]), "search")
    await here.agent.ended(await begun(here))
    spans = await whole(here, receiver, TRACE)
    check_connected(spans)

    failed = [(span.failed, span.attributes.get("error.type")) for span in spans if span.name == "execute_tool search"]
    assert sorted(failed, key=str) == [(False, None), (True, "transient")]


async def test_a_trace_that_the_caller_does_not_record_is_passed_on_and_not_recorded(traced, receiver):
    here = await traced(script(), "search")
    await here.agent.ended(await begun(here, traceparent=f"00-{TRACE}-{CALLER}-00"))
    await here.agent.terminate()

    [header] = await told(here)
    assert header.startswith(f"00-{TRACE}-")
    assert header.endswith("-00")
    assert receiver.spans == []


async def test_without_an_endpoint_the_callers_trace_reaches_the_tools_as_it_came(stage):
    here = await stage(script(), "search")
    await here.agent.ended(await begun(here))

    assert await told(here) == [PARENT]


async def test_the_sidecars_own_spans_join_the_runs_trace(traced, receiver):
    address = receiver.url.removeprefix("http://")
    tracing = {"samplingRate": "1", "otel": {"endpointAddress": address, "isSecure": False, "protocol": "http"}}
    here = await traced(script(), "search", configuration={"tracing": tracing})
    await here.agent.ended(await begun(here))
    own = {span.id for span in await whole(here, receiver, TRACE)}

    async def joined():
        spans = receiver.of(TRACE)
        return [span for span in spans if span.id not in own and span.parent in {span.id for span in spans}]

    assert await here.agent.until(joined)


async def test_a_collector_that_is_away_holds_neither_runs_nor_the_stop_up(stage):
    (port,) = free_ports(1)
    here = await stage(script(), "search", environ={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"})
    for _ in range(3):
        await here.agent.ended(await begun(here), within=10)
    began = asyncio.get_running_loop().time()
    await here.agent.terminate()

    assert asyncio.get_running_loop().time() - began < 15
    assert '"message": "stopped"' in here.agent.log.read_text()
