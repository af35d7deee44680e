"""A field that the API server is too old for: it says 500 to it, and no waiting helps. On a real API server."""

import asyncio
from typing import Any

import pytest

from holdfast_api import conditions, names
from holdfast_operator import kinds, reconcile
from holdfast_operator.cluster import ApiError
from holdfast_operator.desired.meta import ANNOTATION_KEEP
from holdfast_operator.facts import seen
from holdfast_operator.inventory import Inventory
from holdfast_operator.queue import Retry
from holdfast_operator.refusals import Blocked, refusal
from holdfast_operator.watch import Followed
from tests.operator.live import World


@pytest.mark.apiserver
async def test_a_field_that_this_api_server_does_not_know_is_the_agents_error_and_names_the_field(world: World, namespace: str) -> None:
    ports = [{"name": "http", "port": 80}]
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "namespace": namespace},
        "spec": {"ports": ports, "later": 1},
    }

    with pytest.raises(ApiError) as error:
        await world.cluster.apply(kinds.SERVICE, manifest)
    found = refusal(kinds.SERVICE, "a", error.value)

    assert not error.value.transient
    assert isinstance(found, Blocked)
    assert found.findings.accepted is not None
    assert found.findings.accepted.reason == conditions.INVALID_SPEC
    assert ".spec.later" in found.findings.accepted.message


def test_any_other_500_is_asked_again() -> None:
    assert isinstance(refusal(kinds.SERVICE, "a", ApiError(500, "InternalError", "etcdserver: no leader")), Retry)


@pytest.mark.apiserver
async def test_an_environment_variable_without_a_secrets_name_stops_nobody(world: World, namespace: str) -> None:
    api = world.api
    api.agent(namespace, "a", {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"key": "key"}}}]})
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    world.restart()

    await world.take_stock(namespace)
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")

    assert api.get(kinds.AGENT, namespace, "a")["status"]["observedGeneration"] == 1


@pytest.mark.apiserver
async def test_an_object_that_cannot_be_read_hides_no_other_one(world: World, namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        world.api.agent(namespace, name)
        world.hear(kinds.AGENT, namespace, name, "ADDED")
        await world.look(namespace, name)
    world.restart()
    real = world.intake.child

    def of_b_only(kind: kinds.Kind, event: str | None, live: dict) -> None:
        if live["metadata"]["name"] == "a":
            raise KeyError("name")
        real(kind, event, live)

    world.intake.child = of_b_only
    await world.take_stock(namespace)

    assert (kinds.SERVICE, "b") in world.memory.record((namespace, "b")).children
    assert f"Service {namespace}/a cannot be read" in caplog.text


def kept_for(text: str) -> dict[str, Any]:
    """A ConfigMap that says it is a child, and how long it is to be kept."""
    owner = {"apiVersion": names.GROUP_VERSION, "kind": names.KIND, "name": "a", "uid": "u", "controller": True}
    return {"metadata": {"name": "odd", "annotations": {ANNOTATION_KEEP: text}, "ownerReferences": [owner]}}


@pytest.mark.parametrize(
    ("text", "seconds"), [("3600", 3600), ("9" * 11, 99_999_999_999), ("9" * 12, 0), ("9" * 5000, 0), ("-1", 0), ("", 0)]
)
def test_a_time_to_keep_that_is_none_is_none(text: str, seconds: int) -> None:
    live = kept_for(text)
    live["metadata"] |= {"uid": "1", "resourceVersion": "1"}

    assert seen(kinds.CONFIG_MAP, live).keep_seconds == seconds


@pytest.mark.apiserver
async def test_an_object_that_cannot_be_read_ends_no_watch(world: World, namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    real, heard = world.intake.child, asyncio.Event()

    def unless_odd(kind: kinds.Kind, event: str | None, live: dict[str, Any]) -> None:
        if live["metadata"]["name"] == "odd":
            raise ValueError("odd")
        real(kind, event, live)
        if live["metadata"]["name"] == "next":
            heard.set()

    world.intake.child = unless_odd
    inventory = Inventory(cluster=world.cluster, memory=world.memory, intake=world.intake, dapr=world.dapr, namespaces=(namespace,))
    listed = (await anext(world.cluster.pages(kinds.CONFIG_MAP, namespace))).version
    world.api.create(kinds.CONFIG_MAP, namespace, kept_for("9" * 5000))
    world.api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": "next"}})

    watch = asyncio.create_task(inventory._watch(Followed(kinds.CONFIG_MAP, namespace), start_anew=pytest.fail).run(listed))
    ended, _ = await asyncio.wait({watch, told := asyncio.create_task(heard.wait())}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    for task in (watch, told):
        task.cancel()

    assert ended == {told}
    assert f"ConfigMap {namespace}/odd cannot be read" in caplog.text


@pytest.mark.apiserver
async def test_a_url_that_no_pattern_can_refuse_is_told_with_its_field(world: World, namespace: str) -> None:
    world.api.agent(namespace, "a", {"observability": {"tracing": {"otlp": "https://[:F]:7"}}})
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")

    accepted = world.api.condition(namespace, "a", "Accepted")

    assert accepted["reason"] == conditions.INVALID_SPEC
    assert "spec.observability.tracing.otlp" in accepted["message"]
    assert "https://[:F]:7" in accepted["message"]


@pytest.mark.apiserver
async def test_a_mistake_of_the_operators_own_is_told_after_some_attempts(
    world: World, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("name")

    monkeypatch.setattr(reconcile, "parse_agent", broken)
    world.api.agent(namespace, "a")
    for _ in range(4):
        world.hear(kinds.AGENT, namespace, "a", "ADDED")
        with pytest.raises(KeyError):
            await world.look(namespace, "a")

    ready = world.api.condition(namespace, "a")
    assert (ready["status"], ready["reason"]) == ("Unknown", conditions.RETRYING)
    assert "an error in Holdfast" in ready["message"]
