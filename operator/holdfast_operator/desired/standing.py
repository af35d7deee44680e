"""Pods that an earlier version of the operator made stay as they are while nothing that they follow from has changed. Pure.

Two versions of the operator write the same Agent down differently: another variable, one more field in the AgentConfig, one more path in
a list. None of that is worth a roll-out of every Agent of a cluster on the day of an upgrade, or of the way back. So a Deployment carries
a `Mark`: which program wrote it, and a digest of what it was written from. Where another program wrote it and the digest is the same, its
pods stand: the Deployment, its revision's ConfigMap and its models are left alone, and everything else is brought up to date. The next
change of the Agent, of a default or of a text that it names is carried out as this version does it.
"""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import holdfast_api
import holdfast_operator
from holdfast_api import names
from holdfast_api.defaults import AgentDefaults
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import UNREADABLE
from holdfast_operator.desired.pins import Past, Pins, still_enough
from holdfast_operator.desired.rotation import ANNOTATION_SEEN, Rotation
from holdfast_operator.desired.steps import Child, Steps
from holdfast_operator.kinds import COMPONENT, CONFIG_MAP, DEPLOYMENT

ANNOTATION_MARK = "holdfast.dev/written"
"""On a Deployment: a `Mark`."""

_NO_POD = {"replicas", "suspend"}


@dataclass(frozen=True)
class Mark:
    """Who wrote a Deployment, and from what.

    Attributes:
        program: digest of the operator's own source.
        inputs: digest of what the pods follow from.
    """

    program: str = ""
    inputs: str = ""

    def text(self) -> str:
        """As it stands in the annotation."""
        return names.canonical({"inputs": self.inputs, "program": self.program})

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """The reverse of `text`; what cannot be read is nobody's."""
        try:
            found = json.loads(text)
            return cls(str(found["program"]), str(found["inputs"]))
        except UNREADABLE:
            return cls()


@dataclass(frozen=True)
class Standing:
    """The Deployment as it is, and what stands and falls with it.

    Attributes:
        mark: whose it is.
        revision: of its pod template.
        pins: what that revision needs.
        components: models that are there.
        touched: somebody has changed what is ours since it was left alone, so it is to be put right.
        digest: of our part of it, as this was found.
    """

    mark: Mark
    revision: str
    pins: Pins
    components: frozenset[str]
    touched: bool = False
    digest: str = ""

    def stays(self, now: Mark, past: Past) -> bool:
        """Whether the pods are left as they are."""
        if not self.mark.inputs or self.mark.program == now.program or self.mark.inputs != now.inputs or self.touched:
            return False
        return {component for component, _ in self.pins.models} <= self.components and still_enough(self.pins, past)

    def instead(self, steps: Steps, agent: str, models: frozenset[str]) -> Steps:
        """The children with these pods.

        Args:
            steps: as this version would have them.
            agent: its name.
            models: the model Components among them.
        """
        own = {component for component, _ in self.pins.models}
        there = (Child(CONFIG_MAP, names.config_map(agent, self.revision)), *(Child(COMPONENT, name) for name in sorted(own - models)))
        rest = tuple(tuple(child for child in step if not self._replaces(child, models - own)) for step in steps)
        return ((*rest[0], *there), *rest[1:-1], (*rest[-1], Child(DEPLOYMENT, agent)))

    @staticmethod
    def _replaces(child: Child, models: frozenset[str]) -> bool:
        return child.kind in {CONFIG_MAP, DEPLOYMENT} or (child.kind == COMPONENT and child.name in models)


@dataclass(frozen=True)
class Writing:
    """One writing down of an Agent.

    Attributes:
        mark: who writes, and from what; of nobody in tests of the pure parts.
        standing: the pods that are there.
        rotation: the Secrets that they carry.
    """

    mark: Mark = field(default_factory=Mark)
    standing: Standing | None = None
    rotation: Rotation = field(default_factory=Rotation)

    def annotations(self) -> dict[str, str]:
        """What the Deployment says of it; empty texts are left out there."""
        return {ANNOTATION_MARK: self.mark.text() if self.mark.program else "", ANNOTATION_SEEN: self.rotation.text()}

    def instead(self, steps: Steps, agent: str, models: frozenset[str], past: Past) -> Steps:
        """The children, with the pods that stand if they may."""
        if self.standing and self.standing.stays(self.mark, past):
            return self.standing.instead(steps, agent, models)
        return steps


def inputs_of(agent: Agent, defaults: AgentDefaults, texts: object, secrets: str) -> str:
    """Digest of what pods follow from, in words that do not change when the API gains a field.

    Args:
        agent: the Agent.
        defaults: the administrator's.
        texts: what the ConfigMaps say that it names.
        secrets: digest of the Secrets that its pods were last rolled for.
    """
    spec = agent.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=_NO_POD)
    return names.digest([spec, defaults.model_dump(mode="json", by_alias=True, exclude_defaults=True), texts, secrets])


@lru_cache(maxsize=1)
def program() -> str:
    """Digest of the source that writes Deployments: the operator's and the API's."""
    folders = [Path(package.__path__[0]) for package in (holdfast_operator, holdfast_api)]
    return names.digest([file.read_text(encoding="utf-8") for folder in folders for file in sorted(folder.rglob("*.py"))])


def only_adds(before: Any, after: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a document says all that another one says, and perhaps more. Items of lists are matched by name, or else by place."""
    if isinstance(before, dict) and isinstance(after, dict):
        return all(key in after and only_adds(value, after[key]) for key, value in before.items())
    if isinstance(before, list) and isinstance(after, list):
        named, names_after = _by_name(before), _by_name(after)
        if named is not None and names_after is not None:
            return only_adds(named, names_after)
        return len(before) == len(after) and all(map(only_adds, before, after))
    return bool(before == after)


def _by_name(items: list[Any]) -> dict[str, Any] | None:
    if not all(isinstance(item, dict) and "name" in item for item in items):
        return None
    return {item["name"]: item for item in items}
