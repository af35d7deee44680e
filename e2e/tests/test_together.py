"""Agents that work together in a cluster: a team under Dapr's access control and mTLS, events of a topic, and the clock."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import yaml

from e2e.holdfast import NAMESPACE as RELEASE
from e2e.holdfast import ROOT, kubectl
from e2e.tests.support import Caller, Ledger, Manifest, Namespace, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
TASK = "Plan three days in Rovinj"
ASKED = {"transport": "How does one get to Rovinj without a car?", "lodging": "Find a room in Rovinj for three nights"}
Applied = Callable[[str, Callable[[Manifest], Manifest]], list[str]]


@pytest.fixture
def applied(travel: Namespace) -> Iterator[Applied]:
    """Apply an example, perhaps changed, wait until its Agents are Ready, and delete them afterwards; returns their names."""
    names: list[str] = []

    def apply(example: str, change: Callable[[Manifest], Manifest]) -> list[str]:
        agents = [change(each) for each in yaml.safe_load_all((ROOT / "examples" / example).read_text())]
        these = [agent["metadata"]["name"] for agent in agents]
        names.extend(these)
        travel.apply(*agents)
        for name in these:
            travel.ready(name)
        return these

    yield apply
    for name in names:
        travel.run("delete", "agent", name, "--wait=false", "--ignore-not-found")


def test_a_team_answers_together_and_only_those_that_are_named_may_call(
    travel: Namespace, applied: Applied, caller: Callable[[Namespace, str], Caller], ledger: Ledger
) -> None:
    assert applied("team.yaml", as_it_is) == ["travel-planner", "transport", "lodging"]
    members = json.loads(travel.get("configmap", "holdfast-team-travel")["data"]["members.json"])
    assert {member["name"] for member in members} == {"travel-planner", "transport", "lodging"}

    planner = caller(travel, "travel-planner")
    ended = planner.ended(planner.start(TASK), within=180)

    assert (ended["status"], "three nights" in ended["result"]) == ("COMPLETED", True), ended
    assert {task: len(ledger.model(task)) for task in ASKED.values()} == dict.fromkeys(ASKED.values(), 1)


def test_one_event_is_one_run_whose_end_is_published_and_the_clock_begins_others(
    travel: Namespace, applied: Applied, caller: Callable[[Namespace, str], Caller]
) -> None:
    def every_minute(agent: Manifest) -> Manifest:
        for trigger in agent["spec"]["triggers"]:
            if "schedule" in trigger:
                trigger["schedule"] = {"cron": "* * * * *"}
        return agent

    (listener,), (watch,) = applied("topics.yaml", as_it_is), applied("nightly.yaml", every_minute)
    since = datetime.now(UTC).strftime("%Y%m%dT%H%MZ")
    event = {"specversion": "1.0", "type": "ask", "source": "e2e", "id": travel.name, "data": {"task": "Write a haiku"}}
    for _ in range(2):
        redis("XADD", "assistant.topic", "*", "data", json.dumps(event | {"datacontenttype": "application/json"}))

    told = eventually(lambda: redis("XRANGE", "assistant.results", "-", "+"), within=90, what="the end of a run is published")
    assert "lets go of nothing" in told
    runs = (caller(travel, listener).attempt("/runs") or {})["runs"]
    assert len(runs) == 1, runs

    def ticked() -> list[str]:
        begun = [run["id"] for run in (caller(travel, watch).attempt("/runs") or {}).get("runs", [])]
        return [run for run in begun if run.rpartition("-")[2] > since]

    eventually(ticked, within=100, what="a tick begins a run", every=2.0)


def as_it_is(agent: Manifest) -> Manifest:
    """The example, unchanged."""
    return agent


def redis(*command: str) -> str:
    """Ask the chart's Redis, which is the default broker."""
    return kubectl("exec", "-n", RELEASE, "holdfast-redis-0", "--", "redis-cli", *command, timeout=30).strip()
