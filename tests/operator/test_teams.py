"""The ConfigMap of a team: whoever is in it by its spec, always, written when that changes, and gone with the last member."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast_api import conditions, names
from holdfast_operator import kinds
from holdfast_operator.cluster import Page
from holdfast_operator.desired import team as desired
from holdfast_operator.memory import Memory
from holdfast_operator.queue import Retry
from holdfast_operator.teams import Teams
from tests.operator.conftest import StartOperator
from tests.operator.live import Api, World, eventually
from tests.operator.test_desired import agent, children, pod

CM = "holdfast-team-travel"


def manifest(name: str, **spec: object) -> dict:
    return {"metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"}, "spec": {"team": "travel", **spec}}


def members(api: Api, namespace: str, name: str = CM) -> list[str] | None:
    live = api.get(kinds.CONFIG_MAP, namespace, name)
    return live and [entry["name"] for entry in json.loads(live["data"][names.TEAM_KEY])]


def test_a_member_is_told_of_in_its_own_words_or_by_its_tools() -> None:
    told = desired.member(
        manifest(
            "flights",
            description="Finds\nflights",
            access={"callers": ["planner", "desk"]},
            tools=[{"name": "s", "description": "Search."}],
        )
    )
    assert told == {
        "name": "flights",
        "description": "Finds flights",
        "capabilities": ["s: Search."],
        "callers": ["desk", "planner"],
        "endpoint": "http://flights.ns.svc:8001",
    }
    assert desired.member(manifest("a", role="Agent", goal="Go", capabilities=["flies"]))["description"] == "Agent. Go"
    assert desired.member(manifest("a", capabilities=["flies"], tools=[{"name": "s"}]))["capabilities"] == ["flies"]


def test_a_team_belongs_to_all_its_members_and_to_none_of_them_alone() -> None:
    made = desired.team("ns", "travel", [manifest("b"), manifest("a")])
    assert [ref["name"] for ref in made["metadata"]["ownerReferences"]] == ["a", "b"]
    assert not any(ref.get("controller") for ref in made["metadata"]["ownerReferences"])
    assert not desired.differs(made, made)
    assert desired.differs(made, desired.team("ns", "travel", [manifest("a")]))


def test_an_agent_that_is_being_deleted_is_in_no_team() -> None:
    leaving = manifest("a")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-21T00:00:00Z"
    assert (desired.team_of(manifest("a")), desired.team_of(leaving), desired.team_of({"metadata": {}, "spec": {}})) == (
        "travel",
        None,
        None,
    )


def test_a_team_too_large_for_a_config_map_tells_names_and_places_only() -> None:
    callers = {"callers": [f"{number:058}" for number in range(64)]}
    large = [manifest(f"a{number:055}", description="x" * 1000, capabilities=["y" * 200] * 32, access=callers) for number in range(300)]
    text = desired.team("ns", "travel", large)["data"][names.TEAM_KEY]
    assert len(text) < 1_000_000
    assert [entry["name"] for entry in json.loads(text)] == [f"a{number:055}" for number in range(200)]


async def test_a_member_that_a_large_team_does_not_list_costs_one_read_a_look() -> None:
    everybody = [manifest(f"a{number:03}") for number in range(202)]
    live = desired.team("ns", "travel", everybody)
    live["metadata"]["resourceVersion"], asked = "5", Counter[str]()

    class Cluster:
        async def get(self, _kind: object, _namespace: str, name: str) -> dict:
            asked[name] += 1
            return live

        async def pages(self, kind: kinds.Kind, _namespace: str) -> AsyncIterator[Page]:
            asked[kind.plural] += 1
            yield Page(everybody, "6")

    memory = Memory()
    for each in everybody:
        memory.record(("ns", each["metadata"]["name"]))
    teams = Teams(Cluster(), memory)  # type: ignore[arg-type]
    for name in ("a000", "a199", "a201"):
        await teams.settle(("ns", name), manifest(name))
    assert asked == {CM: 3}
    # One that would be among them is missing, and so is one that has gone but is listed.
    await teams.settle(("ns", "a000b"), manifest("a000b"))
    assert asked["agents"] == 1
    memory.forget(("ns", "a007"))
    await teams.settle(("ns", "a201"), manifest("a201"))
    assert asked["agents"] == 2


def test_the_list_is_mounted_into_members_alone_and_may_come_later() -> None:
    (volume,) = [volume for volume in pod({"team": "travel"})["spec"]["volumes"] if volume["name"] == names.TEAM_VOLUME]
    assert volume["configMap"] == {"name": CM, "optional": True}
    (container,) = pod({"team": "travel"})["spec"]["containers"]
    assert {"name": names.TEAM_VOLUME, "mountPath": "/etc/holdfast-team", "readOnly": True} in container["volumeMounts"]
    assert names.TEAM_VOLUME not in str(pod())


def test_a_sidecar_may_call_others_for_those_that_have_somebody_to_call() -> None:
    def apis(spec: dict) -> set[str]:
        return {rule["name"] for rule in children(agent(spec))["Configuration"]["spec"]["api"]["allowed"]}

    assert "invoke" not in apis({"access": {"callers": ["planner"]}})
    assert "invoke" in apis({"team": "travel"})
    assert "invoke" in apis({"tools": [{"name": "judge", "agent": {"name": "critic"}}]})


def test_only_callers_are_let_in_and_on_the_routes_that_they_need() -> None:
    access = children(agent({"access": {"callers": ["planner"]}}))["Configuration"]["spec"]["accessControl"]
    assert access["defaultAction"] == "deny"
    (policy,) = [policy for policy in access["policies"] if policy["appId"] == "planner"]
    assert (policy["defaultAction"], policy["namespace"]) == ("deny", "ns")
    assert ("/run", ["POST"]) in [(one["name"], one["httpVerb"]) for one in policy["operations"]]
    assert "/metrics" not in str(policy)


@pytest.mark.apiserver
async def test_a_team_is_kept_as_agents_come_change_and_go(world: World, namespace: str, api: Api) -> None:
    async def made(name: str, **spec: object) -> None:
        api.agent(namespace, name, spec)
        world.hear(kinds.AGENT, namespace, name, "ADDED")
        await world.look(namespace, name)

    await made("loner")
    assert world.requests["GET", "agents"] == 0
    await made("planner", team="travel")
    await made("flights", team="travel", description="Finds flights")
    assert members(api, namespace) == ["flights", "planner"]

    # Settled: looks write nothing, and what was written makes nobody due.
    world.due.clear()
    world.hear(kinds.CONFIG_MAP, namespace, CM)
    assert world.due == set()
    version = api.get(kinds.CONFIG_MAP, namespace, CM)["metadata"]["resourceVersion"]
    world.requests.clear()
    await world.look(namespace, "planner")
    assert world.requests == {("GET", "configmaps"): 1, ("GET", "agents"): 1}
    assert api.get(kinds.CONFIG_MAP, namespace, CM)["metadata"]["resourceVersion"] == version

    # Edited by hand, or removed: made anew.
    api.patch(kinds.CONFIG_MAP, namespace, CM, {"data": {names.TEAM_KEY: "[]"}})
    world.hear(kinds.CONFIG_MAP, namespace, CM)
    assert (namespace, "flights") in world.due
    await world.look(namespace, "flights")
    assert members(api, namespace) == ["flights", "planner"]

    # One leaves, one is deleted, and the last one takes the list along.
    api.patch(kinds.AGENT, namespace, "flights", {"spec": {"team": "other"}})
    world.hear(kinds.AGENT, namespace, "flights", "MODIFIED")
    await world.look(namespace, "flights")
    assert (members(api, namespace), members(api, namespace, "holdfast-team-other")) == (["planner"], ["flights"])
    api.delete(kinds.AGENT, namespace, "flights")
    await world.look(namespace, "flights")
    assert members(api, namespace, "holdfast-team-other") is None


@pytest.mark.apiserver
async def test_a_list_that_somebody_changed_while_its_last_member_left_is_removed_at_the_next_look(
    world: World, namespace: str, api: Api
) -> None:
    api.agent(namespace, "planner", {"team": "travel"})
    world.hear(kinds.AGENT, namespace, "planner", "ADDED")
    await world.look(namespace, "planner")
    delete, meddled = world.cluster.delete, []

    async def after_a_change(kind: kinds.Kind, *args: Any, **more: Any) -> bool:
        if not meddled:
            meddled.append(api.patch(kinds.CONFIG_MAP, namespace, CM, {"metadata": {"annotations": {"seen": "yes"}}}))
        return await delete(kind, *args, **more)

    world.cluster.delete = after_a_change
    api.delete(kinds.AGENT, namespace, "planner")
    with pytest.raises(Retry, match="was changed in the meantime"):
        await world.look(namespace, "planner")
    assert members(api, namespace) == ["planner"]

    await world.look(namespace, "planner")

    assert members(api, namespace) is None


@pytest.mark.apiserver
async def test_a_config_map_of_somebody_else_is_left_alone(world: World, namespace: str, api: Api) -> None:
    api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": CM}, "data": {"mine": "1"}})
    api.agent(namespace, "a", {"team": "travel"})
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    assert api.condition(namespace, "a", conditions.ACCEPTED)["reason"] == conditions.CHILD_NAME_TAKEN
    assert api.get(kinds.CONFIG_MAP, namespace, CM)["data"] == {"mine": "1"}


@pytest.mark.apiserver
@pytest.mark.parametrize("order", [("flights", "planner"), ("planner", "flights")], ids=["the leaver first", "the leaver last"])
@pytest.mark.parametrize("team", [None, "other"], ids=["into none", "into another"])
async def test_who_left_while_no_operator_worked_is_taken_out(
    world: World, namespace: str, api: Api, order: tuple[str, str], team: str | None
) -> None:
    for name in order:
        api.agent(namespace, name, {"team": "travel"})
        await world.look(namespace, name)
    assert members(api, namespace) == ["flights", "planner"]
    api.patch(kinds.AGENT, namespace, "flights", {"spec": {"team": team}})
    world.restart()
    await world.take_stock(namespace)

    for name in (*order, "planner"):
        await world.look(namespace, name)

    assert members(api, namespace) == ["planner"]
    assert members(api, namespace, "holdfast-team-other") == (["flights"] if team else None)
    assert (await world.look(namespace, "planner"))[1] == {("GET", "configmaps"): 1, ("GET", "agents"): 1}


@pytest.mark.apiserver
async def test_a_settled_team_costs_a_new_operator_one_read_for_each_member(world: World, namespace: str, api: Api) -> None:
    for name in ("flights", "planner"):
        api.agent(namespace, name, {"team": "travel"})
        await world.look(namespace, name)
    world.restart()
    await world.take_stock(namespace)

    asked = [(await world.look(namespace, name))[1] for name in ("flights", "planner")]

    # The one read of an Agent is its own, as of every Agent.
    assert [(one["GET", "configmaps"], one["GET", "agents"]) for one in asked] == [(1, 1), (1, 1)]


@pytest.mark.apiserver
async def test_a_list_that_is_somebody_elses_by_now_stalls_nobody_who_left_it(world: World, namespace: str, api: Api) -> None:
    for name in ("flights", "hotels", "planner"):
        api.agent(namespace, name, {"team": "travel"})
        await world.look(namespace, name)
    api.patch(kinds.CONFIG_MAP, namespace, CM, {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}})
    theirs = api.get(kinds.CONFIG_MAP, namespace, CM)

    # Not read since by anybody.
    api.patch(kinds.AGENT, namespace, "flights", {"spec": {"team": "other"}})
    await world.look(namespace, "flights")
    assert api.condition(namespace, "flights", conditions.ACCEPTED)["status"] == "True"
    # Told of it, and as advised.
    await world.look(namespace, "planner")
    assert api.condition(namespace, "planner", conditions.ACCEPTED)["reason"] == conditions.CHILD_NAME_TAKEN
    api.patch(kinds.AGENT, namespace, "planner", {"spec": {"team": "other"}})
    await world.look(namespace, "planner")
    assert api.condition(namespace, "planner", conditions.ACCEPTED)["status"] == "True"
    assert members(api, namespace, "holdfast-team-other") == ["flights", "planner"]
    # Gone.
    api.delete(kinds.AGENT, namespace, "hotels")
    assert (await world.look(namespace, "hotels"))[0] is None
    assert not world.reconciler.teams.lists((namespace, "hotels"))

    assert api.get(kinds.CONFIG_MAP, namespace, CM) == theirs


@pytest.mark.apiserver
async def test_a_deleted_agent_that_only_somebody_elses_list_names_is_forgotten(world: World, namespace: str, api: Api) -> None:
    api.agent(namespace, "flights", {"team": "travel"})
    await world.look(namespace, "flights")
    api.patch(kinds.CONFIG_MAP, namespace, CM, {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}})
    api.delete(kinds.AGENT, namespace, "flights")

    assert (await world.look(namespace, "flights"))[0] is None

    assert not world.reconciler.teams.lists((namespace, "flights"))
    assert members(api, namespace) == ["flights"]


@pytest.mark.apiserver
@pytest.mark.timeout(240)
def test_a_team_of_many_made_at_once_survives_a_restart_and_hears_of_a_deletion(
    start_operator: StartOperator, namespace: str, api: Api
) -> None:
    everybody = [f"a{number}" for number in range(8)]
    operator = start_operator(namespace)
    for name in everybody:
        api.agent(namespace, name, {"team": "travel"})
    eventually(lambda: members(api, namespace) == everybody, seconds=60)
    api.delete(kinds.AGENT, namespace, "a0")
    eventually(lambda: members(api, namespace) == everybody[1:], seconds=60)
    operator.end()
    api.delete(kinds.AGENT, namespace, "a1")
    api.agent(namespace, "b", {"team": "travel"})
    start_operator(namespace)
    eventually(lambda: members(api, namespace) == [*everybody[2:], "b"], seconds=60)
