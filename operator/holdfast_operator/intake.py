"""Events and lists -> memory and queue. An event only says that an Agent has to be looked at again.

Echoes of our own writes are recognised by their resourceVersion and cost next to nothing.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from holdfast_api import names
from holdfast_operator.components import ComponentFacts
from holdfast_operator.dapr import DaprApi
from holdfast_operator.facts import deployment_facts, newer, pod_facts, seen
from holdfast_operator.graves import Graves
from holdfast_operator.kinds import AGENT, COMPONENT, DAPR_GROUP, DEPLOYMENT, POD, SECRET, Key, Kind
from holdfast_operator.memory import ChildId, Memory

Manifest = dict[str, Any]
DELETED = "DELETED"
VANISHING_SECONDS = 0.5
"""Wait before a Dapr object is made again: if its CRD is being removed, making it again at once would hold the removal up for minutes."""


class Intake:
    """Where every event arrives, whoever watched for it."""

    def __init__(self, *, memory: Memory, dapr: DaprApi, due: Callable[[Key, float], None], forget: Callable[[Key], None]) -> None:
        self._memory, self._dapr, self._enqueue, self._forget = memory, dapr, due, forget
        self.graves = Graves()
        self.quiet = False
        """True while the first inventory is taken: what it finds is no news, every Agent is looked at once anyway."""

    def agent(self, event: str | None, live: Manifest) -> None:
        """An Agent was seen."""
        metadata = live["metadata"]
        key = (metadata["namespace"], metadata["name"])
        known = self._memory.find(key)
        if known and known.knows(metadata["resourceVersion"]):
            # No news; or of a former Agent of this name: Kopf keeps the order of one uid only, so its end may be told after its successor.
            return
        if event == DELETED:
            self._memory.forget(key)
            self._forget(key)
            return
        self._memory.record(key).keep(live)
        self._news(key, (AGENT, key[1]), metadata["resourceVersion"])

    def child(self, kind: Kind, event: str | None, live: Manifest) -> None:
        """An object of a child kind was seen: a child, or something that Agents need."""
        if not self.graves.hold(kind, event, live):
            self._child(kind, event, live)

    def _child(self, kind: Kind, event: str | None, live: Manifest) -> None:
        metadata = live["metadata"]
        if kind == COMPONENT:
            self.component(metadata["namespace"], metadata["name"], None if event == DELETED else live, version=metadata["resourceVersion"])
        for needing in self._memory.needing(metadata["namespace"], kind, metadata["name"]):
            # What a look has read already is no news to that Agent, so a list may be told as often as one likes.
            if newer(metadata["resourceVersion"], self._memory.record(needing).read.get((kind, metadata["name"]), "")):
                self.due(needing)
        if kind == SECRET:
            # Made once and never written again; where it may be watched, only who carries it is told.
            return
        if (key := owner(live)) is None:
            self._disowned(kind, live)
            return
        record, place = self._memory.record(key), (kind, metadata["name"])
        if event == DELETED:
            known = record.children.get(place)
            # Of one that is just being read the answer may be from before.
            if known.uid == metadata["uid"] if known else place in record.awaited:
                self._lost(key, place, metadata["resourceVersion"])
        elif record.is_news(place, metadata["resourceVersion"]) and record.saw(place, seen(kind, live)):
            self._news(key, place, metadata["resourceVersion"])
        if place == (DEPLOYMENT, key[1]) and event != DELETED:
            self._deployment(key, live)

    def component(self, namespace: str, name: str, live: Manifest | None, *, version: str) -> None:
        """A Component was seen, or is gone. One that keeps workflows concerns every Agent whose sidecar sees it, named or not."""
        changed = self._dapr.saw_component(namespace, name, ComponentFacts.of(live) if live else None, version=version)
        if live and owner(live):
            return
        for facts in changed:
            apps = facts.scopes or [app for place, app in self._memory if place == namespace]
            for key in ((namespace, app) for app in apps):
                if self._memory.find(key):
                    self.due(key)

    def _disowned(self, kind: Kind, live: Manifest) -> None:
        """Somebody has taken our reference off a child: it counts as lost, and the next look finds it and says so.

        The label may be gone as well, so the Agent is found by the child's name, which is the Agent's or begins with it and a dash.
        """
        metadata = live["metadata"]
        place, version = (kind, metadata["name"]), metadata["resourceVersion"]
        for agent in accumulate(metadata["name"].split("-"), "{}-{}".format):
            key = (metadata["namespace"], agent)
            record = self._memory.find(key)
            if record and (place in record.children or place in record.awaited) and record.is_news(place, version):
                self._lost(key, place, version)

    def _deployment(self, key: Key, live: Manifest) -> None:
        record = self._memory.record(key)
        known = record.children[(DEPLOYMENT, live["metadata"]["name"])]
        facts = deployment_facts(live)
        if known.version == live["metadata"]["resourceVersion"] and facts != record.deployment:
            record.deployment = facts
            self._news(key, (DEPLOYMENT, key[1]), known.version)

    def pod(self, event: str | None, live: Manifest) -> None:
        """A pod with the label of an Agent was seen."""
        metadata = live["metadata"]
        key, name = (metadata["namespace"], metadata["labels"][names.LABEL_AGENT]), metadata["name"]
        if self.graves.hold(POD, event, live):
            return
        record = self._memory.record(key)
        old = record.pods.get(name)
        if event == DELETED:
            if old and old.uid == metadata["uid"]:
                del record.pods[name]
                self.due(key)
            return
        if old and old.uid == metadata["uid"] and not newer(metadata["resourceVersion"], old.version):
            return
        facts = pod_facts(live)
        record.pods[name] = facts
        if old is None or (old.ready, old.problem, old.uid) != (facts.ready, facts.problem, facts.uid):
            self.due(key)

    def missing(self, key: Key, child: ChildId, version: str) -> None:
        """A list of that version shows that a child is gone whose deletion nobody told us."""
        self._lost(key, child, version)

    def _news(self, key: Key, place: ChildId, version: str) -> None:
        if not self._memory.record(key).awaits(place, version):
            self.due(key)

    def due(self, key: Key, delay: float = 0.0) -> None:
        """Look at an Agent again."""
        if not self.quiet:
            self._enqueue(key, delay)

    def _lost(self, key: Key, child: ChildId, version: str) -> None:
        record = self._memory.record(key)
        record.lose(child, version)
        if child == (DEPLOYMENT, key[1]):
            record.deployment = None
        if child[0].group == DAPR_GROUP:
            self._dapr.doubt()
            self.due(key, VANISHING_SECONDS)
        else:
            self.due(key)


def owner(live: Manifest) -> Key | None:
    """The Agent that controls an object, by its controller reference."""
    metadata = live["metadata"]
    for ref in metadata.get("ownerReferences", ()):
        if ref.get("controller") and ref["kind"] == names.KIND and ref["apiVersion"].startswith(f"{names.GROUP}/"):
            return metadata["namespace"], ref["name"]
    return None
