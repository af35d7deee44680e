"""A field that the API server is too old for: it says 500 to it, and no waiting helps. On a real API server."""

import pytest

from holdfast_api import conditions
from holdfast_operator import kinds, reconcile
from holdfast_operator.children import Blocked, refusal
from holdfast_operator.cluster import ApiError
from holdfast_operator.queue import Retry
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
