"""Makes the children of one Agent as they should be: look before the first touch, apply what differs, prune what is no longer wanted."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from holdfast_api import conditions, names
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.cluster import ApiError, Cluster, Manifest
from holdfast_operator.desired.meta import selector
from holdfast_operator.desired.pins import Pins
from holdfast_operator.desired.secrets import token_names, token_secret
from holdfast_operator.desired.steps import Child, Steps
from holdfast_operator.drift import AT_ONCE, Told, meddlers_of, pause, repaired, tell
from holdfast_operator.facts import ANNOTATION_SUPERSEDED, Seen, seen, timestamp
from holdfast_operator.kinds import COMPONENT, CONFIG_MAP, DEPLOYMENT, DISRUPTION_BUDGET, NETWORK_POLICY, SECRET, SERVICE, Kind
from holdfast_operator.memory import Record
from holdfast_operator.observe import Findings, failed
from holdfast_operator.ownership import controlled_by, other_managers
from holdfast_operator.queue import Retry
from holdfast_operator.refusals import LOOK_AGAIN, Blocked, gather, raise_first, refusal
from holdfast_operator.writing import read, remember, write

logger = logging.getLogger(__name__)

RETIREMENT_MANAGER = f"{names.FIELD_MANAGER}-retirement"
"""Owns the one annotation that says when a child was superseded; apart, so that marking a child never has to repeat its content."""

_TOKEN_BYTES = 32
_YOUNG_SECONDS = 300.0
_TOKENS_AGAIN = 20.0
_NEVER_PRUNED = frozenset({SECRET, DEPLOYMENT})
_NO_POD_NEEDS = frozenset({NETWORK_POLICY, DISRUPTION_BUDGET})
"""Kinds that only forbid something. A policy may be the very reason why no pod gets ready, so these go at once."""


class Children:
    """The children of one Agent, during one visit."""

    def __init__(self, cluster: Cluster, record: Record, agent: Agent, *, clock: Callable[[], float] = time.time) -> None:
        self._cluster, self._record, self._agent, self._clock = cluster, record, agent, clock
        self._namespace, self._uid = agent.metadata.namespace, agent.metadata.uid
        self.told: list[Told] = []
        """What was repaired."""

    async def look(self, steps: Steps) -> None:
        """Read each child that was never seen: one that is there and not ours must not be touched.

        Raises:
            Blocked: a name is taken.
        """
        unknown = [child for step in steps for child in step if not self._known(child)]
        found = await gather((child.kind, child.name, self._meet(child)) for child in unknown)
        taken, former = [], []
        for child, live in zip(unknown, found, strict=True):
            if live is None or controlled_by(live, self._uid):
                continue
            if _is_former(live, self._agent):
                former.append(f"{child.kind.kind} {child.name!r}")
            else:
                taken.append(_taken(child, self._agent))
        if not taken and any(child.kind == DEPLOYMENT for child in unknown):
            taken += await self._app_id_taken()
        if taken:
            findings = Findings(accepted=failed(conditions.CHILD_NAME_TAKEN, "; ".join(taken), stalled=True))
            raise Blocked(findings, again=LOOK_AGAIN)
        if former:
            message = f"{', '.join(former)}: of a deleted Agent of this name; made anew once the cluster has garbage-collected it"
            raise Blocked(Findings(accepted=failed(conditions.FORMER_CHILDREN, message)), again=LOOK_AGAIN)

    async def _meet(self, child: Child) -> Manifest | None:
        """Read a child. One of ours is remembered at once: it may go while its siblings are still being read."""
        live = await read(self._cluster, self._record, child.kind, self._namespace, child.name)
        if live and controlled_by(live, self._uid):
            self._saw(child.kind, child.name, live)
        return live

    async def _app_id_taken(self) -> list[str]:
        """Whether a Dapr app that is not this Agent has its app id: our Components, scoped by it, would disturb that app.

        Dapr makes a Service for each app, which selects that app's pods.
        """
        agent = self._agent.metadata.name
        name = f"{agent}-dapr"
        (live,) = await gather([(SERVICE, name, self._cluster.get(SERVICE, self._namespace, name))])
        if live is None or live["spec"].get("selector") == selector(agent):
            return []
        return [f"a Dapr app with the app id {agent!r} exists already (Service {name!r} selects its pods): give the Agent another name"]

    async def make_tokens(self, *, missed: bool) -> float | None:
        """Make the token Secrets, once. They cannot be read, so one that is there is used as it is.

        An Agent whose Deployment names them got them before it; `missed` says that a pod misses one all the same. Those that were there
        before a new Agent may be a former Agent's, which the cluster is about to collect: for some minutes they are asked for again.

        Returns:
            Seconds until that is due, or None.
        """
        record = self._record
        there = record.tokens or (record.deployment is not None and record.deployment.tokens)
        if there and not missed and not record.tokens_doubted:
            return None
        made = await gather(
            (SECRET, name, self._cluster.create(SECRET, token_secret(self._agent, name, secrets.token_urlsafe(_TOKEN_BYTES))))
            for name in token_names(self._agent.metadata.name)
        )
        age = self._clock() - (timestamp(self._agent.metadata.creation_timestamp) or 0.0)
        record.tokens, record.tokens_doubted = True, not all(made) and age < _YOUNG_SECONDS
        return _TOKENS_AGAIN if record.tokens_doubted else None

    async def apply(self, steps: Steps) -> float | None:
        """Apply what differs, step by step; what somebody else has changed too often waits.

        Returns:
            Seconds until the next child that waits is due, or None.

        Raises:
            Blocked: the API server refuses a child's content.
            Retry: it could not be reached, or something else changed a child in the meantime.
        """
        steps = tuple(tuple(child for child in step if not child.stands) for step in steps)
        everything = names.digest([child.wanted for step in steps for child in step], 16)
        record = self._record
        undone = set(record.undone) if record.carried_out == everything else {child.place for step in steps for child in step}
        record.carried_out, record.undone = everything, tuple(undone)
        waits = []
        for step in steps:
            differing = [child for child in step if not record.is_as_wanted(child.place, child.wanted)]
            pauses = [0.0 if child.place in undone else pause(record.repairs.get(child.place), self._clock()) for child in differing]
            due = [child for child, wait in zip(differing, pauses, strict=True) if not wait]
            waits += [wait for wait in pauses if wait]
            results = await asyncio.gather(
                *(self._apply(child) if child.place in undone else self._repair(child) for child in due), return_exceptions=True
            )
            refused = {child.place for child, result in zip(due, results, strict=True) if isinstance(result, BaseException)}
            # Kept before anything is raised: while one child is refused, a fight over another one slows down all the same.
            undone -= {child.place for child in step} - refused
            record.undone = tuple(undone)
            raise_first(results)
        return min(waits, default=None)

    async def prune(self, steps: Steps, *, settled: bool) -> float | None:
        """Remove what is ours and no longer wanted, once the rollout is complete (`settled`): until then the old pods need it.

        A versioned child is first marked as superseded and stays for its time, because a run may be pinned to it. What carries the
        Agent's controller reference but was never applied by us is somebody else's, and left alone.

        Returns:
            Seconds until the next one is due, or None.
        """
        wanted = {child.place for step in steps for child in step}
        waits = []
        # ConfigMaps first: the Components that the kept ones name stay.
        for (kind, name), found in sorted(self._record.children.items(), key=lambda child: child[0][0] != CONFIG_MAP):
            if (kind, name) in wanted or kind in _NEVER_PRUNED or found.owner != self._uid or not found.digest:
                continue
            if not settled and kind not in _NO_POD_NEEDS:
                continue
            if not kind.versioned:
                await self._delete(kind, name, found)
            elif kind == COMPONENT and found.superseded_at is not None and name in self._pinned_models():
                continue
            elif found.superseded_at is None:
                await self._retire(kind, name, found)
                waits.append(float(found.keep_seconds))
            elif (wait := found.superseded_at + found.keep_seconds - self._clock()) > 0:
                waits.append(wait)
            else:
                await self._delete(kind, name, found)
        return min(waits, default=None)

    def _pinned_models(self) -> set[str]:
        revisions = [found for (kind, _), found in self._record.children.items() if kind == CONFIG_MAP and found.owner == self._uid]
        return {component for found in revisions if (pins := Pins.parse(found.pins)) for component, _ in pins.models}

    def _known(self, child: Child) -> bool:
        """Whether a child was seen and is ours, not a former Agent's of the same name."""
        found = self._record.children.get(child.place)
        return found is not None and found.owner == self._uid

    async def _apply(self, child: Child) -> None:
        place = child.place
        known = self._record.children.get(place)
        manifest = child.manifest
        if known:
            manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": known.uid, "resourceVersion": known.version}}
        try:
            # Never seen means that it is not there: what somebody else has made in the meantime is not to be overwritten.
            live = await write(self._cluster, self._record, child.kind, manifest, force=known is not None)
            if known is None and (others := other_managers(live)):
                await self._give_back(child, others)
            if known and known.superseded_at is not None:
                unmarked = _mark(child.kind, self._namespace, child.name, precondition=seen(child.kind, live))
                live = await write(self._cluster, self._record, child.kind, unmarked, manager=RETIREMENT_MANAGER)
        except ApiError as error:
            if known and error.status in {404, 409} and not error.not_served:
                # Somebody was faster, or it is gone: what we know of it is out of date.
                await self._read_anew(child.kind, child.name, known)
            raise refusal(child.kind, child.name, error) from None
        found = self._saw(child.kind, child.name, live)
        if found.digest != child.wanted:
            self._record.settled[place] = (child.wanted, found.digest)
        logger.info(
            "%s/%s: %s %s %s", self._namespace, self._agent.metadata.name, "applied" if known else "made", child.kind.kind, child.name
        )

    async def _repair(self, child: Child) -> None:
        """Apply a child that was as wanted before, and note what to tell."""
        place = child.place
        lost, before = place not in self._record.children, self._record.repairs.get(place)
        count, by = repaired(before, self._clock()), ""
        repeated = count.times > AT_ONCE
        if repeated and not lost and (live := await self._cluster.get(child.kind, self._namespace, child.name)):
            by = meddlers_of(live, child.manifest)
        await self._apply(child)
        self._record.repairs[place] = count
        self.told.append(tell(*place, lost=lost, meddlers=by, repeated=repeated))

    async def _give_back(self, child: Child, others: set[str]) -> None:
        """Undo an apply that hit an object which appeared between our look and our apply: an empty apply leaves it as it was."""
        head = {"name": child.name, "namespace": self._namespace}
        await self._cluster.apply(child.kind, {"apiVersion": child.kind.api_version, "kind": child.kind.kind, "metadata": head})
        raise Retry(f"{child.kind.kind} {child.name} was made by {', '.join(sorted(others))} at the same moment")

    async def _retire(self, kind: Kind, name: str, found: Seen) -> None:
        mark = _mark(kind, self._namespace, name, at=datetime.fromtimestamp(self._clock(), UTC), precondition=found)
        try:
            self._saw(kind, name, await write(self._cluster, self._record, kind, mark, manager=RETIREMENT_MANAGER))
        except ApiError as error:
            if error.status in {404, 409}:
                await self._read_anew(kind, name, found)
            raise refusal(kind, name, error) from None

    async def _delete(self, kind: Kind, name: str, found: Seen) -> None:
        try:
            removed = await self._cluster.delete(kind, self._namespace, name, uid=found.uid, version=found.version)
            there = not removed and await self._read_anew(kind, name, found)
        except ApiError as error:
            raise refusal(kind, name, error) from None
        if there:
            raise Retry(f"{kind.kind} {name} was changed in the meantime")
        if removed:
            self._forget(kind, name, found)
            logger.info("%s/%s: removed %s %s", self._namespace, self._agent.metadata.name, kind.kind, name)

    async def _read_anew(self, kind: Kind, name: str, found: Seen) -> bool:
        """Whether a child is still there. It is known as it is now, then: no event might ever tell of it again."""
        live = await read(self._cluster, self._record, kind, self._namespace, name)
        if live is None or live["metadata"]["uid"] != found.uid:
            self._forget(kind, name, found)
            return False
        self._saw(kind, name, live)
        return True

    def _forget(self, kind: Kind, name: str, found: Seen) -> None:
        """Forget a child as it was found. What an event has told since stays: nothing would tell it again."""
        if self._record.children.get((kind, name)) is found:
            del self._record.children[kind, name]
            if kind == DEPLOYMENT:
                self._record.deployment = None

    def _saw(self, kind: Kind, name: str, live: Manifest) -> Seen:
        return remember(self._record, kind, name, live)


def _mark(kind: Kind, namespace: str, name: str, *, at: datetime | None = None, precondition: Seen | None = None) -> Manifest:
    """Manifest of the retirement annotation alone; without a time it takes the annotation away."""
    metadata: Manifest = {"name": name, "namespace": namespace}
    if precondition:
        metadata |= {"uid": precondition.uid, "resourceVersion": precondition.version}
    if at:
        metadata["annotations"] = {ANNOTATION_SUPERSEDED: at.isoformat(timespec="seconds")}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def _is_former(live: Manifest, agent: Agent) -> bool:
    """Whether the object's controller is an Agent of this name that is no more."""
    refs = live["metadata"].get("ownerReferences", ())
    return any(ref.get("controller") and ref.get("kind") == names.KIND and ref.get("name") == agent.metadata.name for ref in refs)


def _taken(child: Child, agent: Agent) -> str:
    return (
        f"{child.kind.kind} {child.name!r} exists and is not this Agent's, so it is left alone: give the Agent another name, or, if nobody "
        f"needs that object, `kubectl delete {child.kind.plural} {child.name} -n {agent.metadata.namespace}`"
    )
