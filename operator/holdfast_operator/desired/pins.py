"""What runs of earlier revisions need to go on, and in which store they are. Pure.

A run is pinned to the revision it began with, so as long as that revision's ConfigMap is kept, its model has to stay, with its time
limit, and the Secret keys have to reach the pods. Each ConfigMap tells this in an annotation (`Pins`), since its content is never read
back. What the pods are given besides their own revision's (`Kept`) stands in an annotation of the Deployment: it is let go only with a
rollout that happens anyway, and a Secret that has been deleted meanwhile is not asked for again.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from holdfast_api import conditions, dapr, names
from holdfast_api.resolve import Refused, Resolved
from holdfast_api.v1alpha1 import SecretKeyRef
from holdfast_operator.desired.meta import UNREADABLE

ANNOTATION_PINS = "holdfast.dev/pins"
"""On a ConfigMap: what its revision needs."""

ANNOTATION_KEPT = "holdfast.dev/kept"
"""On a Deployment: what its pods get for earlier revisions."""

SecretKey = tuple[str, str]
"""Name of a Secret and a key in it."""


@dataclass(frozen=True)
class Pins:
    """What one revision needs.

    Attributes:
        store: where its runs and documents are, in words that are equal for equal stores.
        models: the conversation Components and the milliseconds that one call of each may take.
        sidecar: Secret keys in daprd's environment.
        container: Secret keys in the agent's.
        apis: of the sidecar, see `dapr.more_apis`.
    """

    store: str
    models: frozenset[tuple[str, int]]
    sidecar: frozenset[SecretKey] = frozenset()
    container: frozenset[SecretKey] = frozenset()
    apis: frozenset[str] = frozenset()

    def text(self) -> str:
        """As it stands in the annotation."""
        models = sorted(self.models)
        # An operator that one goes back to may read only the first shape.
        parts = {"model": models[0], "models": models, "sidecar": sorted(self.sidecar), "container": sorted(self.container)}
        return names.canonical({"store": self.store} | parts | ({"apis": sorted(self.apis)} if self.apis else {}))

    @classmethod
    def parse(cls, text: str) -> "Pins | None":
        """The reverse of `text`; it reads the first shape as well, which had one `model`. None: it cannot be read, and pins nothing."""
        try:
            found = json.loads(text)
            parts = _keys(found["sidecar"]), _keys(found["container"]), frozenset(map(str, found.get("apis", ())))
            return cls(str(found["store"]), _models(found.get("models") or [found["model"]]), *parts)
        except UNREADABLE:
            return None


@dataclass(frozen=True)
class Kept:
    """What the pods get for runs of earlier revisions, beside what the current one needs.

    Attributes:
        models: (Component, milliseconds).
        sidecar: Secret keys in daprd's environment.
        container: Secret keys in the agent's.
        missing: keys of `sidecar` that are left out, because their Secret is gone and no pod could start with them.
        template: digest of the pod template without all this.
        apis: of the sidecar.
    """

    models: frozenset[tuple[str, int]] = frozenset()
    sidecar: frozenset[SecretKey] = frozenset()
    container: frozenset[SecretKey] = frozenset()
    missing: frozenset[SecretKey] = frozenset()
    template: str = ""
    apis: frozenset[str] = frozenset()

    def covers(self, other: "Kept") -> bool:
        """Whether nothing of `other` is lacking here."""
        whole = other.models <= self.models and other.apis <= self.apis
        return whole and other.sidecar <= self.sidecar and other.container <= self.container

    def text(self) -> str:
        """As it stands in the annotation; empty when nothing is kept."""
        parts = {"models": self.models, "sidecar": self.sidecar, "container": self.container, "missing": self.missing}
        if not (any(parts.values()) or self.apis):
            return ""
        told: dict[str, object] = {name: sorted(part) for name, part in parts.items()}
        return names.canonical(told | {"template": self.template} | ({"apis": sorted(self.apis)} if self.apis else {}))

    @classmethod
    def parse(cls, text: str) -> "Kept":
        """The reverse of `text`; what cannot be read keeps nothing, and is written anew."""
        try:
            found = json.loads(text or "null") or {}
            sidecar, container, missing = (_keys(found.get(name, ())) for name in ("sidecar", "container", "missing"))
            apis = frozenset(map(str, found.get("apis", ())))
            return cls(_models(found.get("models", ())), sidecar, container, missing, str(found.get("template", "")), apis)
        except UNREADABLE:
            return cls()


@dataclass(frozen=True)
class Past:
    """What is known of earlier revisions.

    Attributes:
        pins: of all revisions whose ConfigMap is kept.
        kept: annotation of the live Deployment.
        gone: whether pods wait in vain for a Secret key.
    """

    pins: tuple[Pins, ...] = ()
    kept: str = ""
    gone: Callable[[SecretKey], bool] = lambda key: False  # noqa: ARG005 - as long as no pod tells


def pins_of(resolved: Resolved) -> Pins:
    """What the current revision needs."""
    return Pins(
        store=_store(resolved),
        models=frozenset(dapr.model_limits(resolved.config).items()),
        sidecar=_refs(resolved.sidecar_secrets),
        container=_refs(resolved.container_secrets),
        apis=dapr.more_apis(resolved.config),
    )


def check_store(current: Pins, past: Iterable[Pins]) -> None:
    """An Agent's runs do not move: a store that differs from the one in use comes from a changed default, or a mistake.

    Raises:
        Refused: it differs.
    """
    for other in past:
        if other.store != current.store:
            raise Refused(
                conditions.STATE_CHANGED,
                f"the store has changed from {other.store} to {current.store}, and this Agent's runs are in the former: write the former "
                "into spec.state (and spec.memory), or make a new Agent for the other store",
            )


def choose(current: Pins, past: Past, template: Callable[[], str]) -> Kept:
    """What the pods are to get for earlier revisions.

    For example: revision 1 called the model `a-llm-1` with key `k` of Secret `old`, revision 2 calls `a-llm-2` with one of `new`. While
    the ConfigMap of revision 1 is kept, the pods of revision 2 get both models and both keys. Once it is gone, they would need only their
    own, but nothing is taken from them: that would roll them for nothing. With the next change of their template it is let go.

    Args:
        current: what they get anyway.
        past: the earlier ones.
        template: digest of the pod template without any of it.
    """
    live = Kept.parse(past.kept)
    needed = _needed(current, past, live)
    if not live.text() and not needed.text():
        return needed
    digest = template()
    same = live.template == digest and live.covers(needed) and not live.sidecar & needed.missing
    chosen = live if same else needed
    return replace(chosen, missing=needed.missing, template=digest)


def still_enough(current: Pins, past: Past) -> bool:
    """Whether pods of this revision, as they are, have what earlier ones need, and ask for no Secret that is gone."""
    live = Kept.parse(past.kept)
    needed = _needed(current, past, live)
    return live.covers(needed) and not live.sidecar & needed.missing


def _needed(current: Pins, past: Past, live: Kept) -> Kept:
    wanted = frozenset(key for pins in past.pins for key in pins.sidecar) - current.sidecar
    missing = frozenset(key for key in wanted if key in live.missing or past.gone(key))
    limits: dict[str, int] = {}
    own = {component for component, _ in current.models}
    for component, limit in (model for pins in past.pins for model in pins.models):
        if component not in own:
            limits[component] = max(limit, limits.get(component, 0))
    container = frozenset(key for pins in past.pins for key in pins.container) - current.container
    apis = frozenset(api for pins in past.pins for api in pins.apis) - current.apis
    return Kept(frozenset(limits.items()), wanted - missing, container, missing, apis=apis)


def _store(resolved: Resolved) -> str:
    config = resolved.config
    stores = dict.fromkeys((config.state_component, config.memory_component))
    return ", ".join(f"{name}{_content(resolved.components.get(name))}" for name in stores)


def _content(spec: dict[str, object] | None) -> str:
    return f" ({spec['type']}, {names.digest(spec, 8)})" if spec else ""


def _refs(refs: Iterable[SecretKeyRef]) -> frozenset[SecretKey]:
    return frozenset((ref.name, ref.key) for ref in refs)


def _keys(pairs: Iterable[list[str]]) -> frozenset[SecretKey]:
    return frozenset((str(name), str(key)) for name, key in pairs)


def _models(pairs: Iterable[tuple[str, int]]) -> frozenset[tuple[str, int]]:
    return frozenset((str(component), int(limit)) for component, limit in pairs)
