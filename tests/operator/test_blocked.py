"""An Agent that cannot be carried out: it says why, looks again ever more slowly, and is still scaled down. On a real API server."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast_api import conditions
from holdfast_operator import kinds
from holdfast_operator.cluster import ApiError
from holdfast_operator.drift import AT_ONCE, MAX_PAUSE
from holdfast_operator.queue import Retry
from tests.operator.live import Api, World
from tests.operator.test_children import change, made
from tests.operator.test_pins import rolled_out

pytestmark = pytest.mark.apiserver

PROMPT = {"systemPromptFrom": {"configMapKeyRef": {"name": "prompt", "key": "text"}}}


def refuse(world: World, method: str, plural: str, error: ApiError) -> Callable[[], None]:
    """Let the API server answer with an error that this one gives only under a quota, a policy or a broken webhook."""
    real: Callable[..., Awaitable[Any]] = world.cluster._request

    async def refusing(verb: str, kind: kinds.Kind, *args: Any, **more: Any) -> Any:
        if (verb, kind.plural) == (method, plural):
            raise error
        return await real(verb, kind, *args, **more)

    def mend() -> None:
        world.cluster._request = real

    world.cluster._request = refusing
    return mend


@pytest.mark.parametrize(("method", "plural"), [("POST", "secrets"), ("GET", "services"), ("GET", "configmaps"), ("PATCH", "services")])
async def test_what_is_forbidden_is_told_in_the_status(world: World, namespace: str, api: Api, method: str, plural: str) -> None:
    mend = refuse(world, method, plural, ApiError(403, "Forbidden", f"{plural} is forbidden: exceeded quota"))

    await made(world, namespace, PROMPT if plural == "configmaps" else None)

    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", conditions.APPLY_FAILED)
    assert "exceeded quota" in accepted["message"]
    assert api.get(kinds.AGENT, namespace, "a")["status"]["observedGeneration"] == 1
    mend()
    if plural != "configmaps":
        await world.look(namespace, "a")
        assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"


async def test_what_fails_again_and_again_is_told_in_the_status(world: World, namespace: str, api: Api) -> None:
    mend = refuse(world, "PATCH", "services", ApiError(500, "InternalError", "failed calling webhook"))
    api.agent(namespace, "a")
    for _ in range(3):
        world.hear(kinds.AGENT, namespace, "a")
        with pytest.raises(Retry):
            await world.look(namespace, "a")
    assert api.get(kinds.AGENT, namespace, "a")["status"]["observedGeneration"] == -1

    with pytest.raises(Retry):
        await world.look(namespace, "a")

    ready, reconciling = api.condition(namespace, "a"), api.condition(namespace, "a", conditions.RECONCILING)
    assert (ready["status"], ready["reason"]) == ("Unknown", conditions.RETRYING)
    assert (reconciling["status"], reconciling["reason"]) == ("True", conditions.RETRYING)
    assert "failed calling webhook" in reconciling["message"]
    mend()
    await world.look(namespace, "a")
    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"


async def test_what_is_forbidden_of_a_teams_list_is_told_after_some_attempts(world: World, namespace: str, api: Api) -> None:
    apply: Callable[..., Awaitable[Any]] = world.cluster.apply

    async def refusing(kind: kinds.Kind, manifest: dict[str, Any], **more: Any) -> Any:
        if manifest["metadata"]["name"] == "holdfast-team-travel":
            raise ApiError(403, "Forbidden", "configmaps is forbidden: exceeded quota")
        return await apply(kind, manifest, **more)

    world.cluster.apply = refusing
    api.agent(namespace, "a", {"team": "travel"})
    for _ in range(4):
        with pytest.raises(Retry, match="exceeded quota"):
            await world.look(namespace, "a")

    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("Unknown", conditions.RETRYING)
    assert "exceeded quota" in accepted["message"]
    world.cluster.apply = apply
    await world.look(namespace, "a")
    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"


async def test_what_is_wrong_is_told_when_the_scale_is_refused_as_well(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    refuse(world, "PATCH", "deployments", ApiError(403, "Forbidden", "deployments is forbidden: frozen"))

    with pytest.raises(Retry, match="frozen"):
        await change(world, namespace, {"replicas": 0})

    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", conditions.APPLY_FAILED)
    assert "frozen" in accepted["message"]
    # A new Agent of this name does not wait for what the former one failed at.
    world.reconciler.forget((namespace, "a"))
    assert (world.reconciler._failures, world.reconciler._blocked) == ({}, {})


async def test_a_policys_refusal_is_looked_at_again(world: World, namespace: str, api: Api) -> None:
    mend = refuse(world, "PATCH", "services", ApiError(422, "Invalid", "ValidatingAdmissionPolicy 'p' denied request"))
    api.agent(namespace, "a")
    world.hear(kinds.AGENT, namespace, "a")

    waits = [(await world.look(namespace, "a"))[0] for _ in range(6)]

    assert waits == [5, 10, 20, 40, 60, 60]
    mend()
    assert (await world.look(namespace, "a"))[0] is None
    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"


async def with_a_prompt(world: World, namespace: str) -> None:
    world.api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": "prompt"}, "data": {"text": "x"}})
    await made(world, namespace, PROMPT | {"replicas": 2})
    await rolled_out(world, namespace)


async def lose_the_prompt(world: World, namespace: str) -> None:
    world.api.delete(kinds.CONFIG_MAP, namespace, "prompt")


async def lose_dapr(world: World, namespace: str) -> None:
    world.dapr.installed = False


async def lose_the_server(world: World, namespace: str) -> None:
    refuse(world, "PATCH", "configmaps", ApiError(403, "Forbidden", "no"))
    await change(world, namespace, {"goal": "another"})


@pytest.mark.parametrize("trouble", [lose_the_prompt, lose_dapr, lose_the_server])
@pytest.mark.parametrize("spec", [{"suspend": True}, {"replicas": 0}, {"replicas": 1}], ids=str)
async def test_an_agent_in_trouble_is_still_scaled(
    world: World, namespace: str, api: Api, trouble: Callable[[World, str], Awaitable[None]], spec: dict
) -> None:
    await with_a_prompt(world, namespace)
    await trouble(world, namespace)
    before = api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]

    asked = await change(world, namespace, spec)

    assert api.condition(namespace, "a")["status"] == "False"
    assert asked["PATCH", "deployments"] == 1
    assert api.get(kinds.DEPLOYMENT, namespace, "a")["spec"] == before | {"replicas": 0 if "suspend" in spec else spec["replicas"]}
    assert (await world.look(namespace, "a"))[1]["PATCH", "deployments"] == 0


async def test_a_fight_over_the_scale_of_an_agent_in_trouble_slows_down(world: World, namespace: str, api: Api) -> None:
    now = [1_800_000_000.0]
    world.now = lambda: now[0]
    await with_a_prompt(world, namespace)
    await lose_the_server(world, namespace)

    async def meddle(count: int) -> int:
        api.patch(kinds.DEPLOYMENT, namespace, "a", {"spec": {"replicas": count}})
        world.hear(kinds.DEPLOYMENT, namespace, "a")
        return (await world.look(namespace, "a"))[1]["PATCH", "deployments"]

    writes = [await meddle(count) for count in range(5, 11)]

    assert writes == [1] * (1 + AT_ONCE) + [0] * (5 - AT_ONCE)
    assert (await change(world, namespace, {"replicas": 1}))["PATCH", "deployments"] == 1
    assert await meddle(9) == 0
    now[0] += MAX_PAUSE
    assert (await world.look(namespace, "a"))[1]["PATCH", "deployments"] == 1
    assert api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["replicas"] == 1


async def test_once_its_trouble_is_over_an_agent_that_was_scaled_is_made_whole(world: World, namespace: str, api: Api) -> None:
    await with_a_prompt(world, namespace)
    await lose_the_prompt(world, namespace)
    await change(world, namespace, {"suspend": True})
    api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": "prompt"}, "data": {"text": "x"}})

    await change(world, namespace, {"suspend": False})

    assert api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["replicas"] == 2
    world.restart()
    await world.take_stock(namespace)
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    world.hear(kinds.AGENT, namespace, "a")
    assert ("PATCH", "deployments") not in (await world.look(namespace, "a"))[1]


async def test_an_answer_that_is_older_than_an_event_does_not_bring_old_counts_back(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    real = world.cluster.apply

    async def overtaken(kind: kinds.Kind, manifest: dict, **more: Any) -> dict:
        answer = await real(kind, manifest, **more)
        if kind == kinds.DEPLOYMENT:
            api.roll_out(namespace, "a")
            world.hear(kinds.DEPLOYMENT, namespace, "a")
        return answer

    world.cluster.apply = overtaken
    await change(world, namespace, {"goal": "another"})

    assert api.condition(namespace, "a", conditions.AVAILABLE)["status"] == "True"
