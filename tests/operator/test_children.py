"""What one look costs and leaves behind, on a real API server."""

import base64
from collections import Counter

import pytest

from holdfast_api import names
from holdfast_operator import kinds
from holdfast_operator.facts import ANNOTATION_SUPERSEDED
from tests.operator.live import Api, World

pytestmark = pytest.mark.apiserver

OPENAI = {"provider": "openai", "name": "gpt-5-mini", "apiKeySecretRef": {"name": "openai", "key": "api-key"}}
CHILDREN = 8  # ServiceAccount, ConfigMap, two Components, Configuration, Resiliency, Service, Deployment


async def made(world: World, namespace: str, spec: dict | None = None) -> Counter:
    world.api.agent(namespace, "a", spec)
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    _, asked = await world.look(namespace, "a")
    return asked


async def change(world: World, namespace: str, spec: dict) -> Counter:
    world.api.patch(kinds.AGENT, namespace, "a", {"spec": spec})
    world.hear(kinds.AGENT, namespace, "a")
    _, asked = await world.look(namespace, "a")
    return asked


def writes(asked: Counter) -> Counter:
    return Counter({place: count for place, count in asked.items() if place[0] != "GET"})


async def test_a_new_agent_costs_one_read_and_one_write_a_child_and_one_status(world: World, namespace: str) -> None:
    asked = await made(world, namespace)

    # One read more: does another Dapr app have this app id?
    assert sum(count for (verb, _), count in asked.items() if verb == "GET") == CHILDREN + 1
    assert writes(asked) == {
        ("POST", "secrets"): 3,
        ("PATCH", "serviceaccounts"): 1,
        ("PATCH", "configmaps"): 1,
        ("PATCH", "components"): 2,
        ("PATCH", "configurations"): 1,
        ("PATCH", "resiliencies"): 1,
        ("PATCH", "services"): 1,
        ("PATCH", "deployments"): 1,
        ("PATCH", "agents"): 1,
    }


async def test_a_second_look_writes_nothing(world: World, namespace: str) -> None:
    await made(world, namespace)

    _, asked = await world.look(namespace, "a")

    assert asked == {("GET", "agents"): 1}


async def test_echoes_of_own_writes_make_nothing_due(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    for kind in kinds.CHILDREN:
        for live in api.list(kind, namespace):
            if live["metadata"].get("labels", {}).get(names.LABEL_AGENT):
                world.hear(kind, namespace, live["metadata"]["name"], "ADDED")
    world.hear(kinds.AGENT, namespace, "a")

    assert world.due == set()


async def test_a_restart_reads_and_writes_nothing_that_is_as_it_should_be(world: World, namespace: str) -> None:
    await made(world, namespace, {"replicas": 2, "resources": {"requests": {"cpu": "50m"}}})
    world.restart()
    await world.take_stock(namespace)
    world.hear(kinds.AGENT, namespace, "a")

    _, asked = await world.look(namespace, "a")

    assert asked == {}


async def test_an_update_costs_one_write_a_changed_child(world: World, namespace: str) -> None:
    await made(world, namespace)

    asked = await change(world, namespace, {"replicas": 3})

    assert writes(asked) == {("PATCH", "deployments"): 1, ("PATCH", "poddisruptionbudgets"): 1, ("PATCH", "agents"): 1}
    assert asked[("GET", "poddisruptionbudgets")] == 1  # never seen before, so looked at before it is touched


async def test_quantities_in_other_words_settle_after_one_write(world: World, namespace: str) -> None:
    await made(world, namespace, {"resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}}})

    _, asked = await world.look(namespace, "a")

    assert writes(asked) == {}


async def test_a_changed_child_is_put_right_and_foreign_fields_stay(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    before = api.get(kinds.SERVICE, namespace, "a")["spec"]["ports"]
    api.patch(kinds.SERVICE, namespace, "a", {"spec": {"ports": [{"name": "other", "port": 99}]}, "metadata": {"annotations": {"x": "y"}}})
    world.hear(kinds.SERVICE, namespace, "a")
    assert world.due == {(namespace, "a")}

    _, asked = await world.look(namespace, "a")

    live = api.get(kinds.SERVICE, namespace, "a")
    assert before[0] in live["spec"]["ports"]
    assert live["metadata"]["annotations"] == {"x": "y"}
    assert writes(asked) == {("PATCH", "services"): 1, ("POST", "events"): 1}
    assert writes((await world.look(namespace, "a"))[1]) == {}


EVERY = {"replicas": 2, "networkPolicy": {}, "pubsub": {"type": "pubsub.redis", "topic": "a.topic"}}
"""An Agent that has a child of each kind."""


@pytest.mark.parametrize("kind", kinds.CHILDREN, ids=lambda kind: kind.kind)
async def test_a_deleted_child_is_made_again(world: World, namespace: str, api: Api, kind: kinds.Kind) -> None:
    await made(world, namespace, EVERY)
    name = next(live["metadata"]["name"] for live in api.list(kind, namespace) if live["metadata"].get("labels", {}).get(names.LABEL_AGENT))
    gone = api.get(kind, namespace, name)
    api.delete(kind, namespace, name)
    world.intake.child(kind, "DELETED", gone)

    await world.look(namespace, "a")

    again = api.get(kind, namespace, name)
    assert again is not None
    assert again["metadata"]["uid"] != gone["metadata"]["uid"]


async def test_tokens_are_random_differ_and_are_made_once(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    tokens = {live["metadata"]["name"]: live["data"]["token"] for live in api.list(kinds.SECRET, namespace)}

    await change(world, namespace, {"replicas": 2})

    assert set(tokens) == {"a-dapr-token", "a-app-token", "a-audit"}
    assert len(set(tokens.values())) == 3
    assert all(len(base64.b64decode(token)) >= 32 for token in tokens.values())
    assert {live["metadata"]["name"]: live["data"]["token"] for live in api.list(kinds.SECRET, namespace)} == tokens


async def test_an_agent_of_an_older_operator_gets_the_secret_that_it_lacks_before_its_pods_name_it(
    world: World, namespace: str, api: Api
) -> None:
    await made(world, namespace)
    api.delete(kinds.SECRET, namespace, "a-audit")
    pod = api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["template"]["spec"]
    older = [variable for variable in pod["containers"][0]["env"] if variable["name"] != names.ENV_AUDIT_KEY]
    change = [{"op": "replace", "path": "/spec/template/spec/containers/0/env", "value": older}]
    api.request("PATCH", kinds.DEPLOYMENT.path(namespace, "a"), change, content="application/json-patch+json")
    world.restart()
    await world.take_stock(namespace)
    world.hear(kinds.AGENT, namespace, "a")

    _, asked = await world.look(namespace, "a")

    assert asked["POST", "secrets"] == 3
    assert api.get(kinds.SECRET, namespace, "a-audit") is not None


async def test_a_token_that_was_there_first_is_used_and_left_alone(world: World, namespace: str, api: Api) -> None:
    mine = {"metadata": {"name": "a-app-token"}, "stringData": {"token": "my-own"}}
    api.create(kinds.SECRET, namespace, mine)

    await made(world, namespace)

    live = api.get(kinds.SECRET, namespace, "a-app-token")
    assert base64.b64decode(live["data"]["token"]) == b"my-own"
    assert "ownerReferences" not in live["metadata"]


async def test_superseded_children_stay_for_their_time_and_then_go(world: World, namespace: str, api: Api) -> None:
    now = 1_800_000_000.0
    world.now = lambda: now
    await made(world, namespace, {"model": OPENAI, "limits": {"runTimeout": "2h"}})
    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    await world.look(namespace, "a")
    versioned = {kind: [live["metadata"]["name"] for live in api.list(kind, namespace)] for kind in (kinds.COMPONENT, kinds.CONFIG_MAP)}

    await change(world, namespace, {"model": {"name": "gpt-5"}})
    during = {kind: {live["metadata"]["name"]: live for live in api.list(kind, namespace)} for kind in versioned}
    assert all(ANNOTATION_SUPERSEDED not in live["metadata"].get("annotations", {}) for found in during.values() for live in found.values())

    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    again, _ = await world.look(namespace, "a")
    assert again == pytest.approx(3 * 3600, abs=2)  # the run time-out and an hour
    assert len(api.list(kinds.COMPONENT, namespace)) == 3  # two models and the store

    # A new process knows since when from the objects alone.
    world.restart()
    await world.take_stock(namespace)
    now += again - 60
    world.hear(kinds.AGENT, namespace, "a")
    assert await world.look(namespace, "a") == (pytest.approx(60, abs=2), Counter())
    now += 61
    await world.look(namespace, "a")

    left = {live["metadata"]["name"] for kind in versioned for live in api.list(kind, namespace)}
    assert len([name for name in left if name.startswith("a-llm-")]) == 1
    assert len([name for name in left if name.startswith("a-config-")]) == 1
    assert "a-state" in left


async def test_a_revision_that_comes_back_is_kept(world: World, namespace: str, api: Api) -> None:
    now = 1_800_000_000.0
    world.now = lambda: now
    await made(world, namespace, {"goal": "one"})
    first = api.get(kinds.AGENT, namespace, "a")["status"]["revision"]
    for goal in ("two", "one"):
        await change(world, namespace, {"goal": goal})
        api.roll_out(namespace, "a")
        world.hear(kinds.DEPLOYMENT, namespace, "a")
        await world.look(namespace, "a")
    now += 10 * 86400
    await world.look(namespace, "a")

    left = [live["metadata"]["name"] for live in api.list(kinds.CONFIG_MAP, namespace) if live["metadata"]["name"].startswith("a-config-")]
    assert left == [names.config_map("a", first)]
    assert ANNOTATION_SUPERSEDED not in api.get(kinds.CONFIG_MAP, namespace, left[0])["metadata"]["annotations"]


async def test_what_is_no_longer_wanted_is_removed_after_the_rollout(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace, {"replicas": 2})
    await change(world, namespace, {"replicas": 1, "serviceAccountName": "default"})
    assert api.get(kinds.SERVICE_ACCOUNT, namespace, "a") is not None

    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    await world.look(namespace, "a")

    assert api.get(kinds.DISRUPTION_BUDGET, namespace, "a") is None
    assert api.get(kinds.SERVICE_ACCOUNT, namespace, "a") is None


async def test_an_object_that_is_not_ours_is_never_pruned(world: World, namespace: str, api: Api) -> None:
    label = {"holdfast.dev/agent": "a"}
    api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": "a-config-mine", "labels": label}, "data": {"k": "v"}})
    world.hear(kinds.CONFIG_MAP, namespace, "a-config-mine", "ADDED")
    await made(world, namespace)
    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    await world.look(namespace, "a")

    live = api.get(kinds.CONFIG_MAP, namespace, "a-config-mine")
    assert live["data"] == {"k": "v"}
    assert ANNOTATION_SUPERSEDED not in live["metadata"].get("annotations", {})


async def test_an_object_that_appears_between_look_and_apply_is_given_back(world: World, namespace: str, api: Api) -> None:
    real, once = world.cluster.get, iter([True])

    async def slow_get(kind: kinds.Kind, place: str, name: str) -> dict | None:
        answer = await real(kind, place, name)
        if kind == kinds.SERVICE and next(once, False):
            api.create(kinds.SERVICE, namespace, {"metadata": {"name": "a"}, "spec": {"ports": [{"name": "mine", "port": 80}]}})
        return answer

    world.cluster.get = slow_get
    with pytest.raises(Exception, match="at the same moment"):
        await made(world, namespace)

    live = api.get(kinds.SERVICE, namespace, "a")
    assert [port["name"] for port in live["spec"]["ports"]] == ["mine"]
    assert "ownerReferences" not in live["metadata"]
    await world.look(namespace, "a")
    assert api.condition(namespace, "a", "Accepted")["reason"] == "ChildNameTaken"


async def test_the_agent_itself_is_left_as_the_user_wrote_it(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)

    live = api.get(kinds.AGENT, namespace, "a")

    assert "annotations" not in live["metadata"]
    assert "finalizers" not in live["metadata"]
    assert "kopf" not in str(live)


async def test_children_carry_the_agent_as_their_controller(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace, EVERY)
    uid = api.get(kinds.AGENT, namespace, "a")["metadata"]["uid"]

    for kind in (*kinds.CHILDREN, kinds.SECRET):
        ours = [live for live in api.list(kind, namespace) if live["metadata"].get("labels", {}).get(names.LABEL_AGENT) == "a"]
        assert ours, kind.kind
        for live in ours:
            assert [(ref["uid"], ref["controller"]) for ref in live["metadata"]["ownerReferences"]] == [(uid, True)]


async def test_a_deleted_agent_is_forgotten(world: World, namespace: str) -> None:
    await made(world, namespace)

    world.end(namespace, "a")

    assert (namespace, "a") not in world.memory
    assert (await world.look(namespace, "a"))[1] == {("GET", "agents"): 1}


@pytest.mark.parametrize("presence", [False, True])
async def test_a_deletion_that_nobody_told_is_found_by_taking_stock(
    world: World,
    namespace: str,
    api: Api,
    presence: bool,  # noqa: FBT001
) -> None:
    await made(world, namespace)
    for kind, name in ((kinds.SERVICE, "a"), (kinds.CONFIGURATION, "a")):
        api.delete(kind, namespace, name)
    assert (await world.look(namespace, "a"))[1] == {("GET", "agents"): 1}

    await world.take_stock(namespace, presence=presence)
    assert world.due == {(namespace, "a")}
    await world.look(namespace, "a")

    assert api.get(kinds.SERVICE, namespace, "a") is not None
    assert api.get(kinds.CONFIGURATION, namespace, "a") is not None


async def test_taking_stock_of_what_is_as_it_should_be_makes_nothing_due(world: World, namespace: str) -> None:
    await made(world, namespace)

    await world.take_stock(namespace)

    assert world.due == set()


async def test_an_older_event_after_a_newer_one_changes_nothing(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    old = api.get(kinds.SERVICE, namespace, "a")
    api.patch(kinds.SERVICE, namespace, "a", {"metadata": {"annotations": {"x": "y"}}})
    world.hear(kinds.SERVICE, namespace, "a")
    known = world.memory.record((namespace, "a")).children[kinds.SERVICE, "a"]

    world.intake.child(kinds.SERVICE, "MODIFIED", old)

    assert world.memory.record((namespace, "a")).children[kinds.SERVICE, "a"] == known
