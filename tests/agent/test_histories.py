"""Runs that an older version began are carried on by this one: recorded histories are replayed with the code of today."""

import os
import re
from typing import Any

import pytest

from holdfast_agent import loop
from holdfast_agent.workflow import agent
from tests.agent import histories, replay
from tests.agent.histories_features import FEATURES

RECORDED = sorted(replay.HISTORIES.glob("*/*.json"))
SCENARIOS = histories.SCENARIOS | FEATURES
ENDS_BADLY = {"failure", "limit", "run-timeout", "timeout-in-a-wait", "failure-with-saga", "cancel-with-saga"}
NOT_OURS = re.compile(r"/(home|root|tmp|work|usr)/|127\.0\.0\.1:\d+|Traceback")


def _generations(path) -> list[Any]:
    return replay.json.loads(path.read_text())["generations"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_run_is_carried_on_from_each_of_its_steps(path):
    assert replay.differences(agent, _generations(path)) == []


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_run_tells_nothing_of_the_machine_that_recorded_it(path):
    assert not NOT_OURS.search(path.read_text())


def test_every_shape_has_every_kind_of_run_of_its_time_and_goes_through_generations():
    shapes = {path.parent.name for path in RECORDED}
    assert "v1" in shapes
    for shape in shapes:
        assert len(_generations(replay.HISTORIES / shape / "generations.json")) == 3


def test_code_that_asks_for_something_else_is_caught():
    def changed(ctx, payload):
        yield ctx.call_activity("prepare", input={})
        return (yield from agent(ctx, payload))

    found = replay.differences(changed, _generations(replay.HISTORIES / "v1" / "one-tool.json"))
    assert len(found) == 4
    assert replay.NON_DETERMINISM in found[1]


@pytest.mark.parametrize("name", ["tool_steps", "model_step", "pack_step", "finish_step", "poke_event"])
def test_a_change_of_any_step_is_caught(name, monkeypatch):
    plain = getattr(loop, name)

    def changed(*arguments):
        made = plain(*arguments)
        if isinstance(made, str):
            return f"{made}/new"
        steps = made if isinstance(made, list) else [made]
        steps = [loop.replace(step, input={"renamed": step.input}) for step in steps]
        return steps if isinstance(made, list) else steps[0]

    monkeypatch.setattr(loop, name, changed)
    assert any(replay.differences(agent, _generations(path)) for path in RECORDED)


@pytest.mark.dapr
@pytest.mark.parametrize("name", SCENARIOS)
async def test_what_is_recorded_today_replays_and_can_be_kept(name, stage, tmp_path, eventually):
    records = tmp_path / "records.jsonl"

    async def build(script, *tools, before="", **more):
        return await stage(script, *tools, program=replay.recording_program(records, before=before), **more)

    async def whole():
        found = replay.compact(records, histories.RUN)
        return found if replay.ended(found) else None

    status = await SCENARIOS[name](build)
    generations = await eventually(whole)
    assert replay.differences(agent, generations) == []
    assert (status == "COMPLETED") == (name not in ENDS_BADLY)
    if shape := os.environ.get("RECORD_SHAPE"):
        replay.save(replay.HISTORIES / shape / f"{name}.json", generations)
