"""Somebody else changed or deleted a child: it is repaired at once and told, but no fight becomes a hot loop. Pure.

Two controllers that each insist on a field would otherwise write as fast as the API server lets them. So the first repairs come at once,
and each further one after a longer pause, until nobody has touched the child for a while.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from holdfast_api import names
from holdfast_operator.kinds import DEPLOYMENT, Kind

Manifest = dict[str, Any]

DRIFT_REPAIRED: Final = "DriftRepaired"
DRIFT_FOUGHT: Final = "DriftRepairedAgain"

AT_ONCE: Final = 3
FIRST_PAUSE: Final = 5.0
MAX_PAUSE: Final = 300.0
FORGOTTEN: Final = 600.0
"""Seconds without a repair after which the next one is the first again."""


class Repair(NamedTuple):
    """How often in a row a child was repaired, and when last, in Unix time."""

    times: int
    at: float


class Told(NamedTuple):
    """An Event about a repair."""

    reason: str
    message: str

    @property
    def good(self) -> bool:
        """Whether nobody has to do anything."""
        return self.reason == DRIFT_REPAIRED


def pause(repair: Repair | None, now: float) -> float:
    """Seconds until a child may be repaired; 0 for at once. A clock that was set back does not make anybody wait for it."""
    if repair is None or repair.times < AT_ONCE or now < repair.at:
        return 0.0
    wait = min(FIRST_PAUSE * 2.0 ** min(repair.times - AT_ONCE, 16), MAX_PAUSE)
    return max(repair.at + wait - now, 0.0)


def repaired(repair: Repair | None, now: float) -> Repair:
    """Count one more repair."""
    if repair is None or now - repair.at > FORGOTTEN:
        return Repair(1, now)
    return Repair(repair.times + 1, now)


def tell(kind: Kind, name: str, *, lost: bool, meddlers: str, repeated: bool) -> Told:
    """What to say about a repair.

    Args:
        kind: of the child.
        name: of the child.
        lost: it was deleted, not changed.
        meddlers: who owned what of it; see `meddlers_of`.
        repeated: it is one of many in a row.
    """
    deed = "was deleted and is made again" if lost else "was changed and is as the Agent says again"
    if not repeated:
        return Told(DRIFT_REPAIRED, f"{kind.kind} {name!r} {deed}")
    by = f" by {meddlers}" if meddlers else ""
    fix = "change the Agent instead, or end what does this"
    if kind == DEPLOYMENT and "spec.replicas" in meddlers:
        fix = f"let the autoscaler aim at the Agent (apiVersion: {names.GROUP_VERSION}, kind: {names.KIND}), which has the same scale"
    return Told(DRIFT_FOUGHT, f"{kind.kind} {name!r} is {'deleted' if lost else 'changed'} again and again{by}, repaired ever later: {fix}")


def meddlers_of(live: Manifest, manifest: Manifest) -> str:
    """Managers that own fields which a manifest sets, with these fields, for people."""
    wanted = set(_paths(manifest))
    found: dict[str, set[str]] = {}
    for entry in live["metadata"].get("managedFields", ()):
        manager = entry.get("manager", "")
        if taken := wanted.intersection(_owned(entry.get("fieldsV1", {}))):
            found.setdefault(manager, set()).update(taken)
    found.pop(names.FIELD_MANAGER, None)
    return "; ".join(f"{manager} ({', '.join(sorted(fields)[:5])})" for manager, fields in sorted(found.items()))


def _paths(value: Any, before: str = "") -> Iterator[str]:  # noqa: ANN401 - any JSON value
    """Paths of the maps' leaves; a list is one leaf."""
    if not isinstance(value, dict):
        yield before
        return
    for key, inner in value.items():
        yield from _paths(inner, f"{before}.{key}" if before else key)


def _owned(fields: Manifest, before: str = "") -> Iterable[str]:
    """Paths of a `fieldsV1` set, as far as they lead through maps."""
    for key, inner in fields.items():
        if key.startswith("f:"):
            path = f"{before}.{key[2:]}" if before else key[2:]
            yield path
            yield from _owned(inner, path)
