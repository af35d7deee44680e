"""What Prometheus reads: it is true, it is bounded, and a restart does not lose what is stored."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from holdfast_agent.heads import Approval, Head, Trouble
from holdfast_agent.metrics import Metrics
from holdfast_agent.observer import kind_of
from holdfast_api.config import ApprovalConfig
from tests.agent.agents import TOKEN

SEARCH = {"name": "search", "arguments": {"city": "Paris"}}


def values(page):
    """(name, sorted labels) -> value."""
    families = text_string_to_metric_families(page)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def read(metrics):
    return values(metrics.page().decode())


def head(**more):
    fields = {"id": "r", "task": "t", "digest": "d", "revision": "abc", "created": 1.0, "deadline": 9.0, "max_iterations": 3}
    return Head(**fields | {"longest_call": 1.0} | more)


def test_runs_count_by_how_they_ended():
    metrics = Metrics()
    metrics.agent("a", "abc", [])
    for status in ("COMPLETED", "COMPLETED", "FAILED"):
        metrics.ended(head(status=status, ended=3.0))

    found = read(metrics)
    assert found["holdfast_runs_total", (("status", "completed"),)] == 2
    assert found["holdfast_runs_total", (("status", "failed"),)] == 1
    assert found["holdfast_runs_total", (("status", "canceled"),)] == 0
    assert found["holdfast_run_duration_seconds_sum", (("status", "completed"),)] == 4


def test_all_that_can_be_counted_is_there_from_the_start_so_that_the_first_of_its_kind_is_an_increase():
    metrics = Metrics()
    metrics.agent("a", "abc", ["search"])
    before = read(metrics)
    for status in ("COMPLETED", "FAILED", "CANCELED"):
        metrics.ended(head(status=status, ended=3.0))
    for outcome in ("completed", "failed", "unknown", "rejected", "skipped"):
        metrics.call(tool="search", outcome=outcome)
        metrics.call(tool="made up", outcome=outcome)
    for decision in ("approved", "rejected", "timedOut"):
        metrics.decided(decision)
    for key in ("r/1/model", "r/1/0", "r/1/0/undo", "r/recall", "r/1/compact", "r/1/evaluation", "r/20/pack", "r/finish"):
        for kind in ("transient", "permanent", "fatal"):
            metrics.failed(step=kind_of(key), kind=kind)

    assert read(metrics).keys() == before.keys()


def test_calls_of_tools_that_take_hours_are_told_apart():
    metrics = Metrics()
    metrics.tool(name="slow", seconds=4000.0)
    found = read(metrics)
    name = "holdfast_tool_call_duration_seconds_bucket"
    assert found[name, (("le", "3600.0"), ("tool", "slow"))] == 0
    assert found[name, (("le", "14400.0"), ("tool", "slow"))] == 1


def test_a_tool_that_the_model_made_up_makes_no_series_of_its_own():
    metrics = Metrics()
    metrics.agent("a", "abc", ["search"])
    for tool in ("search", "made up", "made up again"):
        metrics.call(tool=tool, outcome="failed")

    tools = {
        dict(labels)["tool"]: value for (name, labels), value in read(metrics).items() if name == "holdfast_tool_calls_total" and value
    }
    assert tools == {"search": 1, "unknown": 2}


def test_a_tool_of_an_older_revision_counts_under_its_name_once_it_was_called():
    metrics = Metrics()
    metrics.agent("a", "abc", ["search"])
    metrics.tool(name="former", seconds=0.1)
    metrics.call(tool="former", outcome="completed")

    assert read(metrics)["holdfast_tool_calls_total", (("outcome", "completed"), ("tool", "former"))] == 1


def test_open_runs_are_told_by_what_they_are_at():
    metrics = Metrics()
    asked = Approval(tool="book", digest="d", asked=1.0, until=9.0)
    waits = {kind: Trouble(key="r/1/0", attempt=1, message="", until=9.0, kind=kind) for kind in ("retry", "approval", "unknown")}
    metrics.open_runs(
        [
            head(),
            head(trouble=waits["retry"]),
            head(trouble=waits["approval"], approvals={"1/0": asked, "1/1": asked}),
            head(trouble=waits["unknown"]),
            head(suspended=2.0),
        ]
    )

    found = read(metrics)
    for state in ("running", "retrying", "awaiting_approval", "awaiting_outcome", "suspended"):
        assert found["holdfast_runs_active", (("state", state),)] == 1, state
    assert found["holdfast_approvals_waiting", ()] == 2
    metrics.open_runs([])
    assert read(metrics)["holdfast_approvals_waiting", ()] == 0


def test_the_payload_ratio_is_documents_over_workflow():
    metrics = Metrics()
    assert read(metrics)["holdfast_payload_ratio", ()] == 0
    metrics.counts_documents(lambda: 3000)
    metrics.passed(1000)

    found = read(metrics)
    assert (
        found["holdfast_payload_ratio", ()],
        found["holdfast_document_bytes_total", ()],
        found["holdfast_workflow_bytes_total", ()],
    ) == (
        3,
        3000,
        1000,
    )


async def scraped(here):
    async with here.agent.session.get(f"{here.agent.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain")
        return values(await response.text())


@pytest.mark.dapr
async def test_a_run_is_counted_as_it_went(stage):
    turns = [{"toolCalls": [SEARCH, SEARCH]}, {"toolCalls": [SEARCH]}, {"answer": "done"}]
    tools = {"search": {"result": "sunny " * 2000, "faults": [{"status": 503}]}}
    here = await stage({"rules": [{"turns": turns}], "tools": tools}, "search")
    view = await here.agent.ask("go")
    found = await scraped(here)

    model = (("gen_ai_operation_name", "chat"), ("gen_ai_provider_name", "openai"), ("gen_ai_request_model", "scripted"))
    assert found["holdfast_runs_started_total", ()] == 1
    assert found["holdfast_runs_total", (("status", "completed"),)] == 1
    assert found["holdfast_turns_total", ()] == 3
    assert found["holdfast_tool_calls_total", (("outcome", "completed"), ("tool", "search"))] == 3
    # The first attempt of each call failed.
    assert found["holdfast_tool_call_duration_seconds_count", (("tool", "search"),)] == 6
    assert found["holdfast_step_failures_total", (("kind", "transient"), ("step", "tool"))] == 3
    assert found["gen_ai_client_operation_duration_seconds_count", (("error_type", ""), *model)] == 3
    for kind in ("input", "output"):
        used = found["gen_ai_client_token_usage_sum", (*model, ("gen_ai_token_type", kind))]
        assert used == view["tokens"][kind]
    assert found["holdfast_payload_ratio", ()] > 1
    assert found["holdfast_agent_info", (("agent", "agent"), ("revision", here.config.revision))] == 1


@pytest.mark.dapr
async def test_a_run_that_waits_for_approval_is_seen_again_after_a_restart(stage):
    here = await stage(
        {"rules": [{"turns": [{"toolCalls": [SEARCH]}, {"answer": "done"}]}], "tools": {"search": {"result": "x"}}}, "search"
    )
    tool = here.config.tools[0].model_copy(update={"approval": ApprovalConfig(timeout_seconds=60)})
    await here.agent.terminate()
    here.agent.configure(here.config.model_copy(update={"tools": (tool,)}))
    await here.agent.start()
    run = await here.agent.begin("go")

    async def asked():
        return (await here.agent.run(run)).get("approvals")

    [approval] = await here.agent.until(asked)
    await here.agent.kill()
    await here.agent.start()

    async def waits():
        found = await scraped(here)
        return found["holdfast_approvals_waiting", ()] == 1 and found["holdfast_runs_active", (("state", "awaiting_approval"),)] == 1

    assert await here.agent.until(waits)
    await here.agent.call("POST", f"/runs/{run}/approvals/{approval['call']}", json={"approved": True})
    await here.agent.ended(run)
    found = await scraped(here)
    assert found["holdfast_approvals_total", (("decision", "approved"),)] == 1
    assert found["holdfast_runs_total", (("status", "completed"),)] == 1


@pytest.mark.dapr
async def test_metrics_are_behind_the_token(stage):
    here = await stage({"rules": [{"turns": [{"answer": "done"}]}], "tools": {}})

    assert (await here.agent.call("GET", "/metrics", token=None))[0] == 401
