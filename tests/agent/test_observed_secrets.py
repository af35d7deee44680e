"""What leaves the agent to be seen by others (logs, spans, metrics) holds nothing of what was said, however a run goes."""

import json

import pytest

from e2e.canaries import spellings
from holdfast_api.config import ApprovalConfig, HeaderFromEnv, LimitsConfig
from tests.agent.agents import TOKEN, http_tool
from tests.agent.conftest import API_TOKEN
from tests.agent.otlp import receiving

pytestmark = pytest.mark.dapr

# One for each place where something secret or private can stand.
CANARIES = {
    "task": "canarytask",
    "prompt": "canaryprompt",
    "argument": "canaryargument",
    "wrong argument": "canarywrong",
    "not an object": "canaryunparsed",
    "unknown tool's argument": "canaryunknown",
    "result": "canaryresult",
    "answer": "canaryanswer",
    "failing tool": "canaryfailing",
    "failing model": "canarymodelerror",
    "header": "canaryheader",
    "audit key": "canaryauditkey",
    "reason": "canaryreason",
}


def script():
    turns = [
        {"toolCalls": [{"name": "search", "arguments": {"city": CANARIES["argument"]}}]},
        {"toolCalls": [{"name": "search", "arguments": {"city": {"x": CANARIES["wrong argument"]}}}]},
        {"toolCalls": [{"name": "nonexistent", "arguments": {"city": CANARIES["unknown tool's argument"]}}]},
        {"toolCalls": [{"name": "flaky", "arguments": {"city": "Paris"}}]},
        {"toolCalls": [{"name": "book", "arguments": {"city": CANARIES["argument"]}}]},
        {"answer": CANARIES["answer"], "faults": [{"status": 500, "message": CANARIES["failing model"]}]},
    ]
    tools = {
        "search": {"result": CANARIES["result"]},
        "flaky": {"result": CANARIES["result"], "faults": [{"status": 503, "message": CANARIES["failing tool"]}]},
        "book": {"result": "booked"},
    }
    return {"rules": [{"turns": turns}], "tools": tools}


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


def tools(url):
    headed = http_tool(url, "search")
    guarded = headed.http.model_copy(update={"headers_from": (HeaderFromEnv(name="X-Key", env="TOOL_KEY"),)})
    return (headed.model_copy(update={"http": guarded}), http_tool(url, "flaky"), http_tool(url, "book"))


async def observed(stage, receiver, **more):
    """A run with everything in it: the agent's log, its metrics, the spans, and the run itself."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "HOLDFAST_AUDIT_KEY": CANARIES["audit key"],
        "HOLDFAST_LOG_LEVEL": "debug",
        "TOOL_KEY": CANARIES["header"],
    }
    here = await stage(script(), system_prompt=CANARIES["prompt"], environ=variables | more, limits=LimitsConfig(max_iterations=10))
    made = tools(here.script_url)
    approved = made[2].model_copy(update={"approval": ApprovalConfig(timeout_seconds=60)})
    here.agent.configure(here.config.model_copy(update={"tools": (*made[:2], approved)}))
    await here.agent.terminate()
    await here.agent.start()
    run = await here.agent.begin(CANARIES["task"])

    async def asked():
        return (await here.agent.run(run)).get("approvals")

    [approval] = await here.agent.until(asked)
    body = {"approved": True, "reason": CANARIES["reason"]}
    status, said = await here.agent.call("POST", f"/runs/{run}/approvals/{approval['call']}", json=body)
    assert status == 200, said
    view = await here.agent.ended(run)
    assert view["result"] == CANARIES["answer"]
    async with here.agent.session.get(f"{here.agent.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        metrics = await response.text()
    await here.agent.terminate()
    return here.agent.log.read_text(), metrics, bytes(receiver.raw).decode(errors="replace")


def on_disk(folder):
    """What the store, Dapr and the agent have written: documents and histories, and all logs."""
    files = [
        path
        for path in folder.rglob("*")
        if path.is_file() and (path.name.startswith("state.db") or path.suffix in {".log", ".db", ".wal"})
    ]
    return {path.name: path.read_bytes() for path in files}


async def test_keys_are_nowhere_in_the_store_or_in_any_log(stage, receiver, tmp_path):
    await observed(stage, receiver, HOLDFAST_FORMER_TOKEN="canaryformertoken")

    written = on_disk(tmp_path)
    # The search finds what is there: the task is kept, in the store.
    assert any(spelling in content for spelling in spellings(CANARIES["task"]) for content in written.values())
    assert any(name.startswith("state.db") for name in written)
    for secret in (CANARIES["header"], CANARIES["audit key"], TOKEN, API_TOKEN, "canaryformertoken"):
        hits = [name for name, content in written.items() for spelling in spellings(secret) if spelling in content]
        assert hits == [], secret


async def test_nothing_that_was_said_is_in_logs_spans_or_metrics(stage, receiver):
    log, metrics, spans = await observed(stage, receiver)

    assert '"message": "run ended"' in log
    assert 'holdfast_tool_calls_total{outcome="failed",tool="unknown"} 1.0' in metrics
    assert "invoke_agent" in spans
    for place, canary in CANARIES.items():
        for name, text in (("log", log), ("metrics", metrics), ("spans", spans)):
            at = text.find(canary)
            assert at < 0, f"{place} is in the {name}: {text[max(0, at - 300) : at + 50]}"
    assert TOKEN not in log + metrics + spans


async def test_content_is_in_spans_when_somebody_asked_for_it_and_keys_never_are(stage, receiver):
    log, metrics, spans = await observed(stage, receiver, OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true")

    for place in ("task", "argument", "result", "answer"):
        assert CANARIES[place] in spans, place
        assert CANARIES[place] not in log + metrics
    assert CANARIES["header"] not in spans
    assert CANARIES["audit key"] not in spans


async def test_lines_of_a_run_say_which_run_step_and_trace_they_belong_to(stage, receiver):
    log, _, _ = await observed(stage, receiver)

    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    answered = [line for line in lines if line["message"] in ("model answered", "tool answered")]
    assert len(answered) >= 5
    assert all(line["run"] and line["step"].startswith(line["run"]) for line in answered)
    [trace] = {line["trace_id"] for line in answered}
    assert trace in {span.trace for span in receiver.spans}
