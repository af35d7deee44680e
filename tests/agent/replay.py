"""Recorded histories: how they are taken from a running agent, kept, and replayed with other code. The only place that replays.

Pinned to dapr 1.19.0 like `holdfast_agent.engine`: the executor and the registry used here are private parts of the SDK.

What a workflow decided is recorded where it is decided, in the worker: each work item with the events before it, the new ones, and the
actions that the code answered with. Asking Dapr for a history afterwards would show the last generation only, and no decisions.

A file holds one run: `{"scenario", "dapr", "generations": [{"instance", "events", "items": [{"past", "new", "actions"}]}]}`. An item's
past is the first `past` events of its generation, and its new ones are the next `new`.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dapr.ext.workflow._durabletask.internal.protos as pb
from dapr.ext.workflow import WorkflowRuntime
from dapr.ext.workflow._durabletask import worker
from google.protobuf.json_format import MessageToDict, ParseDict

from holdfast_agent.loop import WORKFLOW

ROOT: Final = Path(__file__).resolve().parents[2]
HISTORIES: Final = ROOT / "tests" / "data" / "histories"
DAPR: Final = "1.19.0"
NON_DETERMINISM: Final = "NonDeterminismError"
_QUIET: Final = logging.getLogger("replay")
_QUIET.setLevel(logging.CRITICAL)

Json = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """One time that the workflow was woken: what had happened, what is new, and what it then did."""

    instance: str
    past: list[Json]
    new: list[Json]
    actions: list[Json]


def recording_program(records: Path, *, before: str = "") -> str:
    """Python text for `agent_process(program=…)`: an agent that writes down each work item.

    Args:
        records: a line of JSON for each is appended to it.
        before: Python text to run first.
    """
    return f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.agent import replay
replay.write_down({str(records)!r})
{before}
from holdfast_agent.__main__ import main
sys.exit(main(["serve", "--host", "127.0.0.1", "--port", sys.argv[1]]))
"""


def write_down(records: str) -> None:
    """From now on, append each work item that this process carries out to a file."""
    plain = worker._OrchestrationExecutor.execute

    def execute(self: Any, instance_id: str, old_events: Any, new_events: Any, **more: Any) -> Any:
        past, new = _events(old_events), _events(new_events)
        results = plain(self, instance_id, old_events, new_events, **more)
        record = {"instance": instance_id, "past": past, "new": new, "actions": _actions(results)}
        with Path(records).open("a") as file:
            file.write(json.dumps(record) + "\n")
        return results

    worker._OrchestrationExecutor.execute = execute


def compact(records: Path, run: str) -> list[Json]:
    """The generations of one run out of what was written down."""
    generations: list[Json] = []
    for line in records.read_text().splitlines():
        record = json.loads(line)
        if record["instance"] != run:
            continue
        known = record["past"] + record["new"]
        if not record["past"] and not (generations and generations[-1]["events"][: len(known)] == known):
            generations.append({"instance": run, "events": [], "items": []})
        generation = generations[-1]
        events = generation["events"]
        assert known[: len(events)] == events[: len(known)], "a later work item tells another past than an earlier one"
        generation["events"] = max(events, known, key=len)
        item = {"past": len(record["past"]), "new": len(record["new"]), "actions": record["actions"]}
        if item not in generation["items"]:  # handed out again after a lost connection
            generation["items"].append(item)
    return generations


def ended(generations: list[Json]) -> bool:
    """Whether the last decision was to end. The run's head says so a moment earlier."""
    return any("completeWorkflow" in action for action in generations[-1]["items"][-1]["actions"])


def save(path: Path, generations: list[Json]) -> None:
    """Write a history, one event and one item a line, so that a difference can be read."""
    parts = []
    for one in generations:
        events, items = (",\n    ".join(json.dumps(entry) for entry in one[name]) for name in ("events", "items"))
        parts.append(f'{{"instance": {json.dumps(one["instance"])}, "events": [\n    {events}\n  ], "items": [\n    {items}\n  ]}}')
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f'{{"scenario": {json.dumps(path.stem)}, "dapr": {json.dumps(DAPR)}, "generations": [\n  '
    path.write_text(head + ",\n  ".join(parts) + "\n]}\n")


def items(generations: list[Json]) -> Iterator[Item]:
    """All work items, in order."""
    for one in generations:
        for item in one["items"]:
            past, end = item["past"], item["past"] + item["new"]
            yield Item(one["instance"], one["events"][:past], one["events"][past:end], item["actions"])


def replay(workflow: Callable[..., Any], item: Item) -> list[Json]:
    """What that workflow does when it is woken for this item."""
    executor = worker._OrchestrationExecutor(_registry(workflow), _QUIET)
    return _actions(executor.execute(item.instance, [_event(one) for one in item.past], [_event(one) for one in item.new]))


def differences(workflow: Callable[..., Any], generations: list[Json]) -> list[str]:
    """What the workflow does otherwise than was recorded, in words; none if it can carry the run on from each of its items."""
    found = []
    for number, item in enumerate(items(generations)):
        actual = replay(workflow, item)
        error = next((one for action in actual if (one := _failure(action).get("errorType")) == NON_DETERMINISM), None)
        if error or not covers(actual, item.actions):
            found.append(f"item {number} of {item.instance}:{f' {error}' if error else ''}\n  recorded {item.actions}\n  now      {actual}")
    return found


def covers(actual: Any, recorded: Any) -> bool:
    """Whether everything that was recorded is there now, with the same values. Fields may have been added, also in JSON inside strings."""
    if isinstance(recorded, dict):
        return isinstance(actual, dict) and all(name in actual and covers(actual[name], value) for name, value in recorded.items())
    if isinstance(recorded, list):
        return isinstance(actual, list) and len(actual) == len(recorded) and all(map(covers, actual, recorded))
    if isinstance(recorded, str) and recorded.startswith("{") and isinstance(actual, str):
        return covers(json.loads(actual), json.loads(recorded))
    return bool(actual == recorded)


def _registry(workflow: Callable[..., Any]) -> Any:
    def entry(ctx: Any, payload: Any) -> Any:
        return workflow(ctx, payload)

    runtime = WorkflowRuntime()
    runtime.register_workflow(entry, name=WORKFLOW)
    return runtime._WorkflowRuntime__worker._registry


def _events(events: Any) -> list[Json]:
    return [_without_trace(MessageToDict(event)) for event in events]


def _event(event: Json) -> Any:
    return ParseDict(event, pb.HistoryEvent())


def _actions(results: Any) -> list[Json]:
    return [_without_trace(MessageToDict(action)) for action in results.actions]


def _without_trace(document: Json) -> Json:
    """The same without stack traces, which tell of the machine and not of the run."""
    return {name: _without_trace(value) if isinstance(value, dict) else value for name, value in document.items() if name != "stackTrace"}


def _failure(action: Json) -> Json:
    ended = action.get("completeWorkflow") or {}
    return ended.get("failureDetails") or {}
