"""Events of Agents in the order in which Kopf tells them, which is that of each uid alone."""

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from kopf._cogs.clients import watching
from kopf._cogs.structs import references
from kopf._core.actions import lifecycles
from kopf._core.engines import indexing
from kopf._core.reactor import inventory, processing, queueing

from holdfast_operator.dapr import DaprApi
from holdfast_operator.handlers import build_registry, build_settings
from holdfast_operator.intake import Intake
from holdfast_operator.kinds import AGENT, Key
from holdfast_operator.memory import Memory

KEY = ("ns", "a")
Manifest = dict[str, Any]


class Heard:
    """An intake, and what it makes of events."""

    def __init__(self) -> None:
        self.memory, self.due = Memory(), set[Key]()
        dapr = DaprApi(None, namespace="dapr-system")  # type: ignore[arg-type] - nothing is asked of the cluster
        self.intake = Intake(memory=self.memory, dapr=dapr, due=lambda key, _: self.due.add(key), forget=self.due.discard)

    def waiting(self) -> str | None:
        """The uid of the Agent that the next look begins with."""
        assert self.due == {KEY}
        manifest = self.memory.record(KEY).take()
        return manifest and manifest["metadata"]["uid"]


def agent(uid: str, version: int) -> Manifest:
    head = {"namespace": "ns", "name": "a", "uid": uid, "resourceVersion": str(version)}
    return {"apiVersion": AGENT.api_version, "kind": AGENT.kind, "metadata": head, "spec": {}}


@pytest.mark.parametrize(
    "late", [[("DELETED", agent("former", 7))], [("MODIFIED", agent("former", 6)), ("DELETED", agent("former", 7))]], ids=["end", "both"]
)
def test_what_is_told_late_of_a_former_agent_of_the_name_does_not_touch_the_new_one(late: list[tuple[str, Manifest]]) -> None:
    heard = Heard()
    heard.intake.agent("ADDED", agent("former", 5))
    for event, live in [("ADDED", agent("new", 8)), *late]:
        heard.intake.agent(event, live)

    assert heard.waiting() == "new"


def test_the_end_of_an_agent_is_its_end_however_often_it_was_looked_at() -> None:
    heard = Heard()
    heard.intake.agent("ADDED", agent("only", 5))
    heard.memory.record(KEY).begin("6")

    heard.intake.agent("DELETED", agent("only", 7))

    assert (heard.due, KEY in heard.memory) == (set(), False)


async def test_an_agent_that_kopf_tells_of_before_its_predecessors_end_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    told, heard = [("MODIFIED", "former", 6), ("DELETED", "former", 7), ("ADDED", "new", 8)], Heard()
    taken, order = heard.intake.agent, list[str]()

    def take(event: str | None, live: Manifest) -> None:
        order.append(f"{event} {live['metadata']['uid']}")
        taken(event, live)

    async def stream(**_: object) -> AsyncIterator[Manifest]:
        for event, uid, version in told:
            yield {"type": event, "object": agent(uid, version)}
        while len(order) < len(told):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.005)
        raise asyncio.CancelledError

    monkeypatch.setattr(heard.intake, "agent", take)
    monkeypatch.setattr(watching, "infinite_watch", stream)
    settings, resource = build_settings(), references.Resource(AGENT.group, AGENT.version, AGENT.plural, kind=AGENT.kind, namespaced=True)
    processor = functools.partial(
        processing.process_resource_event,
        lifecycle=lifecycles.all_at_once,
        indexers=indexing.OperatorIndexers(),
        registry=build_registry(heard.intake),
        settings=settings,
        memories=inventory.ResourceMemories(),
        memobase=kopf.Memo(),
        resource=resource,
        event_queue=asyncio.Queue(),
    )
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await queueing.watcher(namespace=None, settings=settings, resource=resource, processor=processor)

    assert order == ["MODIFIED former", "ADDED new", "DELETED former"]  # if this changes, Kopf has become kinder
    assert heard.waiting() == "new"
