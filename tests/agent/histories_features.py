"""More runs of which histories are kept: those that wait for people, are undone, or ask models for more than the next turn."""

from collections.abc import Awaitable, Callable
from typing import Any

from holdfast_api.config import ApprovalConfig, EvaluationConfig, LimitsConfig, ModelConfig, OutputConfig
from tests.agent.agents import Stage
from tests.agent.histories import RUN, SEARCH, Build, Scenario

PAY = {"name": "pay", "arguments": {"city": "Paris"}}
UNDOING = {"pay": {"compensate": "refund"}}
TOOLS = ("search", "pay", "refund")
SUMMING = "sum up the work on a task"
CRITIC = "You judge an answer against criteria"
SCHEMA = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}


def _script(*turns: dict[str, Any], before: tuple[dict[str, Any], ...] = (), **tools: dict[str, Any]) -> dict[str, Any]:
    return {"rules": [*before, {"turns": list(turns)}], "tools": {name: tools.get(name, {}) for name in TOOLS}}


async def _ended(here: Stage, **more: Any) -> str:
    await here.agent.begin("go", id=RUN, **more)
    return (await here.agent.ended(RUN, within=90))["status"]


async def _control(here: Stage, verb: str, **body: Any) -> None:
    status, answer = await here.agent.call("POST", f"/runs/{RUN}/{verb}", json=body)
    assert status in {200, 202}, answer


def _shows(here: Stage, probe: Callable[[dict[str, Any]], Any]) -> Callable[[], Awaitable[Any]]:
    async def shows() -> Any:
        return probe(await here.agent.run(RUN))

    return shows


async def approval(build: Build) -> str:
    """A call that waits for a person beside one that does not; approved."""
    script = _script({"toolCalls": [PAY, SEARCH]}, {"answer": "done"})
    here = await build(script, *TOOLS, changed={"pay": {"approval": ApprovalConfig()}})
    await here.agent.begin("go", id=RUN)
    await here.agent.until(_shows(here, lambda view: view.get("approvals")))
    await _control(here, "approvals/1.0", approved=True)
    return (await here.agent.ended(RUN))["status"]


async def approval_too_late(build: Build) -> str:
    """A call for which nobody decides in time; the model is told."""
    script = _script({"toolCalls": [PAY]}, {"answer": "done"})
    return await _ended(await build(script, *TOOLS, changed={"pay": {"approval": ApprovalConfig(timeout_seconds=1)}}))


async def failure_with_saga(build: Build) -> str:
    """Two calls that are undone because the model refuses the key after them."""
    script = _script({"toolCalls": [PAY]}, {"toolCalls": [PAY, SEARCH]}, {"answer": "never", "faults": [{"status": 401, "times": 9}]})
    return await _ended(await build(script, *TOOLS, changed=UNDOING))


async def cancel_with_saga(build: Build) -> str:
    """A run that is canceled during a call, which is left to settle and then undone, with one retry."""
    script = _script(
        {"toolCalls": [PAY]},
        {"toolCalls": [SEARCH]},
        {"answer": "never"},
        search={"latency": "1s"},
        refund={"faults": [{"status": 503, "retryAfter": 1}]},
    )
    here = await build(script, *TOOLS, changed=UNDOING)
    await here.agent.begin("go", id=RUN)

    async def searching() -> bool:
        return any(call["name"] == "search" for call in (await here.ledger("tool"))["calls"])

    await here.agent.until(searching)
    await _control(here, "cancel", reason="plans changed")
    return (await here.agent.ended(RUN))["status"]


async def suspend(build: Build) -> str:
    """A run that is suspended during a call, waits at its next turn, and is resumed."""
    here = await build(_script({"toolCalls": [SEARCH]}, {"answer": "done"}, search={"latency": "500ms"}), *TOOLS)
    await here.agent.begin("go", id=RUN)
    await here.agent.until(lambda: here.underway("tool"))
    await _control(here, "suspend")
    waits = _shows(here, lambda view: view["status"] == "SUSPENDED")
    await here.agent.until(waits)

    async def settled() -> bool:
        return not await here.underway("tool")

    await here.agent.until(settled)
    await _control(here, "resume")
    return (await here.agent.ended(RUN))["status"]


async def compaction(build: Build) -> str:
    """A run that outgrows its model and sums itself up."""
    full = {"usage": {"input": 350, "output": 10}}
    before = (
        {"system": SUMMING, "turns": [{"answer": "It is sunny.", "usage": {"input": 100, "output": 5}}]},
        {"task": "It is sunny", "turns": [{"answer": "done", "repeat": 9}]},
    )
    script = _script({"toolCalls": [SEARCH]}, {"toolCalls": [SEARCH]}, {"toolCalls": [SEARCH], **full}, {"answer": "lost"}, before=before)
    model = ModelConfig(component="llm", label="openai/scripted", timeout_seconds=30, context_tokens=400)
    return await _ended(await build(script, "search", model=model))


async def session(build: Build) -> str:
    """A run that begins with what was said before in its session."""
    here = await build(_script({"answer": "done"}))
    await here.agent.ask("hello", session_id="ours")
    return await _ended(here, session_id="ours")


async def fallback(build: Build) -> str:
    """A model that refuses its key, and the next one, which is kept."""
    refused = {"model": "scripted", "turns": [{"answer": "never", "faults": [{"status": 401, "times": 9}]}]}
    second = ModelConfig(component="second", label="openai/second", timeout_seconds=30)
    model = ModelConfig(component="llm", label="openai/scripted", timeout_seconds=30, fallbacks=(second,))
    script = _script({"toolCalls": [SEARCH]}, {"answer": "done"}, before=(refused,))
    return await _ended(await build(script, *TOOLS, models=["second"], model=model))


async def closing_answer(build: Build) -> str:
    """A limit that is reached, after which the model gives its best answer."""
    before = ({"messages": "limit", "turns": [{"answer": "as far as I got"}]},)
    script = _script({"toolCalls": [SEARCH, SEARCH]}, {"answer": "never"}, before=before)
    return await _ended(await build(script, *TOOLS, limits=LimitsConfig(max_tool_calls=1, on_exceeded="answer")))


async def repair(build: Build) -> str:
    """An answer that does not fit its schema, and the one that does."""
    before = ({"task": "the schema wants type", "turns": [{"answer": '{"total": 3}'}]},)
    script = _script({"answer": '{"total": "three"}'}, before=before)
    return await _ended(await build(script, output=OutputConfig(schema=SCHEMA)))


async def evaluation(build: Build) -> str:
    """An answer that a critic sends back, and the one that it accepts."""
    before = (
        {"system": CRITIC, "task": "Buongiorno", "turns": [{"answer": '{"accepted": true}'}]},
        {"system": CRITIC, "turns": [{"answer": '{"accepted": false, "feedback": "Say it in Italian."}'}]},
        {"task": "Say it in Italian", "turns": [{"answer": "Buongiorno."}]},
    )
    return await _ended(await build(_script({"answer": "Hello."}, before=before), evaluation=EvaluationConfig(criteria="Be Italian.")))


FEATURES: dict[str, Scenario] = {
    "approval": approval,
    "approval-too-late": approval_too_late,
    "failure-with-saga": failure_with_saga,
    "cancel-with-saga": cancel_with_saga,
    "suspend": suspend,
    "compaction": compaction,
    "session": session,
    "fallback": fallback,
    "closing-answer": closing_answer,
    "repair": repair,
    "evaluation": evaluation,
}
