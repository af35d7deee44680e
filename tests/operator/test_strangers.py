"""What is not the Agent's is left as it is: strangers' objects, a former Agent's, another Dapr app. On a real API server."""

from typing import Any

import pytest

from holdfast_api import conditions, names
from holdfast_operator import kinds
from holdfast_operator.desired.meta import selector
from holdfast_operator.queue import Retry
from tests.operator.live import Api, World
from tests.operator.test_children import made
from tests.operator.test_pins import rolled_out

pytestmark = pytest.mark.apiserver


def dapr_service(chosen: dict[str, str]) -> dict:
    return {"metadata": {"name": "a-dapr"}, "spec": {"selector": chosen, "clusterIP": "None", "ports": [{"port": 80}]}}


async def test_an_app_id_that_another_app_has_is_not_taken(world: World, namespace: str, api: Api) -> None:
    api.create(kinds.SERVICE, namespace, dapr_service({"app": "orders"}))

    await made(world, namespace)

    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", conditions.CHILD_NAME_TAKEN)
    assert "app id 'a'" in accepted["message"]
    assert api.list(kinds.COMPONENT, namespace) == []

    api.delete(kinds.SERVICE, namespace, "a-dapr")
    await world.look(namespace, "a")
    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"


async def test_the_agents_own_app_id_is_no_stranger(world: World, namespace: str, api: Api) -> None:
    api.create(kinds.SERVICE, namespace, dapr_service(selector("a")))

    await made(world, namespace)

    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"


async def test_what_appears_between_look_and_apply_keeps_its_values(world: World, namespace: str, api: Api) -> None:
    real, once = world.cluster.get, iter([True])
    theirs = {"metadata": {"name": "a"}, "spec": {"selector": {names.LABEL_AGENT: "theirs"}, "ports": [{"name": "mine", "port": 80}]}}

    async def slow_get(kind: kinds.Kind, place: str, name: str) -> dict | None:
        answer = await real(kind, place, name)
        if (kind, name) == (kinds.SERVICE, "a") and next(once, False):
            api.create(kinds.SERVICE, namespace, theirs)
        return answer

    world.cluster.get = slow_get
    with pytest.raises(Retry):
        await made(world, namespace)

    live = api.get(kinds.SERVICE, namespace, "a")
    assert live["spec"]["selector"] == theirs["spec"]["selector"]
    assert "ownerReferences" not in live["metadata"]


def replaced(api: Api, kind: kinds.Kind, namespace: str, name: str) -> None:
    """Put in its place what `kubectl replace` of somebody's own manifest does, with neither our reference nor our label."""
    live = api.get(kind, namespace, name)
    assert live is not None
    head = {"name": name, "resourceVersion": live["metadata"]["resourceVersion"]}
    content = {key: value for key, value in live.items() if key not in {"metadata", "status"}}
    api.request("PUT", kind.path(namespace, name), {**content, "metadata": head})


async def refused_as_taken(world: World, namespace: str) -> str:
    await world.look(namespace, "a")
    accepted = world.api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", conditions.CHILD_NAME_TAKEN)
    message: str = accepted["message"]
    return message


@pytest.mark.parametrize("told", ["by-an-event", "by-a-list", "by-a-list-of-what-is-there"])
@pytest.mark.parametrize("kind", [kinds.COMPONENT, kinds.CONFIG_MAP], ids=lambda kind: kind.kind)
async def test_a_child_that_somebody_replaces_by_an_object_of_their_own_is_theirs(
    world: World, namespace: str, api: Api, kind: kinds.Kind, told: str
) -> None:
    await made(world, namespace)
    revision = api.get(kinds.AGENT, namespace, "a")["status"]["revision"]
    name = "a-state" if kind == kinds.COMPONENT else names.config_map("a", revision)
    replaced(api, kind, namespace, name)

    if told == "by-an-event":
        world.hear(kind, namespace, name)
    else:
        await world.take_stock(namespace, presence=told == "by-a-list-of-what-is-there")

    assert world.due == {(namespace, "a")}
    assert repr(name) in await refused_as_taken(world, namespace)
    assert "labels" not in api.get(kind, namespace, name)["metadata"]


async def test_a_component_that_was_given_back_is_not_counted_as_ours(world: World, namespace: str, api: Api) -> None:
    apply, made_by_them = world.cluster.apply, []

    async def heard(kind: kinds.Kind, manifest: dict, **more: Any) -> dict:
        ours = (kind, manifest["metadata"]["name"]) == (kinds.COMPONENT, "a-state")
        if ours and not made_by_them:
            made_by_them.append(api.create(kind, namespace, {"metadata": {"name": "a-state"}, "spec": manifest["spec"]}))
        live = await apply(kind, manifest, **more)
        if ours:
            world.intake.child(kind, "MODIFIED", live)
        return live

    world.cluster.apply = heard
    with pytest.raises(Retry, match="was made by"):
        await made(world, namespace)

    assert "'a-state'" in await refused_as_taken(world, namespace)


async def test_what_another_controller_makes_for_the_agent_is_never_removed(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    owner = api.get(kinds.SERVICE, namespace, "a")["metadata"]["ownerReferences"]
    head = {"name": "theirs", "labels": {names.LABEL_AGENT: "a"}, "ownerReferences": owner}
    container = {"containers": [{"name": "c", "image": "c"}]}
    template = {"metadata": {"labels": {"x": "y"}}, "spec": container}
    specs: dict[kinds.Kind, dict[str, Any]] = {
        kinds.SERVICE_ACCOUNT: {},
        kinds.CONFIG_MAP: {"data": {"k": "v"}},
        kinds.DEPLOYMENT: {"spec": {"replicas": 7, "selector": {"matchLabels": {"x": "y"}}, "template": template}},
    }
    made_by_them = {}
    for kind, content in specs.items():
        made_by_them[kind] = api.create(kind, namespace, {"metadata": head, **content})
        world.hear(kind, namespace, "theirs", "ADDED")

    await rolled_out(world, namespace)
    world.hear(kinds.DEPLOYMENT, namespace, "theirs")
    await world.look(namespace, "a")

    for kind, live in made_by_them.items():
        assert api.get(kind, namespace, "theirs")["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
    assert api.condition(namespace, "a", conditions.AVAILABLE)["message"] == "1 of 1 pods are ready"


async def test_tokens_of_a_former_agent_that_go_late_are_made_anew(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    world.end(namespace, "a")
    for kind in kinds.CHILDREN:  # the garbage collector, which is not here, has got this far
        for live in api.list(kind, namespace):
            if live["metadata"].get("ownerReferences"):
                api.delete(kind, namespace, live["metadata"]["name"])
                world.intake.child(kind, "DELETED", live)

    uid = api.agent(namespace, "a")["metadata"]["uid"]
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    again, _ = await world.look(namespace, "a")
    assert again is not None
    for name in ("a-dapr-token", "a-app-token", "a-audit"):
        assert api.get(kinds.SECRET, namespace, name)["metadata"]["ownerReferences"][0]["uid"] != uid
        api.delete(kinds.SECRET, namespace, name)

    await world.look(namespace, "a")

    for name in ("a-dapr-token", "a-app-token", "a-audit"):
        assert api.get(kinds.SECRET, namespace, name)["metadata"]["ownerReferences"][0]["uid"] == uid
    assert (await world.look(namespace, "a"))[1] == {("GET", "agents"): 1}


async def test_tokens_that_a_user_made_are_asked_for_only_as_long_as_the_agent_is_young(world: World, namespace: str, api: Api) -> None:
    api.create(kinds.SECRET, namespace, {"metadata": {"name": "a-app-token"}, "stringData": {"token": "mine"}})
    now = world.now()
    world.now = lambda: now
    await made(world, namespace)

    assert (await world.look(namespace, "a"))[1]["POST", "secrets"] == 3
    now += 600
    assert (await world.look(namespace, "a"))[0] is None
    assert (await world.look(namespace, "a"))[1]["POST", "secrets"] == 0
