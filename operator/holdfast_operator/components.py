"""Are the Dapr Components that an Agent names, and those beside them in its sidecar's sight, such that its pods can work? Pure."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast_api.config import AgentConfig

_TRUE = frozenset({"y", "yes", "true", "t", "on", "1"})
"""What Dapr takes for yes in the metadata of a Component, in any case and with spaces around it."""


@dataclass(frozen=True, slots=True)
class ComponentFacts:
    """What is kept of a Component.

    Attributes:
        type: for example `state.redis`.
        scopes: app ids that see it; empty: all of the namespace.
        actors: whether Dapr keeps workflows in it.
        version: resourceVersion; two that differ in nothing else are equal.
    """

    type: str = ""
    scopes: tuple[str, ...] = ()
    actors: bool = False
    version: str = field(default="", compare=False)

    @classmethod
    def of(cls, live: Mapping[str, Any]) -> "ComponentFacts":
        """From the object."""
        spec = live.get("spec") or {}
        scopes = tuple(sys.intern(str(scope)) for scope in live.get("scopes") or ())
        actors = any(
            str(entry.get("name", "")).lower() == "actorstatestore" and str(entry.get("value", "")).strip().lower() in _TRUE
            for entry in spec.get("metadata") or ()
        )
        version = str((live.get("metadata") or {}).get("resourceVersion", ""))
        return cls(sys.intern(str(spec.get("type", ""))), scopes, actors, version)

    def seen_by(self, app: str) -> bool:
        """Whether an app's sidecar loads it."""
        return not self.scopes or app in self.scopes


def problem(config: AgentConfig, there: Mapping[str, ComponentFacts], existing: Iterable[str], actor_stores: Iterable[str]) -> str | None:
    """What keeps the Agent's pods from working with these Components, and what mends it; None: nothing that can be told from here.

    Args:
        config: of the Agent.
        there: all Components of its namespace.
        existing: names of those that it names and does not make.
        actor_stores: names of those that keep workflows and are in its sidecar's sight.
    """
    for name in existing:
        facts = there[name]
        kinds = sorted(kind for kind, names in _uses(config).items() if name in names)
        wrong = next((kind for kind in kinds if not facts.type.startswith(f"{kind}.")), None)
        if wrong:
            return f"Component {name!r} is of type {facts.type!r}, and the Agent needs one of type {wrong}.*: name another one"
        if not facts.seen_by(config.name):
            return f"Component {name!r} is scoped to {', '.join(facts.scopes)}: add {config.name!r} to its scopes"
        if name == config.state_component and not facts.actors:
            return f'Component {name!r} keeps no workflows: set its metadata actorStateStore to "true", or name another one'
    if others := sorted(set(actor_stores) - {config.state_component}):
        return (
            f"Component {others[0]!r} is an actor state store too, beside {config.state_component!r}, and a sidecar that sees two does not "
            f"start: give {others[0]!r} scopes without {config.name!r}, or name it in spec.state.component of a new Agent"
        )
    return None


def _uses(config: AgentConfig) -> dict[str, set[str]]:
    """Kind of Component -> names that the Agent uses as such."""
    brokers = {trigger.topic.component for trigger in config.triggers if trigger.topic}
    return {
        "conversation": {model.component for model in config.models},
        "state": {config.state_component, config.memory_component},
        "pubsub": brokers | ({config.pubsub.component} if config.pubsub else set()),
    }
