"""What a record keeps of an Agent between events and looks."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast_api.manifest import parse_agent
from holdfast_operator.children import Children
from holdfast_operator.cluster import ApiError
from holdfast_operator.dapr import DaprApi
from holdfast_operator.desired.steps import Child
from holdfast_operator.intake import Intake
from holdfast_operator.kinds import COMPONENT, SERVICE, SERVICE_ACCOUNT, Key, Kind
from holdfast_operator.memory import Memory, Record
from holdfast_operator.queue import Retry
from holdfast_operator.writing import remember, write

KEY = ("n", "a")
Manifest = dict[str, Any]


@pytest.mark.parametrize(("told", "kept"), [("6", False), ("7", False), ("8", True)], ids=["earlier", "same", "later"])
def test_a_look_drops_what_events_have_told_up_to_the_version_that_it_read(told: str, kept: bool) -> None:  # noqa: FBT001
    record = Record(uid="u", version="5")
    record.keep({"metadata": {"name": "a", "resourceVersion": told}})

    record.begin("7")

    assert record.version == "7"
    assert (record.take() is not None) is kept


OWNER = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "name": "a", "uid": "u", "controller": True}


def service(version: str, *, owned: bool = True) -> Manifest:
    """A child of the Agent, or one that nobody controls any more."""
    metadata = {"namespace": "n", "name": "a", "uid": "s", "resourceVersion": version, "labels": {"holdfast.dev/agent": "a"}}
    return {"metadata": metadata | ({"ownerReferences": [OWNER]} if owned else {})}


def component(version: str, *, owned: bool = True) -> Manifest:
    """A child that is called after the Agent, or what somebody has put in its place, with nothing of ours."""
    head = {"namespace": "n", "name": "a-state", "uid": "s", "resourceVersion": version}
    ours = {"labels": {"holdfast.dev/agent": "a"}, "ownerReferences": [OWNER]}
    return {"metadata": head | (ours if owned else {"labels": {}, "ownerReferences": []}), "spec": {"type": "state.redis"}}


class Slow:
    """An API server that carries out a write at version 6, and whose answer is slower than the events that follow."""

    def __init__(self) -> None:
        self.memory, self.due = Memory(), list[Key]()
        self.intake = Intake(memory=self.memory, dapr=DaprApi(self, namespace="d"), due=lambda key, _: self.due.append(key), forget=print)  # type: ignore[arg-type]
        self.events: list[tuple[str | None, Manifest]] = []

    async def apply(self, kind: Kind, manifest: Manifest, **_: Any) -> Manifest:
        for event, live in self.events:
            self.intake.child(kind, event, live)
        return {**manifest, "metadata": manifest["metadata"] | {"resourceVersion": "6"}}


LOST = {
    "deleted": (SERVICE, service, "DELETED", service("7")),
    "without our reference": (SERVICE, service, "MODIFIED", service("7", owned=False)),
    "without our reference and label": (COMPONENT, component, "MODIFIED", component("7", owned=False)),
}


@pytest.mark.parametrize(("kind", "child", "event", "lost"), LOST.values(), ids=LOST.keys())
@pytest.mark.parametrize("echo", [False, True], ids=["alone", "after-the-echo"])
async def test_a_loss_that_is_faster_than_the_answer_to_a_write_is_not_forgotten(
    kind: Kind, child: Callable[[str], Manifest], event: str, lost: Manifest, *, echo: bool
) -> None:
    server, name = Slow(), lost["metadata"]["name"]
    record = server.memory.record(KEY)
    server.intake.child(kind, None, child("5"))
    server.events, server.due = [*([("MODIFIED", child("6"))] if echo else []), (event, lost)], []

    remember(record, kind, name, await write(server, record, kind, child("5")))  # type: ignore[arg-type]

    assert record.children == {}
    assert server.due == [KEY]

    # The next look makes it again.
    remember(record, kind, name, child("8"))
    assert [found.version for found in record.children.values()] == ["8"]


class Reading(Slow):
    """An API server with the children of an Agent at version 5, one of which is lost at version 7 while they are read."""

    def __init__(self, *, told_before: Kind, refuses: bool = False) -> None:
        super().__init__()
        self.told_before, self.refuses = told_before, refuses
        self.applied: list[Kind] = []
        head = {"name": "a", "namespace": "n", "uid": "u", "generation": 1}
        agent = parse_agent({"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": head, "spec": {}})
        self.children = Children(self, self.memory.record(KEY), agent)  # type: ignore[arg-type]
        self.steps = (tuple(Child(kind, "a", {**service("0"), "kind": kind.kind}) for kind in (SERVICE, SERVICE_ACCOUNT)),)

    async def get(self, kind: Kind, _namespace: str, name: str) -> Manifest | None:
        if name != "a":
            return None
        if kind == self.told_before:
            await asyncio.sleep(0)  # the other one is answered by now
            for event, live in self.events:
                self.intake.child(SERVICE, event, live)
        return service("5")

    async def apply(self, kind: Kind, manifest: Manifest, **_: Any) -> Manifest:
        self.applied.append(kind)
        if self.refuses:
            raise ApiError(409, "Conflict", "the object has been modified")
        return {**manifest, "metadata": manifest["metadata"] | {"resourceVersion": "8"}}


@pytest.mark.parametrize("lost", [("DELETED", service("7")), ("MODIFIED", service("7", owned=False))], ids=["deleted", "disowned"])
@pytest.mark.parametrize("told_before", [SERVICE, SERVICE_ACCOUNT], ids=["its-answer", "the-answer-of-its-sibling"])
async def test_a_child_that_is_lost_while_children_are_read_does_not_count_as_there(told_before: Kind, lost: tuple[str, Manifest]) -> None:
    server = Reading(told_before=told_before)
    server.events = [lost]

    await server.children.look(server.steps)

    assert server.due == [KEY]
    assert {kind for kind, _ in server.memory.record(KEY).children} == {SERVICE_ACCOUNT}

    await server.children.apply(server.steps)

    assert SERVICE in server.applied
    assert {kind for kind, _ in server.memory.record(KEY).children} == {SERVICE, SERVICE_ACCOUNT}


async def test_what_a_look_reads_is_no_news_when_events_tell_it_too() -> None:
    server = Reading(told_before=SERVICE)
    server.events = [("ADDED", service("5"))]

    await server.children.look(server.steps)

    assert server.due == []
    assert not server.memory.record(KEY).overtaken


async def test_a_child_that_is_lost_while_it_is_read_after_a_conflict_does_not_count_as_there() -> None:
    server = Reading(told_before=SERVICE, refuses=True)
    server.intake.child(SERVICE, None, service("4"))
    server.events, server.due = [("DELETED", service("7"))], []

    with pytest.raises(Retry):
        await server.children.apply((server.steps[0][:1],))

    assert server.due == [KEY]
    assert server.memory.record(KEY).children == {}


async def test_the_end_of_what_a_write_made_again_takes_nothing_back() -> None:
    server = Slow()
    record = server.memory.record(KEY)
    server.intake.child(SERVICE, None, service("4"))
    server.events = [("DELETED", service("5"))]

    remember(record, SERVICE, "a", await write(server, record, SERVICE, service("4")))  # type: ignore[arg-type]

    assert [found.version for found in record.children.values()] == ["6"]
