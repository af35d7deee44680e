"""New values of Secrets roll the pods that carry the old ones, where the operator may watch Secrets. Pure.

Only metadata is asked for, so a Secret's resourceVersion stands for its value. What was there when an Agent was first looked at rolls
nothing: the Deployment remembers the versions (`ANNOTATION_SEEN`), and only a later one changes the pod template (`ANNOTATION_ROLLED`).
A Secret that is gone rolls nothing either, since no new pod could start; the one that comes in its place does.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast_api import names
from holdfast_api.resolve import Resolved
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import UNREADABLE
from holdfast_operator.desired.secrets import token_names

ANNOTATION_SEEN = "holdfast.dev/secrets-seen"
"""On a Deployment: versions of the Secrets that its pods have, or were there at the first look."""

ANNOTATION_ROLLED = "holdfast.dev/secrets"
"""On a pod template: digest of the versions that the last roll-out was for."""


@dataclass(frozen=True)
class Rotation:
    """What is known of the Secrets that pods carry.

    Attributes:
        seen: name -> resourceVersion.
        rolled: digest of those that pods were rolled for; empty before the first time.
    """

    seen: tuple[tuple[str, str], ...] = ()
    rolled: str = ""

    def text(self) -> str:
        """`seen` as it stands in the annotation; empty when nothing was seen."""
        return names.canonical(dict(self.seen)) if self.seen else ""

    @classmethod
    def parse(cls, seen: str, rolled: str) -> "Rotation":
        """The reverse of `text`; what cannot be read was not seen."""
        try:
            return cls(tuple(sorted((str(name), str(version)) for name, version in json.loads(seen or "{}").items())), rolled)
        except UNREADABLE:
            return cls((), rolled)

    def after(self, now: Mapping[str, str | None] | None) -> "Rotation":
        """The same with the Secrets as they are now.

        Args:
            now: each Secret that the pods need, with its resourceVersion, or None where it is not there; None where nobody may look.
        """
        if now is None:
            return Rotation((), self.rolled)
        before = dict(self.seen)
        seen = {name: version or before.get(name) for name, version in now.items()}
        found = {name: version for name, version in seen.items() if version}
        changed = any(before.get(name, version) != version for name, version in found.items())
        return Rotation(tuple(sorted(found.items())), names.digest(found) if changed else self.rolled)


def secrets_of(agent: Agent, resolved: Resolved) -> set[str]:
    """Names of the Secrets whose values a pod takes over when it starts. A volume is kept up to date by the kubelet."""
    spec = agent.spec
    keys = [ref.name for ref in (*resolved.sidecar_secrets, *resolved.container_secrets)]
    variables = [(entry.get("valueFrom") or {}).get("secretKeyRef") for entry in spec.env or ()]
    sources = [entry.get("secretRef") for entry in spec.env_from or ()]
    return {*keys, *token_names(agent.metadata.name), *(ref["name"] for ref in (*variables, *sources) if ref and ref.get("name"))}
