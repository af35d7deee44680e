"""One look at one Agent: read, decide, apply what differs, tell in the status. Idempotent, and free when there is nothing to do."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from holdfast_api import conditions, names
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import Refused, Resolved, components_of, config_maps_of, resolve
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.advice import missing_token_secret, waits_for
from holdfast_operator.children import Children
from holdfast_operator.cluster import ApiError, Cluster, Manifest, NotLeading
from holdfast_operator.components import problem
from holdfast_operator.dapr import DaprApi
from holdfast_operator.desired import desired
from holdfast_operator.desired.pins import Past, Pins, check_store, pins_of
from holdfast_operator.desired.rotation import Rotation, secrets_of
from holdfast_operator.desired.standing import Mark, Writing, inputs_of, program
from holdfast_operator.desired.steps import Steps
from holdfast_operator.events import Reporter
from holdfast_operator.kinds import AGENT, COMPONENT, CONFIG_MAP, DEPLOYMENT, SECRET, Key
from holdfast_operator.memory import ChildId, Memory, Record
from holdfast_operator.observe import Findings, Observed, Verdict, failed, observe, was_available
from holdfast_operator.pods import replace_uninjected
from holdfast_operator.queue import Retry
from holdfast_operator.refusals import Blocked, gather
from holdfast_operator.scaling import hold_scale, scale_only
from holdfast_operator.settings import Settings
from holdfast_operator.status import condition_list, status_fields
from holdfast_operator.teams import Teams
from holdfast_operator.upgrade import leave_alone, write_down
from holdfast_operator.writing import write

logger = logging.getLogger(__name__)

_PATIENCE = 4
"""After so many failed looks in a row the status says what fails."""

_MAX_WAIT = 60.0
"""Seconds between two looks at an Agent that waits for something no event tells of; see `Reconciler._later`."""


@dataclass
class Visit:
    """What one look has found so far. It begins with the manifest alone; what is still None or empty was not reached.

    Attributes:
        manifest: the Agent as the API server has it.
        findings: what stands in the way.
        agent: the manifest, parsed.
        resolved: what the Agent comes to, with the defaults and the texts that it names.
        again: waits in seconds, the shortest of which is when to look again without an event.
        standing: the pods stay as an earlier version of the operator wrote them; see `desired.standing`.
    """

    manifest: Manifest
    findings: Findings = field(default_factory=Findings)
    agent: Agent | None = None
    resolved: Resolved | None = None
    again: list[float] = field(default_factory=list)
    standing: bool = False

    @property
    def suspended(self) -> bool:
        """Whether the Agent asks for no pods; known even of one that is refused."""
        return self.manifest.get("spec", {}).get("suspend") is True

    @property
    def replicas(self) -> int | None:
        """Number of pods that the Agent asks for, as far as it can be told."""
        wanted = 0 if self.suspended else self.manifest.get("spec", {}).get("replicas")
        return wanted if isinstance(wanted, int) and wanted >= 0 else None


class Reconciler:
    """The imperative shell around the pure parts."""

    def __init__(
        self, *, cluster: Cluster, memory: Memory, settings: Settings, dapr: DaprApi, clock: Callable[[], float] = time.time
    ) -> None:
        self._cluster, self._memory, self._settings, self._dapr, self._clock = cluster, memory, settings, dapr, clock
        self._reporter = Reporter(cluster, clock=clock)
        self.teams = Teams(cluster, memory)
        self._failures: dict[Key, int] = {}
        self._blocked: dict[Key, tuple[int, int]] = {}

    async def __call__(self, key: Key) -> float | None:
        """Make one Agent as it should be.

        Returns:
            Seconds after which to look again without an event, or None.

        Raises:
            Retry: something did not answer or has changed in the meantime.
        """
        try:
            return await self._visit(key)
        except ApiError as error:
            # Whatever the server said: what it says next time may be different, and its words are all that anybody needs.
            raise Retry(str(error), after=error.retry_after) from None
        except NotLeading as error:
            raise Retry(str(error)) from None

    def forget(self, key: Key) -> None:
        """An Agent is gone: a new one of its name begins without its failures."""
        self._failures.pop(key, None)
        self._blocked.pop(key, None)

    async def _visit(self, key: Key) -> float | None:
        record = self._memory.record(key)
        manifest = record.take() or await self._cluster.get(AGENT, *key)
        if manifest is None:
            self._memory.forget(key)
            self.forget(key)
            await self.teams.depart(key)
            return None
        metadata = manifest["metadata"]
        if metadata.get("deletionTimestamp"):
            return None
        if record.uid != metadata["uid"]:
            record.uid, record.tokens, record.tokens_doubted, record.replaced = metadata["uid"], False, False, 0
        record.begin(metadata["resourceVersion"])
        visit = Visit(manifest)
        failure = await self._try(key, record, visit)
        try:
            await self._keep_pods(key, record, visit)
        except (ApiError, Retry) as error:
            # What was found is told all the same.
            failure = failure or error
        await self._tell(key, record, visit)
        if failure:
            raise failure
        if record.overtaken:
            record.overtaken = False
            return 0.0
        return min(visit.again, default=None)

    async def _keep_pods(self, key: Key, record: Record, visit: Visit) -> None:
        """What is done for the pods of an Agent whatever is wrong with it."""
        if not visit.findings.clean and visit.replicas is not None:
            # Pods that are not wanted cost money.
            visit.again += await hold_scale(self._cluster, key, record, visit.replicas, now=self._clock())
        visit.again += await replace_uninjected(self._cluster, key, record, now=self._clock())

    async def _try(self, key: Key, record: Record, visit: Visit) -> Exception | None:
        """Carry the Agent out. A failure is nobody's news, until it has happened several times in a row; then a mistake of ours is, too.

        Returns:
            The failure to raise once it is told.
        """
        try:
            await self._carry_out(key, record, visit)
        except NotLeading:
            raise
        except Exception as failure:
            if isinstance(failure, ApiError) and (failure.transient or failure.status in {404, 409}):
                raise
            self._failures[key] = self._failures.get(key, 0) + 1
            if self._failures[key] < _PATIENCE:
                raise
            known = isinstance(failure, Retry | ApiError)
            words = str(failure) if known else f"an error in Holdfast, see the operator's log: {type(failure).__name__}: {failure}"
            visit.findings = Findings(accepted=Verdict("Unknown", conditions.RETRYING, words))
            return failure
        self._failures.pop(key, None)
        return None

    async def _carry_out(self, key: Key, record: Record, visit: Visit) -> None:
        """From the Agent to its children; what stands in the way goes into the visit's findings."""
        try:
            steps, writing = await self._plan(key, record, visit)
            await self._check_outside(key, visit)
            assert visit.agent is not None
            children = Children(self._cluster, record, visit.agent, clock=self._clock)
            await children.look(steps)
            missed = any(missing_token_secret(key[1], pod.problem) for pod in record.pods.values())
            waits = [await children.make_tokens(missed=missed)]
            try:
                waits.append(await children.apply(steps))
            finally:
                await self._reporter.repaired(visit.manifest, children.told)
            await self.teams.settle(key, visit.manifest)
            if visit.standing:
                assert visit.replicas is not None
                scaled = await scale_only(self._cluster, key, record, visit.replicas)
                await leave_alone(self._cluster, key, record, writing, scaled)
            else:
                record.left = ""
            waits.append(await children.prune(steps, settled=self._judge(key, record, visit)[conditions.AVAILABLE].good))
            visit.again += [wait for wait in waits if wait is not None]
            self._blocked.pop(key, None)
        except Refused as refused:
            visit.findings = _from_refusal(refused)
        except Blocked as blocked:
            visit.findings = blocked.findings
            visit.again += [self._later(key, visit, blocked.again)] if blocked.again else []

    def _later(self, key: Key, visit: Visit, first: float) -> float:
        """Twice as long each time, as long as the Agent is the same."""
        generation = visit.manifest["metadata"]["generation"]
        before, count = self._blocked.get(key, (generation, 0))
        count = count if before == generation else 0
        self._blocked[key] = (generation, count + 1)
        return min(first * 2.0 ** min(count, 16), _MAX_WAIT)

    async def _plan(self, key: Key, record: Record, visit: Visit) -> tuple[Steps, Writing]:
        """The children as they should be, and by whom that is written down.

        Raises:
            Refused: the Agent cannot be carried out as it is written.
        """
        agent = parse_agent(visit.manifest)
        wanted = sorted(config_maps_of(agent))
        outside: frozenset[ChildId] = frozenset((CONFIG_MAP, name) for name in wanted)
        components = frozenset((COMPONENT, name) for name in components_of(agent, self._settings.defaults))
        self._memory.need(key, outside | components)
        found = await gather((CONFIG_MAP, name, self._cluster.get(CONFIG_MAP, key[0], name)) for name in wanted)
        record.read = {(CONFIG_MAP, name): live["metadata"]["resourceVersion"] for name, live in zip(wanted, found, strict=True) if live}
        texts = {name: None if live is None else live.get("data", {}) for name, live in zip(wanted, found, strict=True)}
        visit.resolved = resolve(agent, self._settings.defaults, texts)
        visit.agent = agent
        past = _past(record)
        check_store(pins_of(visit.resolved), past.pins)
        resolved, defaults = visit.resolved, self._settings.defaults

        def make(writing: Writing) -> Steps:
            return desired(agent, resolved, defaults, past, writing=writing, dapr_namespace=self._settings.dapr_namespace)

        rotation = await self._rotation(key, record, secrets_of(agent, resolved))
        now = Writing(Mark(program(), inputs_of(agent, defaults, texts, rotation.rolled)), rotation=rotation)
        steps, writing = await write_down(self._cluster, key, record, visit.manifest, now=now, make=make)
        visit.standing = any(child.kind == DEPLOYMENT and child.stands for step in steps for child in step)
        return steps, writing

    async def _rotation(self, key: Key, record: Record, secrets: Iterable[str]) -> Rotation:
        """The Secrets that the pods carry; those there are now only where the operator may look."""
        before = Rotation.parse(*record.deployment.rotation) if record.deployment else Rotation()
        if not self._settings.watch_secrets:
            return before.after(None)
        wanted = sorted(secrets)
        self._memory.need(key, record.references | {(SECRET, name) for name in wanted})
        found = await gather((SECRET, name, self._cluster.get(SECRET, key[0], name, metadata_only=True)) for name in wanted)
        now = {name: live["metadata"]["resourceVersion"] if live else None for name, live in zip(wanted, found, strict=True)}
        record.read |= {(SECRET, name): version for name, version in now.items() if version}
        return before.after(now)

    async def _check_outside(self, key: Key, visit: Visit) -> None:
        """Dapr has to be installed, and Components that the Agent names have to exist.

        Raises:
            Blocked: they do not.
        """
        if not self._dapr.installed:
            raise Blocked(Findings(dapr=failed(conditions.DAPR_NOT_INSTALLED, self._dapr.advice())))
        assert visit.resolved is not None
        there, named = self._dapr.components_in(key[0]), visit.resolved.existing_components
        absent = [name for name in named if name not in there]
        if absent:
            listed = ", ".join(repr(name) for name in absent)
            message = f"Component {listed} does not exist: create it in the Agent's namespace"
            raise Blocked(Findings(references=failed(conditions.COMPONENT_NOT_FOUND, message)))
        if unfit := problem(visit.resolved.config, there, named, self._dapr.actor_stores(*key)):
            raise Blocked(Findings(references=failed(conditions.COMPONENT_UNFIT, unfit)))

    def _judge(self, key: Key, record: Record, visit: Visit) -> dict[str, Verdict]:
        resolved = visit.resolved
        observed = Observed(
            findings=visit.findings,
            deployment=record.deployment,
            pods=tuple(record.pods.values()),
            revision=_revision(record, visit) if visit.findings.clean else None,
            suspended=visit.suspended,
            secrets=(*resolved.sidecar_secrets, *resolved.container_secrets) if resolved else (),
            was_available=was_available(visit.manifest.get("status", {}), visit.manifest["metadata"]["generation"]),
        )
        return observe(key[1], observed)

    async def _tell(self, key: Key, record: Record, visit: Visit) -> None:
        """Write the status if it changed, then an Event if the Agent turned."""
        metadata, before = visit.manifest["metadata"], visit.manifest.get("status", {})
        verdicts = self._judge(key, record, visit)
        now = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = condition_list(verdicts, before.get("conditions", []), generation=metadata["generation"], now=now)
        config = visit.resolved.config if visit.resolved else None
        status = status_fields(
            name=key[1],
            namespace=key[0],
            generation=metadata["generation"],
            found=found,
            deployment=record.deployment,
            revision=_revision(record, visit) if config and visit.findings.clean else before.get("revision"),
            model=config.model.label if config else before.get("model"),
        )
        self._memory.found(record, tuple((kind, verdict.status, verdict.reason) for kind, verdict in verdicts.items()))
        if status == before:
            return
        head = {"name": key[1], "namespace": key[0], "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {"apiVersion": names.GROUP_VERSION, "kind": names.KIND, "metadata": head, "status": status}
        live = await write(self._cluster, record, AGENT, body, subresource="status")
        record.version = live["metadata"]["resourceVersion"]
        if not record.overtaken:
            record.pending = None
        await self._reporter.report(visit.manifest, _conditions(before), verdicts)


def _revision(record: Record, visit: Visit) -> str | None:
    """The revision that the pods are to run."""
    if visit.standing and record.deployment:
        return record.deployment.revision
    return visit.resolved.config.revision if visit.resolved else None


def _past(record: Record) -> Past:
    """What the kept revisions, the current one among them, and the live Deployment say."""
    children = [found for (kind, _), found in record.children.items() if kind == CONFIG_MAP and found.digest]
    return Past(
        pins=tuple(pins for found in children if found.owner == record.uid and (pins := Pins.parse(found.pins))),
        kept=record.deployment.kept if record.deployment else "",
        gone=lambda secret: any(waits_for(pod.problem, *secret) for pod in record.pods.values()),
    )


def _conditions(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {condition["type"]: condition for condition in status.get("conditions", [])}


def _from_refusal(refused: Refused) -> Findings:
    """Where a refusal belongs; a ConfigMap that is missing may still come, a bad field stays bad."""
    verdict = failed(refused.reason, refused.message)
    if refused.condition == conditions.REFERENCES_RESOLVED:
        return Findings(references=verdict)
    return Findings(accepted=replace(verdict, stalled=True))
