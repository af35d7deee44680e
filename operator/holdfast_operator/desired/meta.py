"""What all children have in common: labels, and the Agent as their controller."""

from collections.abc import Mapping
from typing import Any, Final

from holdfast_api import names
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.kinds import Kind

Manifest = dict[str, Any]

ANNOTATION_KEEP = "holdfast.dev/keep-seconds"
"""On a versioned child: how long it stays after something has superseded it, because a run may be pinned to it."""

UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading an annotation raises into which somebody else has written, whatever it was."""


def labels(agent: str) -> dict[str, str]:
    """Labels of every child; `holdfast.dev/agent` is what the watches select."""
    return {
        "app.kubernetes.io/name": "holdfast-agent",
        "app.kubernetes.io/instance": agent,
        "app.kubernetes.io/component": "agent",
        "app.kubernetes.io/part-of": "holdfast",
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_AGENT: agent,
    }


def selector(agent: str) -> dict[str, str]:
    """Labels that select an Agent's pods. Immutable in a Deployment, so it is the one label that will never change."""
    return {names.LABEL_AGENT: agent}


def owner_reference(agent: Agent) -> Manifest:
    """The Agent as controller: the garbage collector removes what it owns."""
    return {
        "apiVersion": names.GROUP_VERSION,
        "kind": names.KIND,
        "name": agent.metadata.name,
        "uid": agent.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child(
    kind: Kind, agent: Agent, name: str, *, more_labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
) -> Manifest:
    """Head of a child's manifest; the caller adds the content."""
    metadata: Manifest = {
        "name": name,
        "namespace": agent.metadata.namespace,
        "labels": labels(agent.metadata.name) | dict(more_labels or {}),
        "ownerReferences": [owner_reference(agent)],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
