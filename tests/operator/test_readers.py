"""Statuses that the operator writes, as Argo CD and kstatus (Helm 4, Flux) read them. Golden ones first, then a real API server.

`HOLDFAST_GOLDEN=write pytest ...` writes tests/data/operator/statuses.yaml anew: read the diff.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast_api import conditions
from holdfast_operator import kinds
from holdfast_operator.facts import DeploymentFacts, PodFacts, Problem
from holdfast_operator.observe import Findings, Observed, Verdict, failed, observe
from holdfast_operator.status import condition_list, status_fields
from tests.operator.live import Api, World
from tests.operator.readers import argo_health, kstatus
from tests.operator.test_children import change, made

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "operator" / "statuses.yaml"
GOOD = DeploymentFacts(generation=2, observed_generation=2, wanted=1, replicas=1, updated=1, ready=1, available=1)
STARTING = replace(GOOD, updated=1, ready=0, available=0)
NONE = replace(GOOD, wanted=0, replicas=0, updated=0, ready=0, available=0)
CRASHING = PodFacts("u", "1", 1.0, "r", ready=False, problem=Problem(conditions.AGENT_CRASHING, "agent", "exit code 1"))
TAKEN = failed(conditions.CHILD_NAME_TAKEN, "Service 'a' belongs to somebody else", stalled=True)
GONE = failed(conditions.CONFIG_MAP_NOT_FOUND, "ConfigMap 'prompt' does not exist")
RETRYING = Verdict("Unknown", conditions.RETRYING, "500 InternalError: failed calling webhook")

CASES: dict[str, tuple[Observed, str, str, str]] = {
    # name: what is known, health in Argo CD, how its message begins, kstatus
    "ready": (Observed(Findings(), GOOD), "Healthy", "Succeeded: 1 of 1 pods are ready", "Current"),
    "starting": (Observed(Findings(), STARTING), "Progressing", "Progressing: 0 of 1 pods of this revision are ready", "InProgress"),
    "lost": (
        Observed(Findings(), replace(STARTING, completed=True), was_available=True),
        "Progressing",
        "NotReady: 0 of 1 pods of this revision are ready, and no rollout is under way",
        "InProgress",
    ),
    "not-seen": (Observed(Findings()), "Progressing", "NotYetKnown: There is no Deployment yet", "InProgress"),
    "crashing": (
        Observed(Findings(), STARTING, (CRASHING,), "r"),
        "Progressing",
        "AgentCrashing: The agent ends: exit code 1",
        "InProgress",
    ),
    "crashed-for-long": (
        Observed(Findings(), replace(STARTING, deadline_exceeded="timed out"), (CRASHING,), "r"),
        "Degraded",
        "AgentCrashing: The agent ends: exit code 1",
        "Failed",
    ),
    "name-taken": (Observed(Findings(accepted=TAKEN)), "Degraded", "ChildNameTaken: Service 'a' belongs to somebody else", "Failed"),
    "waiting": (
        Observed(Findings(references=GONE), GOOD),
        "Progressing",
        "ConfigMapNotFound: ConfigMap 'prompt' does not exist",
        "InProgress",
    ),
    "retrying": (
        Observed(Findings(accepted=RETRYING), GOOD),
        "Progressing",
        "ProgressingWithRetry: 500 InternalError: failed calling webhook",
        "InProgress",
    ),
    "suspending": (
        Observed(Findings(), replace(NONE, replicas=1), suspended=True),
        "Progressing",
        "Progressing: 1 pods are still to end",
        "InProgress",
    ),
    "suspended": (
        Observed(Findings(), NONE, suspended=True),
        "Suspended",
        "Suspended: No pods, as spec.suspend asks; runs wait in the store",
        "Current",
    ),
    "suspended-in-trouble": (
        Observed(Findings(accepted=TAKEN), NONE, suspended=True),
        "Degraded",
        "ChildNameTaken: Service 'a' belongs to somebody else",
        "Failed",
    ),
    "scaled-to-zero": (
        Observed(Findings(), NONE),
        "Healthy",
        "Succeeded: No pods, as spec.replicas asks; runs wait in the store",
        "Current",
    ),
}


def written(observed: Observed) -> dict[str, Any]:
    """An Agent with the status that the operator writes of it."""
    now = "2026-01-01T00:00:00Z"
    status = status_fields(
        name="a",
        namespace="ns",
        generation=2,
        found=condition_list(observe("a", observed), [], generation=2, now=now),
        deployment=observed.deployment,
        revision=observed.revision,
        model="echo/echo",
    )
    spec = {"suspend": True} if observed.suspended else {}
    return {"metadata": {"name": "a", "namespace": "ns", "generation": 2}, "spec": spec, "status": status}


def golden(name: str) -> dict[str, Any]:
    return yaml.safe_load(GOLDEN.read_text())[name]


def test_the_golden_statuses_are_what_the_operator_writes() -> None:
    found = {name: written(observed) for name, (observed, *_) in CASES.items()}
    if os.environ.get("HOLDFAST_GOLDEN") == "write":
        GOLDEN.write_text(yaml.safe_dump(found, sort_keys=False, width=140))

    assert found == yaml.safe_load(GOLDEN.read_text())


@pytest.mark.parametrize("name", CASES)
def test_argo_cd_shows_the_health_and_the_reason_of_what_the_operator_wrote(name: str) -> None:
    _, status, message, _ = CASES[name]

    shown = argo_health(golden(name))
    assert shown.status == status
    assert shown.message.startswith(message)


@pytest.mark.parametrize("name", CASES)
def test_by_the_rules_of_kstatus_the_same_statuses_are_in_progress_failed_or_current(name: str) -> None:
    assert kstatus(golden(name)) == CASES[name][3]


@pytest.mark.parametrize("name", CASES)
def test_what_was_said_of_an_earlier_generation_counts_for_neither(name: str) -> None:
    changed = golden(name)
    changed["metadata"]["generation"] = 3

    assert argo_health(changed).status == "Progressing"
    assert kstatus(changed) == "InProgress"


@pytest.mark.parametrize("name", CASES)
def test_argo_cd_and_kstatus_never_contradict_each_other(name: str) -> None:
    same = {"Healthy": "Current", "Suspended": "Current", "Progressing": "InProgress", "Degraded": "Failed"}

    assert same[argo_health(golden(name)).status] == kstatus(golden(name))


@pytest.mark.parametrize(
    ("status", "health"),
    [
        (None, "Progressing"),
        ({}, "Progressing"),
        ({"observedGeneration": -1}, "Progressing"),
        ({"observedGeneration": 1}, "Progressing"),
        ({"observedGeneration": 1, "conditions": []}, "Progressing"),
        ({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "Unknown"}]}, "Progressing"),
        ({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "False"}]}, "Degraded"),
        ({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}, "Healthy"),
        (
            {"observedGeneration": 1, "conditions": [{"type": "Stalled", "status": "False"}, {"type": "Ready", "status": "True"}]},
            "Healthy",
        ),
    ],
    ids=str,
)
def test_argo_cd_is_given_an_answer_for_a_status_with_holes(status: dict | None, health: str) -> None:
    agent = {"metadata": {"name": "a", "generation": 1}, "spec": {}} | ({} if status is None else {"status": status})

    assert argo_health(agent).status == health


@pytest.mark.apiserver
async def test_an_agents_life_as_the_api_server_has_it_reads_right_at_every_step(world: World, namespace: str, api: Api) -> None:
    def read() -> tuple[str, str]:
        live = api.get(kinds.AGENT, namespace, "a")
        return argo_health(live).status, kstatus(live)

    async def rolled_out() -> None:
        api.roll_out(namespace, "a")
        world.hear(kinds.DEPLOYMENT, namespace, "a")
        await world.look(namespace, "a")

    theirs = {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}
    api.create(kinds.SERVICE, namespace, theirs)
    api.agent(namespace, "a")
    assert read() == ("Progressing", "InProgress"), "not looked at yet"
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    assert read() == ("Degraded", "Failed"), "a name is taken"
    api.delete(kinds.SERVICE, namespace, "a")
    await world.look(namespace, "a")
    assert read() == ("Progressing", "InProgress"), "pods start"
    await rolled_out()
    assert read() == ("Healthy", "Current")
    complete = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
    lost = {"readyReplicas": 0, "availableReplicas": 0, "conditions": [complete]}
    api.patch(kinds.DEPLOYMENT, namespace, "a", {"status": lost}, status=True)
    for _ in range(2):
        world.hear(kinds.DEPLOYMENT, namespace, "a")
        world.hear(kinds.AGENT, namespace, "a")
        await world.look(namespace, "a")
        assert (*read(), api.condition(namespace, "a")["reason"]) == ("Progressing", "InProgress", "NotReady"), "its pod is lost"
    assert "NotReady" in {event["reason"] for event in api.list(kinds.EVENT, namespace)}
    await rolled_out()
    assert read() == ("Healthy", "Current")
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"suspend": True}})
    assert read() == ("Progressing", "InProgress"), "a change that nobody has looked at"
    world.hear(kinds.AGENT, namespace, "a")
    await world.look(namespace, "a")
    await rolled_out()
    assert read() == ("Suspended", "Current")


@pytest.mark.apiserver
async def test_a_missing_config_map_is_waited_for_by_both(world: World, namespace: str, api: Api) -> None:
    prompt = {"systemPromptFrom": {"configMapKeyRef": {"name": "prompt", "key": "text"}}}
    await made(world, namespace)
    await change(world, namespace, prompt)

    live = api.get(kinds.AGENT, namespace, "a")
    assert argo_health(live).status == "Progressing"
    assert argo_health(live).message.startswith("ConfigMapNotFound: ")
    assert kstatus(live) == "InProgress"
