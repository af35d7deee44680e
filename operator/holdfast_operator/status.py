"""Verdicts -> `status` as it is written, with the times at which conditions turned. Pure."""

from collections.abc import Mapping
from typing import Any

from holdfast_api import conditions, names
from holdfast_operator.facts import DeploymentFacts
from holdfast_operator.observe import Verdict

_ORDER = (conditions.READY, *conditions.SUMMARISED, conditions.RECONCILING, conditions.STALLED)
_MAX_MESSAGE = 4096


def condition_list(verdicts: Mapping[str, Verdict], before: list[dict[str, Any]], *, generation: int, now: str) -> list[dict[str, Any]]:
    """Conditions in a fixed order; one whose status stays keeps the time at which it turned."""
    old = {condition["type"]: condition for condition in before}
    found = []
    for kind in _ORDER:
        if (verdict := verdicts.get(kind)) is None:
            continue
        same = old.get(kind, {}).get("status") == verdict.status
        found.append(
            {
                "type": kind,
                "status": verdict.status,
                "observedGeneration": generation,
                "lastTransitionTime": old[kind]["lastTransitionTime"] if same else now,
                "reason": verdict.reason,
                "message": verdict.message[:_MAX_MESSAGE],
            }
        )
    return found


def status_fields(
    *,
    name: str,
    namespace: str,
    generation: int,
    found: list[dict[str, Any]],
    deployment: DeploymentFacts | None,
    revision: str | None,
    model: str | None,
) -> dict[str, Any]:
    """The whole status. `revision` and `model` are absent while the Agent is not accepted."""
    fields = {
        "observedGeneration": generation,
        "conditions": found,
        "revision": revision,
        "endpoint": names.endpoint(name, namespace),
        "replicas": deployment.replicas if deployment else 0,
        "readyReplicas": deployment.ready if deployment else 0,
        "selector": f"{names.LABEL_AGENT}={name}",
        "model": model,
    }
    return {key: value for key, value in fields.items() if value is not None}
