"""Random walks of an Agent's spec on a real API server, and what has to be true after each step.

After a step that the API server takes, the operator looks until it is done, the rollout completes, and time goes by until what was
superseded may go. Then:

    state       every child that `desired` names is there with all that it says, and nothing else is; or the status says why not
    stillness   one more look writes nothing
    history     a former spec gives the former state, and a fresh Agent with the same spec is the same
    words       a refusal names what is wrong: the API server's, or the status's
"""

import json
import random
import re
import urllib.error
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from holdfast_api import conditions
from holdfast_operator import kinds
from holdfast_operator.desired.pins import ANNOTATION_KEPT
from holdfast_operator.queue import Retry
from tests.operator.end_state import state
from tests.operator.live import World
from tests.operator.sequences.values import ITEM, Leaf, Path, Schema, drawn, leaves, placed, removed

NAME = "a"
LOOKS = 4
YEAR = 365 * 86400.0
_NAMES_SOMETHING = re.compile(r"spec\b|'|\"|`")
_EMPTY = re.compile(r"(, )?'[^']+': (\{\}|\[\])|(?<=\{), ")
Spec = dict[str, Any]


@dataclass
class Report:
    """What the walks did.

    Attributes:
        outcomes: transitions by how they ended: `taken`, `refused` by the API server, `told` in the status.
        leaves: of each leaf, how its transitions ended.
        effects: how often a leaf that was carried out changed any child.
        problems: what was wrong, with what leads there.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    leaves: dict[str, Counter[str]] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def count(self, leaf: Leaf, outcome: str) -> None:
        self.outcomes[outcome] += 1
        self.leaves.setdefault(str(leaf), Counter())[outcome] += 1


class Walker:
    """Walks in one namespace after another."""

    def __init__(self, world: World, schema: Schema, *, seed: int) -> None:
        self._world, self._schema, self._chance = world, schema, random.Random(seed)
        self._now, self._wrote = 1_900_000_000.0, Counter[str]()
        world.now = lambda: self._now
        world.cluster.observer = self._asked
        self._leaves = list(leaves(schema))
        self._left: list[Leaf] = []
        self.report = Report()

    @property
    def count(self) -> int:
        """Number of leaves."""
        return len(self._leaves)

    async def walk(self, namespace: str, twin: str, steps: int) -> None:
        """Make so many transitions of one Agent.

        Args:
            namespace: where it lives.
            twin: where a fresh one is made now and then, to compare.
            steps: transitions.
        """
        api = self._world.api
        for place in (namespace, twin):
            api.create(kinds.CONFIG_MAP, place, {"metadata": {"name": "texts"}, "data": {"prompt": "p", "book.py": "def book(): pass\n"}})
            component = {"metadata": {"name": "store"}, "spec": {"type": "state.in-memory", "version": "v1", "metadata": []}}
            api.create(kinds.COMPONENT, place, component)
            self._world.hear(kinds.COMPONENT, place, "store", "ADDED")
        api.agent(namespace, NAME)
        spec: Spec = {"replicas": 1}
        before = await self._arrive(namespace, "the beginning", spec)
        for _ in range(steps):
            leaf = self._next_leaf()
            new = self._changed(spec, leaf)
            outcome, words = self._put(namespace, new)
            if outcome == "refused" and self._chance.random() < 0.7:  # a rival beside it, mostly: alone it may be allowed
                self._put(namespace, {})
                new = self._changed({}, leaf)
                outcome, words = self._put(namespace, new)
                if outcome == "refused":
                    self._put(namespace, spec)
            step = f"{leaf} = {json.dumps(_at(new, leaf.path))[:200]}"
            if outcome == "refused":
                self.report.count(leaf, "refused")
                self._expect("spec" in words, step, new, f"the API server's refusal names no field: {words}")
                continue
            after = await self._arrive(namespace, step, new)
            told = _trouble(api, namespace)
            self.report.count(leaf, "told" if told else "taken")
            if told:
                self._expect(_NAMES_SOMETHING.search(told) is not None, step, new, f"the status names nothing: {told}")
            self.report.effects[str(leaf)] += after != before
            if told or self._chance.random() < 0.2:
                self._put(namespace, spec)
                back = await self._arrive(namespace, f"back from {step}", spec)
                self._compare(before, back, f"back from {step}", new, spec)
                continue
            if self._chance.random() < 0.1:
                await self._fresh(twin, after, step, new)
            spec, before = new, after

    def _asked(self, verb: str, plural: str, status: int) -> None:
        """Count what was carried out. A token's Secret is asked for by a POST, since it may not be read, and that is no write."""
        if verb != "GET" and status < HTTPStatus.MULTIPLE_CHOICES and plural != kinds.SECRET.plural:
            self._wrote[f"{verb} {plural}"] += 1

    def _next_leaf(self) -> Leaf:
        """Each leaf once, in a drawn order, before any comes again."""
        if not self._left:
            self._left = self._chance.sample(self._leaves, len(self._leaves))
        return self._left.pop()

    def _changed(self, spec: Spec, leaf: Leaf) -> Spec:
        if self._chance.random() < 0.12:
            return removed(spec, leaf.path)
        return placed(spec, self._schema, leaf.path, drawn(leaf, self._chance), self._chance)

    def _put(self, namespace: str, spec: Spec) -> tuple[str, str]:
        api = self._world.api
        live = api.get(kinds.AGENT, namespace, NAME)
        body = {"apiVersion": kinds.AGENT.api_version, "kind": kinds.AGENT.kind, "metadata": live["metadata"], "spec": spec}
        try:
            api.request("PUT", kinds.AGENT.path(namespace, NAME), body)
        except urllib.error.HTTPError as error:
            words = json.loads(error.read())["message"]
            if error.code not in {400, 422}:
                raise
            return "refused", words
        return "taken", ""

    async def _arrive(self, namespace: str, step: str, spec: Spec) -> dict[str, Any]:
        """Let the operator finish, and judge state and stillness; what there is then."""
        world = self._world
        for _ in range(LOOKS):
            if not await self._look(namespace, step, spec):
                break
            if world.api.get(kinds.DEPLOYMENT, namespace, NAME):
                world.api.roll_out(namespace, NAME)
                world.hear(kinds.DEPLOYMENT, namespace, NAME)
            self._now += YEAR
        await self._look(namespace, step, spec)
        self._expect(not self._wrote, step, spec, f"written after all was done: {dict(self._wrote)}")
        live = world.api.get(kinds.AGENT, namespace, NAME)
        status = live.get("status", {})
        self._expect(status.get("observedGeneration") == live["metadata"]["generation"], step, spec, "the status is not of this generation")
        ready = world.api.condition(namespace, NAME)
        if ready["status"] != "True":
            self._expect(bool(_trouble(world.api, namespace)), step, spec, f"not ready, and nothing says why: {ready}")
        return {name: _without_empty(text) for name, text in state(world.api, namespace).items() if not name.startswith("Agent/")}

    async def _look(self, namespace: str, step: str, spec: Spec) -> bool:
        """Look once; whether there was something to do."""
        world = self._world
        self._wrote.clear()
        world.hear(kinds.AGENT, namespace, NAME)
        try:
            await world.look(namespace, NAME)
        except Retry as retry:
            self._wrote["again"] += 1
            if "changed" not in str(retry) and "modified" not in str(retry):
                self._expect(False, step, spec, f"a look cannot be finished: {retry}")  # noqa: FBT003 - what is expected is not so
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            self._expect(False, step, spec, f"an error in Holdfast: {type(error).__name__}: {error}")  # noqa: FBT003 - see above
            return False
        return bool(self._wrote)

    async def _fresh(self, twin: str, after: dict[str, Any], step: str, spec: Spec) -> None:
        """A fresh Agent with the same spec has the same children."""
        api = self._world.api
        for kind in (*kinds.CHILDREN, kinds.SECRET):
            for live in api.list(kind, twin):
                if live["metadata"].get("ownerReferences"):
                    api.delete(kind, twin, live["metadata"]["name"])
        if api.get(kinds.AGENT, twin, NAME):
            api.delete(kinds.AGENT, twin, NAME)
        self._world.memory.forget((twin, NAME))
        api.agent(twin, NAME, spec)
        fresh = await self._arrive(twin, f"fresh with {step}", spec)
        self._compare(fresh, after, f"not as a fresh one after {step}", spec, spec)

    def _compare(self, wanted: dict[str, Any], found: dict[str, Any], step: str, spec: Spec, now: Spec) -> None:
        # What the pods keep for runs of earlier revisions goes with the next rollout that happens anyway.
        keeps = any(ANNOTATION_KEPT in text for text in (*wanted.values(), *found.values()))
        for name in sorted(wanted.keys() | found.keys()):
            one, other = wanted.get(name), found.get(name)
            if one != other and not (keeps and one and other):
                at = next((i for i, pair in enumerate(zip(one or "", other or "", strict=False)) if pair[0] != pair[1]), 0)
                words = f"{(other or 'missing')[max(at - 80, 0) : at + 80]} instead of {(one or 'nothing')[max(at - 80, 0) : at + 80]}"
                self._expect(False, step, now, f"{name}: {words}; over {json.dumps(spec)[:300]}")  # noqa: FBT003 - it is not so

    def _expect(self, so: bool, step: str, spec: Spec, words: str) -> None:  # noqa: FBT001 - reads as an assertion
        if not so:
            self.report.problems.append(f"{step}: {words}\n    spec: {json.dumps(spec)[:1500]}")


def schema_of(crd: Schema) -> Schema:
    """The schema of `spec`."""
    found: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def _without_empty(text: str) -> str:
    """An empty map or list says as much as none, and the API server keeps or drops it as it likes."""
    shorter = _EMPTY.sub("", text)
    return text if shorter == text else _without_empty(shorter)


def _trouble(api: Any, namespace: str) -> str:
    """What the status says is wrong with the Agent as it is written; empty when nothing is."""
    for kind in conditions.SUMMARISED:
        found = api.condition(namespace, NAME, kind)
        if found["status"] == "False":
            return f"{found['reason']}: {found['message']}"
    return ""


def _at(spec: Any, path: Path) -> Any:
    for part in path:
        if part == ITEM:
            spec = spec[-1] if isinstance(spec, list) and spec else None
        else:
            spec = spec.get(part) if isinstance(spec, dict) else None
    return spec
