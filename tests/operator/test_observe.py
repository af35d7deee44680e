"""What lives -> conditions, by table."""

from dataclasses import replace

import pytest

from holdfast_api import conditions
from holdfast_api.v1alpha1 import SecretKeyRef
from holdfast_operator.events import turned
from holdfast_operator.facts import DeploymentFacts, PodFacts, Problem, pod_facts
from holdfast_operator.observe import Findings, Observed, failed, observe, was_available

GOOD = DeploymentFacts(generation=2, observed_generation=2, wanted=1, replicas=1, updated=1, ready=1, available=1)
ROLLING = replace(GOOD, replicas=2, ready=1, available=1, updated=1)
SECRETS = (SecretKeyRef(name="openai", key="api-key"),)


def pod(problem: Problem | None, *, revision: str = "r2", created: float = 1.0) -> PodFacts:
    return PodFacts(uid="u", version="1", created=created, revision=revision, ready=False, problem=problem)


def seen(deployment: DeploymentFacts | None = GOOD, *pods: PodFacts, **more: object) -> dict:
    return observe("a", Observed(findings=Findings(), deployment=deployment, pods=pods, revision="r2", secrets=SECRETS, **more))


def test_all_is_well() -> None:
    found = seen()

    assert {found[kind].status for kind in (conditions.READY, *conditions.SUMMARISED)} == {"True"}
    assert conditions.RECONCILING not in found
    assert conditions.STALLED not in found


@pytest.mark.parametrize(
    "deployment",
    [
        replace(GOOD, observed_generation=1),
        replace(GOOD, updated=0),
        replace(GOOD, available=0),
        replace(GOOD, replicas=2),
        replace(GOOD, wanted=3),
    ],
    ids=["generation-lags", "old-pods", "not-available", "old-pods-too", "too-few"],
)
def test_a_rollout_under_way_is_reconciling_and_not_ready(deployment: DeploymentFacts) -> None:
    found = seen(deployment)

    assert (found[conditions.READY].status, found[conditions.READY].reason) == ("False", conditions.PROGRESSING)
    assert found[conditions.RECONCILING].status == "True"
    assert conditions.STALLED not in found


def test_a_rollout_beyond_its_deadline_is_stalled() -> None:
    found = seen(replace(ROLLING, deadline_exceeded="timed out"))

    assert found[conditions.AVAILABLE].reason == conditions.ROLLOUT_TIMEOUT
    assert found[conditions.STALLED].status == "True"
    assert conditions.RECONCILING not in found


def test_pods_that_are_lost_without_a_rollout_are_not_on_their_way() -> None:
    lost = replace(GOOD, ready=0, available=0, completed=True)

    found = seen(lost, was_available=True)

    assert (found[conditions.READY].status, found[conditions.READY].reason) == ("False", conditions.NOT_READY)
    assert "kubectl describe pod -l holdfast.dev/agent=a" in found[conditions.READY].message
    assert turned({}, found) == found[conditions.READY], "that is worth an Event"
    crashing = seen(lost, pod(Problem(conditions.AGENT_CRASHING, "agent", "x")), was_available=True)
    assert crashing[conditions.READY].reason == conditions.AGENT_CRASHING, "a pod that says why comes first"
    for other in (seen(lost), seen(replace(lost, completed=False), was_available=True), seen(replace(lost, observed_generation=1))):
        assert other[conditions.READY].reason == conditions.PROGRESSING


@pytest.mark.parametrize(
    ("condition", "was"),
    [
        ({"status": "True", "reason": conditions.SUCCEEDED, "observedGeneration": 2}, True),
        ({"status": "False", "reason": conditions.NOT_READY, "observedGeneration": 2}, True),
        ({"status": "False", "reason": conditions.PROGRESSING, "observedGeneration": 2}, False),
        ({"status": "True", "reason": conditions.SUCCEEDED, "observedGeneration": 1}, False),
        ({}, False),
    ],
    ids=["available", "lost", "starting", "before-the-change", "nothing-said"],
)
def test_whether_pods_were_ready_is_read_from_the_status(condition: dict, was: bool) -> None:  # noqa: FBT001
    said = {"conditions": [{"type": conditions.ACCEPTED, "status": "True"}, {"type": conditions.AVAILABLE, **condition}]}

    assert was_available(said, 2) is was
    assert not was_available({}, 2)


def test_no_deployment_yet_is_not_known_yet() -> None:
    found = seen(None)

    assert (found[conditions.READY].status, found[conditions.READY].reason) == ("Unknown", conditions.UNKNOWN)
    assert found[conditions.RECONCILING].status == "True"


CASES = [
    (Problem(conditions.IMAGE_PULL_FAILED, "agent", "x:1: not found"), conditions.AVAILABLE, conditions.IMAGE_PULL_FAILED, "spec.image"),
    (
        Problem(conditions.SIDECAR_CRASHING, "daprd", "exit code 1"),
        conditions.AVAILABLE,
        conditions.SIDECAR_CRASHING,
        "-c daprd --previous",
    ),
    (Problem(conditions.AGENT_CRASHING, "agent", "exit code 2: bad"), conditions.AVAILABLE, conditions.AGENT_CRASHING, "exit code 2: bad"),
    (Problem(conditions.UNSCHEDULABLE, "", "0/1 nodes"), conditions.AVAILABLE, conditions.UNSCHEDULABLE, "0/1 nodes"),
    (Problem(conditions.SIDECAR_NOT_INJECTED, "daprd", ""), conditions.AVAILABLE, conditions.SIDECAR_NOT_INJECTED, "dapr-sidecar-injector"),
    (
        Problem(conditions.CONTAINER_CONFIG_ERROR, "daprd", 'secret "openai" not found'),
        conditions.REFERENCES_RESOLVED,
        conditions.SECRET_NOT_FOUND,
        "kubectl create secret generic openai --from-literal=api-key=VALUE",
    ),
    (
        Problem(conditions.CONTAINER_CONFIG_ERROR, "daprd", "couldn't find key api-key in Secret ns/openai"),
        conditions.REFERENCES_RESOLVED,
        conditions.SECRET_KEY_NOT_FOUND,
        "kubectl patch secret openai",
    ),
    (
        Problem(conditions.CONTAINER_CONFIG_ERROR, "agent", "couldn't find key token in Secret ns/a-app-token"),
        conditions.REFERENCES_RESOLVED,
        conditions.SECRET_KEY_NOT_FOUND,
        "delete the Secret and it is made anew",
    ),
    (
        Problem(conditions.CONTAINER_CONFIG_ERROR, "agent", 'configmap "extra" not found'),
        conditions.REFERENCES_RESOLVED,
        conditions.CONFIG_MAP_NOT_FOUND,
        "'extra'",
    ),
    (
        Problem(conditions.CONTAINER_CONFIG_ERROR, "agent", "couldn't find key k in ConfigMap ns/extra"),
        conditions.REFERENCES_RESOLVED,
        conditions.CONFIG_MAP_KEY_NOT_FOUND,
        "'extra' has no key 'k'",
    ),
    (
        Problem(conditions.CONTAINER_CONFIG_ERROR, "agent", "container has runAsNonRoot and image will run as root"),
        conditions.AVAILABLE,
        conditions.CONTAINER_CONFIG_ERROR,
        "run as root",
    ),
]


@pytest.mark.parametrize(
    ("problem", "condition", "reason", "words"), CASES, ids=[f"{case[0].container}-{case[2]}-{i}" for i, case in enumerate(CASES)]
)
def test_a_pods_trouble_has_its_reason_and_its_fix(problem: Problem, condition: str, reason: str, words: str) -> None:
    found = seen(replace(GOOD, available=0, ready=0), pod(problem))

    assert (found[condition].status, found[condition].reason) == ("False", reason)
    assert words in found[condition].message
    assert found[conditions.READY].reason == reason
    assert found[conditions.RECONCILING].status == "True"


def test_a_pod_of_the_new_revision_speaks_before_one_of_the_old() -> None:
    old = pod(Problem(conditions.UNSCHEDULABLE, "", "old"), revision="r1", created=9.0)
    new = pod(Problem(conditions.IMAGE_PULL_FAILED, "agent", "new"), created=1.0)

    found = seen(ROLLING, old, new)

    assert found[conditions.AVAILABLE].reason == conditions.IMAGE_PULL_FAILED
    assert "keep serving" not in found[conditions.AVAILABLE].message


def test_pods_of_an_earlier_revision_that_go_on_are_counted() -> None:
    old = replace(pod(None, revision="r1"), ready=True)
    new = pod(Problem(conditions.IMAGE_PULL_FAILED, "agent", "new"))

    assert seen(ROLLING, old, new)[conditions.AVAILABLE].message.endswith(". 1 of an earlier revision keep serving")


def test_only_pods_of_the_wanted_revision_are_counted_as_ready() -> None:
    old, new = replace(pod(None, revision="r1"), ready=True), pod(None)

    assert seen(ROLLING, old, new)[conditions.AVAILABLE].message == "0 of 1 pods of this revision are ready"


@pytest.mark.parametrize("said", [{"deadline_exceeded": "timed out"}, {"refusal": "exceeded quota", "updated": 0}])
def test_what_was_said_of_an_earlier_generation_is_no_verdict_on_this_one(said: dict) -> None:
    found = seen(replace(ROLLING, observed_generation=1, **said))

    assert found[conditions.AVAILABLE].reason == conditions.PROGRESSING
    assert conditions.STALLED not in found


def test_trouble_of_old_pods_does_not_spoil_a_complete_rollout() -> None:
    assert seen(GOOD, pod(Problem(conditions.UNSCHEDULABLE, "", "old")))[conditions.READY].status == "True"


@pytest.mark.parametrize(
    ("message", "condition", "reason", "words"),
    [
        (
            'pods "a-x" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities (container "daprd" must set ...)',
            conditions.AVAILABLE,
            conditions.POD_SECURITY_REFUSED,
            "dapr_sidecar_injector.sidecarDropALLCapabilities=true",
        ),
        (
            'pods "a-x" is forbidden: error looking up service account ns/bot: serviceaccount "bot" not found',
            conditions.REFERENCES_RESOLVED,
            conditions.SERVICE_ACCOUNT_NOT_FOUND,
            "'bot'",
        ),
        ('pods "a-x" is forbidden: exceeded quota: q', conditions.AVAILABLE, conditions.POD_REFUSED, "exceeded quota"),
    ],
)
def test_refused_pods_have_their_reason(message: str, condition: str, reason: str, words: str) -> None:
    found = seen(replace(GOOD, replicas=0, updated=0, ready=0, available=0, refusal=message))

    assert found[condition].reason == reason
    assert words in found[condition].message


def test_suspended_is_ready_once_the_pods_are_gone() -> None:
    going = replace(GOOD, wanted=0)
    assert seen(going, suspended=True)[conditions.READY].reason == conditions.PROGRESSING

    gone = replace(going, replicas=0, updated=0, ready=0, available=0)
    assert (seen(gone, suspended=True)[conditions.READY].status, seen(gone, suspended=True)[conditions.READY].reason) == (
        "True",
        conditions.SUSPENDED,
    )


def test_a_refused_agent_is_stalled_while_its_old_pods_are_available() -> None:
    findings = Findings(accepted=failed(conditions.INVALID_SPEC, "spec.x: bad", stalled=True))

    found = observe("a", Observed(findings=findings, deployment=GOOD))

    assert found[conditions.READY].message == "spec.x: bad"
    assert found[conditions.STALLED].status == "True"
    assert found[conditions.AVAILABLE].status == "True"
    assert found[conditions.DAPR_CONFIGURED].status == "Unknown"


def live_pod(**status: object) -> dict:
    return {
        "metadata": {"name": "p", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-11-21T10:00:00Z"},
        "spec": {"initContainers": [{"name": "daprd"}], "containers": [{"name": "agent"}]},
        "status": status,
    }


def waiting(name: str, reason: str, message: str = "") -> dict:
    return {"name": name, "ready": False, "restartCount": 3, "image": "i:1", "state": {"waiting": {"reason": reason, "message": message}}}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"containerStatuses": [waiting("agent", "ImagePullBackOff")]}, conditions.IMAGE_PULL_FAILED),
        ({"containerStatuses": [waiting("agent", "InvalidImageName")]}, conditions.IMAGE_PULL_FAILED),
        ({"initContainerStatuses": [waiting("daprd", "CreateContainerConfigError", "x")]}, conditions.CONTAINER_CONFIG_ERROR),
        ({"initContainerStatuses": [waiting("daprd", "CrashLoopBackOff")]}, conditions.SIDECAR_CRASHING),
        ({"containerStatuses": [waiting("agent", "CrashLoopBackOff")]}, conditions.AGENT_CRASHING),
        (
            {
                "initContainerStatuses": [waiting("daprd", "CrashLoopBackOff")],
                "containerStatuses": [waiting("agent", "CreateContainerConfigError", "x")],
            },
            conditions.CONTAINER_CONFIG_ERROR,
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m"}]},
            conditions.UNSCHEDULABLE,
        ),
        ({"containerStatuses": [waiting("agent", "ContainerCreating")]}, None),
        ({"containerStatuses": [waiting("agent", "PodInitializing")], "initContainerStatuses": []}, None),
        ({}, None),
    ],
)
def test_a_pods_status_comes_to_one_problem(status: dict, reason: str | None) -> None:
    problem = pod_facts(live_pod(**status)).problem

    assert (problem.reason if problem else None) == reason


def test_a_crash_that_is_restarted_is_told_with_its_last_words() -> None:
    ended = {"terminated": {"exitCode": 1, "message": "x" * 5000 + " the config names no model", "reason": "Error"}}
    container = {"name": "agent", "ready": False, "restartCount": 1, "state": {"running": {}}, "lastState": ended}

    problem = pod_facts(live_pod(containerStatuses=[container])).problem

    assert problem is not None
    assert problem.detail.endswith("the config names no model")
    assert len(problem.detail) < 700


def test_a_pod_that_recovered_from_a_crash_has_no_problem() -> None:
    container = {"name": "agent", "ready": True, "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}}

    assert pod_facts(live_pod(containerStatuses=[container])).problem is None


def test_ready_pods_with_another_image_do_not_count_as_pods_of_this_change() -> None:
    before = replace(pod(None, created=1.0), ready=True, template="t1")
    new = replace(pod(Problem(conditions.IMAGE_PULL_FAILED, "agent", "x"), created=2.0), template="t2")

    message = seen(ROLLING, before, new)[conditions.AVAILABLE].message

    assert message.endswith(". 1 of an earlier revision keep serving")
    assert seen(ROLLING, before, replace(new, problem=None))[conditions.AVAILABLE].message == "0 of 1 pods of this revision are ready"


def test_a_pod_that_is_ending_has_no_problem_and_is_not_ready() -> None:
    crashed = {"name": "agent", "ready": False, "restartCount": 0, "state": {"terminated": {"exitCode": 143}}}
    live = live_pod(containerStatuses=[crashed], conditions=[{"type": "Ready", "status": "True"}])
    live["metadata"]["deletionTimestamp"] = "2026-11-21T10:00:00Z"

    assert (pod_facts(live).problem, pod_facts(live).ready) == (None, False)

    del live["metadata"]["deletionTimestamp"], live["status"]["conditions"]
    assert pod_facts(live).problem is not None


def test_an_evicted_pod_tells_why_it_was_ended() -> None:
    crashed = {"name": "agent", "ready": False, "restartCount": 0, "state": {"terminated": {"exitCode": 137}}}

    problem = pod_facts(live_pod(phase="Failed", reason="Evicted", message="low on memory", containerStatuses=[crashed])).problem

    assert problem == Problem(conditions.POD_FAILED, "", "Evicted: low on memory")
    assert "Evicted" in seen(ROLLING, pod(problem))[conditions.AVAILABLE].message
