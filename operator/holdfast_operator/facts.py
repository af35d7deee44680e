"""Live objects -> the few facts worth keeping in memory. Pure.

Bodies are never kept: five thousand Agents have fifty thousand children. Of a child stays a digest of our part of it, of a
Deployment its counts, and of a pod what is the matter with it, which is the one thing a Deployment does not tell.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from holdfast_api import conditions, names
from holdfast_operator.desired.meta import ANNOTATION_KEEP
from holdfast_operator.desired.pins import ANNOTATION_KEPT, ANNOTATION_PINS
from holdfast_operator.desired.rotation import ANNOTATION_ROLLED, ANNOTATION_SEEN
from holdfast_operator.desired.secrets import token_names
from holdfast_operator.desired.standing import ANNOTATION_MARK
from holdfast_operator.kinds import Kind
from holdfast_operator.ownership import owned_digest

Manifest = dict[str, Any]

ANNOTATION_SUPERSEDED = "holdfast.dev/superseded-at"
SIDECAR = "daprd"
# Words of the kubelet for a container that waits, by what is to be told of them.
_PULL_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}
_CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError"}
_MESSAGE = 600
"""Characters of somebody else's words that are kept: there may be five thousand pods in trouble at a time."""

_KEEP_DIGITS = 11
"""Digits of a time to keep, in seconds; the API's longest takes 9. Whoever writes more did not get it from us."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A child as it was last seen.

    Attributes:
        digest: digest of the part that is ours; see `ownership`.
        version: resourceVersion.
        uid: its uid.
        owner: uid of the Agent that controls it.
        keep_seconds: how long to keep it once superseded, for versioned kinds.
        superseded_at: Unix time at which something took its place; None while it is in use.
        pins: of a ConfigMap, what its revision needs; see `desired.pins`.
    """

    digest: str
    version: str
    uid: str
    owner: str = ""
    keep_seconds: int = 0
    superseded_at: float | None = None
    pins: str = ""


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """Counts and conditions of a Deployment.

    Attributes:
        kept: what it keeps for earlier revisions; see `desired.pins`.
        tokens: whether its pods name all token Secrets, so that these were made.
        revision: of its pod template.
        mark: who wrote it; see `desired.standing`.
        rotation: the Secrets its pods carry; see `desired.rotation`.
        completed: its controller has seen the rollout of this pod template complete. It says so still when pods are lost or added.
    """

    generation: int
    observed_generation: int
    wanted: int
    replicas: int
    updated: int
    ready: int
    available: int
    deadline_exceeded: str | None = None
    refusal: str | None = None
    kept: str = ""
    tokens: bool = False
    revision: str = ""
    mark: str = ""
    rotation: tuple[str, str] = ("", "")
    completed: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a pod from working: a reason of `conditions`, the container it is about, and the cluster's own words."""

    reason: str
    container: str
    detail: str


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod.

    Attributes:
        uid: its uid.
        version: resourceVersion.
        created: Unix time.
        revision: revision of the AgentConfig it runs.
        ready: whether it is, and is not about to end.
        problem: None while nothing is known to be wrong.
        uninjected: it has no sidecar and can only be replaced.
        template: hash of the pod template it was made from.
    """

    uid: str
    version: str
    created: float
    revision: str
    ready: bool
    problem: Problem | None
    uninjected: bool = False
    template: str = ""


def newer(version: str, than: str) -> bool:
    """Whether one resourceVersion of a kind comes after another one; they are comparable numbers."""
    return not than or not version.isdecimal() or not than.isdecimal() or int(version) > int(than)


def older(version: str, than: str) -> bool:
    """Whether one resourceVersion surely comes before another one; not where either is unknown."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


def timestamp(text: str | None) -> float | None:
    """Unix time of an RFC 3339 text, None when it is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def seen(kind: Kind, live: Manifest) -> Seen:
    """Facts of a child."""
    metadata = live["metadata"]
    digest, version, uid = owned_digest(live, metadata_only=kind.metadata_only), metadata["resourceVersion"], metadata["uid"]
    controller = sys.intern(next((ref["uid"] for ref in metadata.get("ownerReferences", ()) if ref.get("controller")), ""))
    if not kind.versioned:
        return Seen(digest, version, uid, controller)
    annotations = metadata.get("annotations", {})
    keep = _keep_seconds(annotations.get(ANNOTATION_KEEP, ""))
    superseded = timestamp(annotations.get(ANNOTATION_SUPERSEDED))
    pins = annotations.get(ANNOTATION_PINS, "")
    return Seen(digest, version, uid, controller, keep, superseded, pins)


def _keep_seconds(text: str) -> int:
    """Seconds of an annotation that anybody may have written, 0 for what is none; Python reads no number of thousands of digits."""
    return int(text) if text.isdecimal() and len(text) <= _KEEP_DIGITS else 0


def deployment_facts(live: Manifest) -> DeploymentFacts:
    """Facts of a Deployment."""
    status = live.get("status", {})
    found = {condition["type"]: condition for condition in status.get("conditions", ())}
    progressing, failure = found.get("Progressing", {}), found.get("ReplicaFailure", {})
    annotations = live["metadata"].get("annotations", {})
    of_pods = live["spec"].get("template", {}).get("metadata", {}).get("annotations", {})
    exceeded = progressing.get("message", "") if progressing.get("reason") == "ProgressDeadlineExceeded" else None
    return DeploymentFacts(
        generation=live["metadata"].get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        wanted=live["spec"].get("replicas", 1),
        replicas=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        deadline_exceeded=exceeded,
        refusal=failure.get("message", "") if failure.get("status") == "True" else None,
        kept=annotations.get(ANNOTATION_KEPT, ""),
        tokens=set(_secrets(live)).issuperset(token_names(live["metadata"]["name"])),
        revision=of_pods.get(names.ANNOTATION_REVISION, ""),
        mark=sys.intern(annotations.get(ANNOTATION_MARK, "")),
        rotation=(annotations.get(ANNOTATION_SEEN, ""), of_pods.get(ANNOTATION_ROLLED, "")),
        completed=progressing.get("reason") == "NewReplicaSetAvailable",
    )


def _secrets(deployment: Manifest) -> Iterator[str]:
    for container in deployment["spec"].get("template", {}).get("spec", {}).get("containers", ()):
        for variable in container.get("env", ()):
            if ref := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield ref.get("name", "")  # the API server takes one without a name


def pod_facts(live: Manifest) -> PodFacts:
    """Facts of a pod."""
    metadata, status = live["metadata"], live.get("status", {})
    ending = bool(metadata.get("deletionTimestamp"))
    ready = not ending and any(found["type"] == "Ready" and found["status"] == "True" for found in status.get("conditions", ()))
    uninjected = not _has_sidecar(live) and not ending and status.get("phase") not in {"Succeeded", "Failed"}
    problem = Problem(conditions.SIDECAR_NOT_INJECTED, SIDECAR, "") if uninjected else None if ready or ending else _problem(live)
    return PodFacts(
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        created=timestamp(metadata.get("creationTimestamp")) or 0.0,
        revision=metadata.get("annotations", {}).get(names.ANNOTATION_REVISION, ""),
        ready=ready,
        problem=problem,
        uninjected=uninjected and is_ours(live),
        template=sys.intern(metadata.get("labels", {}).get("pod-template-hash", "")),
    )


def is_ours(pod: Manifest) -> bool:
    """Whether a pod comes from an Agent's Deployment, and does not merely carry the label: only such a pod may be deleted."""
    metadata = pod["metadata"]
    agent = metadata.get("labels", {}).get(names.LABEL_AGENT, "")
    owners = metadata.get("ownerReferences", ())
    owned = any(ref.get("controller") and ref["kind"] == "ReplicaSet" and ref["name"].startswith(f"{agent}-") for ref in owners)
    return owned and names.ANNOTATION_REVISION in metadata.get("annotations", {})


def _has_sidecar(pod: Manifest) -> bool:
    spec = pod["spec"]
    return any(container["name"] == SIDECAR for part in ("initContainers", "containers") for container in spec.get(part, ()))


def _problem(pod: Manifest) -> Problem | None:
    status = pod.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        words = ": ".join(part for part in (status["reason"], status.get("message", "")) if part)
        return Problem(conditions.POD_FAILED, "", _clip(words))
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and condition.get("reason") == "Unschedulable":
            return Problem(conditions.UNSCHEDULABLE, "", _clip(condition.get("message", "")))
    containers = [container for part in ("initContainerStatuses", "containerStatuses") for container in status.get(part, ())]
    found = [problem for container in containers if (problem := _container_problem(container))]
    # What keeps a container from starting explains more than a crash beside it.
    found.sort(key=lambda problem: problem.reason in {conditions.SIDECAR_CRASHING, conditions.AGENT_CRASHING})
    return found[0] if found else None


def _container_problem(container: Manifest) -> Problem | None:
    name, state = container["name"], container.get("state", {})
    waiting = state.get("waiting", {})
    if waiting.get("reason") in _PULL_REASONS:
        return Problem(
            conditions.IMAGE_PULL_FAILED, name, _clip(f"{container.get('image', '')}: {waiting.get('message') or waiting['reason']}")
        )
    if waiting.get("reason") in _CONFIG_REASONS:
        return Problem(conditions.CONTAINER_CONFIG_ERROR, name, _clip(waiting.get("message", "")))
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated") or {}
    crashed = ended.get("exitCode", 0) != 0 or waiting.get("reason") == "CrashLoopBackOff"
    if container.get("ready") or not crashed:
        return None
    reason = conditions.SIDECAR_CRASHING if name == SIDECAR else conditions.AGENT_CRASHING
    words = (ended.get("message") or "").strip() or ended.get("reason") or waiting.get("message") or "no message"
    return Problem(
        reason,
        name,
        _clip(f"exit code {ended.get('exitCode', 'unknown')}, {container.get('restartCount', 0)} restarts: {words}", tail=True),
    )


def _clip(text: str, *, tail: bool = False) -> str:
    """Bound a text: of a log's tail the end matters, of a message the beginning."""
    text = text.strip()
    if len(text) <= _MESSAGE:
        return text
    return f"{text[:80]} … {text[-(_MESSAGE - 80) :]}" if tail else f"{text[:_MESSAGE]} …"
