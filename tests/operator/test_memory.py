"""What a record keeps of an Agent between events and looks."""

from typing import Any

import pytest

from holdfast_operator.dapr import DaprApi
from holdfast_operator.intake import Intake
from holdfast_operator.kinds import SERVICE, Key, Kind
from holdfast_operator.memory import Memory, Record
from holdfast_operator.writing import remember, write

KEY = ("n", "a")


@pytest.mark.parametrize(("told", "kept"), [("6", False), ("7", False), ("8", True)], ids=["earlier", "same", "later"])
def test_a_look_drops_what_events_have_told_up_to_the_version_that_it_read(told: str, kept: bool) -> None:  # noqa: FBT001
    record = Record(uid="u", version="5")
    record.keep({"metadata": {"name": "a", "resourceVersion": told}})

    record.begin("7")

    assert record.version == "7"
    assert (record.take() is not None) is kept


def service(version: str, *, owned: bool = True) -> dict[str, Any]:
    """A child of the Agent, or one that nobody controls any more."""
    owner = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "name": "a", "uid": "u", "controller": True}
    labels = {"holdfast.dev/agent": "a"}
    metadata = {"namespace": "n", "name": "a", "uid": "s", "resourceVersion": version, "labels": labels}
    return {"metadata": metadata | ({"ownerReferences": [owner]} if owned else {})}


class Slow:
    """An API server that carries out a write at version 6, and whose answer is slower than the events that follow."""

    def __init__(self) -> None:
        self.memory, self.due = Memory(), list[Key]()
        self.intake = Intake(memory=self.memory, dapr=DaprApi(self, namespace="d"), due=lambda key, _: self.due.append(key), forget=print)  # type: ignore[arg-type]
        self.events: list[tuple[str | None, dict[str, Any]]] = []

    async def apply(self, kind: Kind, manifest: dict[str, Any], **_: Any) -> dict[str, Any]:
        for event, live in self.events:
            self.intake.child(kind, event, live)
        return service("6")


LOST = {
    "deleted": ("DELETED", service("7")),
    "without our reference": ("MODIFIED", service("7", owned=False)),
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
@pytest.mark.parametrize("echo", [[], [("MODIFIED", service("6"))]], ids=["alone", "after-the-echo"])
async def test_a_loss_that_is_faster_than_the_answer_to_a_write_is_not_forgotten(lost: Any, echo: Any) -> None:
    server = Slow()
    record = server.memory.record(KEY)
    server.intake.child(SERVICE, None, service("5"))
    server.events, server.due = [*echo, lost], []

    remember(record, SERVICE, "a", await write(server, record, SERVICE, service("5")))  # type: ignore[arg-type]

    assert record.children == {}
    assert server.due == [KEY]

    # The next look makes it again.
    remember(record, SERVICE, "a", service("8"))
    assert [found.version for found in record.children.values()] == ["8"]


async def test_the_end_of_what_a_write_made_again_takes_nothing_back() -> None:
    server = Slow()
    record = server.memory.record(KEY)
    server.intake.child(SERVICE, None, service("4"))
    server.events = [("DELETED", service("5"))]

    remember(record, SERVICE, "a", await write(server, record, SERVICE, service("4")))  # type: ignore[arg-type]

    assert [found.version for found in record.children.values()] == ["6"]
