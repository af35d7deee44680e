"""What is known of an Agent -> its conditions and counts. Pure.

`Ready` is the first of the four summarised conditions that is not True, or True. `Reconciling` and `Stalled` are there only while
they are True, so that kstatus (Helm, Flux, `kubectl wait`) reads the Agent right: Reconciling is *in progress*, Stalled is *will not
get better by waiting*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast_api import conditions
from holdfast_api.v1alpha1 import SecretKeyRef
from holdfast_operator.advice import advise_pod, advise_refusal
from holdfast_operator.facts import DeploymentFacts, PodFacts


@dataclass(frozen=True)
class Verdict:
    """Status, reason and message of one condition. `stalled`: only a change by somebody else mends it."""

    status: str
    reason: str
    message: str
    stalled: bool = False

    @property
    def good(self) -> bool:
        """Whether the status is True."""
        return self.status == "True"


@dataclass(frozen=True)
class Findings:
    """What went wrong on the way from the Agent to its children; None where nothing did."""

    accepted: Verdict | None = None
    references: Verdict | None = None
    dapr: Verdict | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        return self.accepted is None and self.references is None and self.dapr is None


@dataclass(frozen=True)
class Observed:
    """What there is to judge.

    Attributes:
        findings: of this visit.
        deployment: None when there is none.
        pods: all pods of the Agent, of any revision.
        revision: the revision that should run; None when the Agent was not accepted.
        suspended: whether the Agent asks for no pods.
        secrets: Secret keys that the pods refer to, for messages.
        was_available: all its pods were ready at this generation of the Agent, so nothing but a loss explains that some are not.
    """

    findings: Findings
    deployment: DeploymentFacts | None = None
    pods: Sequence[PodFacts] = ()
    revision: str | None = None
    suspended: bool = False
    secrets: Sequence[SecretKeyRef] = ()
    was_available: bool = False


def was_available(status: Mapping[str, Any], generation: int) -> bool:
    """Whether an Agent's status says that its pods were all ready at this generation of it, or that some of them have been lost since."""
    found: Mapping[str, Any] = next((one for one in status.get("conditions", ()) if one["type"] == conditions.AVAILABLE), {})
    good = found.get("status") == "True" or found.get("reason") == conditions.NOT_READY
    return good and found.get("observedGeneration") == generation


def failed(reason: str, message: str, *, stalled: bool = False) -> Verdict:
    """A condition that is False."""
    return Verdict("False", reason, message, stalled)


def observe(agent: str, observed: Observed) -> dict[str, Verdict]:
    """All conditions of an Agent, by type."""
    findings = observed.findings
    pods_reference, pods_dapr, available = _from_pods(agent, observed)
    blocked = not findings.clean
    unknown = Verdict("Unknown", conditions.UNKNOWN, "Not looked at: another condition comes first")
    found = {
        conditions.ACCEPTED: findings.accepted or Verdict("True", conditions.SUCCEEDED, "The Agent is valid"),
        conditions.REFERENCES_RESOLVED: findings.references
        or pods_reference
        or (unknown if findings.accepted else Verdict("True", conditions.SUCCEEDED, "Everything the Agent names is there")),
        conditions.DAPR_CONFIGURED: findings.dapr
        or pods_dapr
        or (unknown if blocked else Verdict("True", conditions.SUCCEEDED, "Dapr's objects are in place")),
        conditions.AVAILABLE: available,
    }
    return found | _summary(found, blocked=blocked)


def _summary(found: dict[str, Verdict], *, blocked: bool) -> dict[str, Verdict]:
    first = next((found[kind] for kind in conditions.SUMMARISED if found[kind].status == "False"), None)
    first = first or next((found[kind] for kind in conditions.SUMMARISED if not found[kind].good), None)
    if first is None:
        available = found[conditions.AVAILABLE]
        return {conditions.READY: Verdict("True", available.reason, available.message)}
    summary = {conditions.READY: Verdict(first.status, first.reason, first.message)}
    if first.stalled:
        summary[conditions.STALLED] = Verdict("True", first.reason, first.message)
    elif first.reason in {conditions.PROGRESSING, conditions.RETRYING} or not blocked:
        summary[conditions.RECONCILING] = Verdict("True", first.reason, first.message)
    else:
        summary[conditions.RECONCILING] = Verdict("True", first.reason, "Waiting; looks again by itself")
    return summary


def _from_pods(agent: str, observed: Observed) -> tuple[Verdict | None, Verdict | None, Verdict]:
    """What Deployment and pods say: (ReferencesResolved or None, DaprConfigured or None, Available)."""
    deployment = observed.deployment
    if deployment is None:
        return None, None, Verdict("Unknown", conditions.UNKNOWN, "There is no Deployment yet")
    if deployment.wanted == 0:
        return None, None, _scaled_to_zero(deployment, suspended=observed.suspended)
    if _rolled_out(deployment) and not any(pod.uninjected for pod in observed.pods):
        return None, None, Verdict("True", conditions.SUCCEEDED, f"{deployment.available} of {deployment.wanted} pods are ready")
    verdict, condition = _trouble(agent, observed, deployment)
    if condition == conditions.REFERENCES_RESOLVED:
        return verdict, None, failed(conditions.NOT_READY, f"{_counts(observed, deployment)}: {verdict.message}")
    return None, None, verdict


def _trouble(agent: str, observed: Observed, deployment: DeploymentFacts) -> tuple[Verdict, str]:
    """Why a rollout is not complete, and the condition it belongs to. The newest pod that is in trouble speaks.

    What the Deployment's controller said of an earlier generation says nothing of this one.
    """
    current = deployment.observed_generation >= deployment.generation
    if current and deployment.refusal is not None and deployment.updated < deployment.wanted:
        condition, reason, message = advise_refusal(deployment.refusal)
        return failed(reason, message), condition
    exceeded = current and deployment.deadline_exceeded is not None
    troubled = sorted((pod for pod in _of_this_change(observed) if pod.problem), key=lambda pod: pod.created)
    if troubled and troubled[-1].problem:
        condition, reason, message = advise_pod(agent, troubled[-1].problem, observed.secrets)
        return failed(reason, message + _who_serves(observed), stalled=exceeded), condition
    describe = f"see `kubectl describe pod -l holdfast.dev/agent={agent}`"
    if exceeded:
        message = f"{_counts(observed, deployment)} within the progress deadline: {describe}"
        return failed(conditions.ROLLOUT_TIMEOUT, message, stalled=True), conditions.AVAILABLE
    if current and deployment.completed and observed.was_available:
        message = f"{_counts(observed, deployment)}, and no rollout is under way: {describe}"
        return failed(conditions.NOT_READY, message), conditions.AVAILABLE
    return failed(conditions.PROGRESSING, _counts(observed, deployment)), conditions.AVAILABLE


def _who_serves(observed: Observed) -> str:
    """Whether pods of an earlier revision go on in the meantime."""
    current = _of_this_change(observed)
    earlier = sum(pod.ready and pod not in current for pod in observed.pods)
    return f". {earlier} of an earlier revision keep serving" if earlier else ""


def _scaled_to_zero(deployment: DeploymentFacts, *, suspended: bool) -> Verdict:
    if deployment.replicas or deployment.observed_generation < deployment.generation:
        return failed(conditions.PROGRESSING, f"{deployment.replicas} pods are still to end")
    if suspended:
        return Verdict("True", conditions.SUSPENDED, "No pods, as spec.suspend asks; runs wait in the store")
    return Verdict("True", conditions.SUCCEEDED, "No pods, as spec.replicas asks; runs wait in the store")


def _rolled_out(deployment: DeploymentFacts) -> bool:
    return (
        deployment.observed_generation >= deployment.generation
        and deployment.updated == deployment.wanted == deployment.replicas
        and deployment.available >= deployment.wanted
    )


def _counts(observed: Observed, deployment: DeploymentFacts) -> str:
    ready = sum(pod.ready for pod in _of_this_change(observed))
    return f"{ready} of {deployment.wanted} pods of this revision are ready"


def _of_this_change(observed: Observed) -> Sequence[PodFacts]:
    """Pods of the revision that should run, made from the same template as the newest of them; without any, the newest pods.

    A change of the image or of the resources makes new pods and no new revision, so the template is asked as well.
    """
    if not (pods := [pod for pod in observed.pods if pod.revision == observed.revision] or observed.pods):
        return ()
    template = max(pods, key=lambda pod: pod.created).template
    return [pod for pod in pods if pod.template == template]
