"""Events that come between the pages of a list, which is older than they are."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from holdfast_api import names
from holdfast_operator import kinds
from holdfast_operator.cluster import Page
from holdfast_operator.dapr import DaprApi
from holdfast_operator.intake import Intake
from holdfast_operator.inventory import Inventory
from holdfast_operator.memory import Memory

Manifest = dict[str, Any]
KEY = ("ns", "a")
LABEL = {names.LABEL_AGENT: "a"}
OWNER = {"apiVersion": names.GROUP_VERSION, "kind": names.KIND, "name": "a", "uid": "agent", "controller": True}


def live(name: str, version: int, *, owners: tuple[Manifest, ...] = (), scopes: tuple[str, ...] = ()) -> Manifest:
    metadata = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": str(version), "labels": LABEL}
    spec = {"type": "state.redis", "containers": []}
    return {"metadata": metadata | {"ownerReferences": list(owners)}, "spec": spec, "scopes": list(scopes)}


class Cluster:
    """Lists of two pages, read at version 10; between the pages something happens."""

    def __init__(self, pages: dict[kinds.Kind, list[Manifest]], meanwhile: Callable[[kinds.Kind], None]) -> None:
        self._pages, self._meanwhile = pages, meanwhile

    async def pages(self, kind: kinds.Kind, _namespace: str | None, **_: object) -> AsyncIterator[Page]:
        yield Page([], "10")
        self._meanwhile(kind)
        yield Page(self._pages.get(kind, []), "10")


async def test_what_events_tell_while_a_list_is_read_is_not_taken_back_by_it() -> None:
    memory, due = Memory(), set()
    dapr = DaprApi(None, namespace="dapr-system")  # type: ignore[arg-type] - nothing is asked of the cluster
    dapr.installed = True
    intake = Intake(memory=memory, dapr=dapr, due=lambda key, _: due.add(key), forget=due.discard)
    listed = {
        kinds.COMPONENT: [live("deleted", 3), live("changed", 4), live("mine", 5, owners=(OWNER,))],
        kinds.SERVICE: [live("a", 6, owners=(OWNER,))],
        kinds.POD: [live("a-1", 7)],
    }
    for kind, objects in listed.items():
        for each in objects:
            intake.pod(None, each) if kind == kinds.POD else intake.child(kind, None, each)

    def meanwhile(kind: kinds.Kind) -> None:
        if kind == kinds.COMPONENT:
            intake.child(kind, "DELETED", live("deleted", 11))
            intake.child(kind, "MODIFIED", live("changed", 12, scopes=("b",)))
            intake.child(kind, "ADDED", live("made", 13))
            intake.child(kind, "DELETED", live("mine", 14, owners=(OWNER,)))
            intake.child(kind, "ADDED", live("mine", 15, owners=(OWNER,), scopes=("a",)))
        elif kind == kinds.SERVICE:
            intake.child(kind, "DELETED", live("a", 16, owners=(OWNER,)))
        elif kind == kinds.POD:
            intake.pod("DELETED", live("a-1", 17))

    inventory = Inventory(cluster=Cluster(listed, meanwhile), memory=memory, intake=intake, dapr=dapr, namespaces=("ns",))  # type: ignore[arg-type]
    await inventory.take()

    scopes = {name: facts.scopes for name, facts in dapr.components_in("ns").items()}
    assert scopes == {"changed": ("b",), "made": (), "mine": ("a",)}
    record = memory.record(KEY)
    assert {place: found.version for place, found in record.children.items()} == {(kinds.COMPONENT, "mine"): "15"}
    assert record.pods == {}
    intake.child(kinds.SERVICE, None, live("a", 6, owners=(OWNER,)))
    assert (kinds.SERVICE, "a") in record.children, "nothing is remembered once the lists have been read"


async def test_an_agent_is_looked_at_when_a_list_shows_that_a_component_it_names_is_gone() -> None:
    memory, due = Memory(), set()
    dapr = DaprApi(None, namespace="dapr-system")  # type: ignore[arg-type] - nothing is asked of the cluster
    intake = Intake(memory=memory, dapr=dapr, due=lambda key, _: due.add(key), forget=due.discard)
    dapr.installed = True
    memory.need(KEY, frozenset({(kinds.COMPONENT, "llm")}))
    intake.child(kinds.COMPONENT, "ADDED", live("llm", 5))
    due.clear()
    stock = Inventory(cluster=Cluster({}, lambda _: None), memory=memory, intake=intake, dapr=dapr, namespaces=())  # type: ignore[arg-type]

    await stock.take()

    assert due == {KEY}
