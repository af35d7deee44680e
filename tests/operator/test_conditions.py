"""Every trouble is a condition with a reason and a fix, and goes by itself when its cause goes. On a real API server."""

from typing import Any

import pytest

from holdfast_api import conditions, names
from holdfast_operator import kinds
from holdfast_operator.cluster import ApiError
from holdfast_operator.queue import Retry
from tests.operator.live import Api, World, eventually

pytestmark = pytest.mark.apiserver


async def made(world: World, namespace: str, spec: dict | None = None) -> float | None:
    world.api.agent(namespace, "a", spec)
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    return (await world.look(namespace, "a"))[0]


async def looked(world: World, namespace: str) -> float | None:
    assert (namespace, "a") in world.due, "nothing made the Agent due"
    return (await world.look(namespace, "a"))[0]


def component(name: str, kind: str, **more: Any) -> dict:
    metadata = [{"name": "actorStateStore", "value": "true"}] if kind == "state.redis" else []
    return {"metadata": {"name": name}, "spec": {"type": kind, "version": "v1", "metadata": metadata}, **more}


@pytest.mark.parametrize("kind", [kinds.SERVICE, kinds.CONFIGURATION, kinds.DEPLOYMENT], ids=lambda kind: kind.kind)
async def test_a_name_that_is_taken_is_left_alone_and_used_once_it_is_free(
    world: World, namespace: str, api: Api, kind: kinds.Kind
) -> None:
    template = {"metadata": {"labels": {"x": "y"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
    specs: dict[str, Any] = {
        "Service": {"ports": [{"port": 80}]},
        "Configuration": {},
        "Deployment": {"selector": {"matchLabels": {"x": "y"}}, "template": template},
    }
    theirs = api.create(kind, namespace, {"metadata": {"name": "a"}, "spec": specs[kind.kind]})

    again = await made(world, namespace)

    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", conditions.CHILD_NAME_TAKEN)
    assert f"kubectl delete {kind.plural} a -n {namespace}" in accepted["message"]
    assert api.condition(namespace, "a", conditions.STALLED)["status"] == "True"
    assert api.get(kind, namespace, "a")["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]
    assert api.list(kinds.RESILIENCY, namespace) == []

    assert again is not None
    assert again <= 10
    api.delete(kind, namespace, "a")
    await world.look(namespace, "a")
    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"
    assert api.condition(namespace, "a", conditions.STALLED)["status"] is None


async def test_children_of_a_former_agent_of_the_same_name_are_waited_for(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    children = [(kind, live) for kind in kinds.CHILDREN for live in api.list(kind, namespace) if live["metadata"].get("ownerReferences")]
    world.end(namespace, "a")

    await made(world, namespace)
    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", conditions.FORMER_CHILDREN)
    assert "garbage-collected" in accepted["message"]
    assert api.condition(namespace, "a", conditions.STALLED)["status"] is None

    for kind, live in children:  # there is no garbage collector here
        api.delete(kind, namespace, live["metadata"]["name"])
        world.intake.child(kind, "DELETED", live)
    await world.look(namespace, "a")
    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"


async def test_a_missing_config_map_is_waited_for_and_its_change_makes_a_new_revision(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace, {"systemPromptFrom": {"configMapKeyRef": {"name": "prompt", "key": "text"}}})
    references = api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)
    assert (references["status"], references["reason"]) == ("False", conditions.CONFIG_MAP_NOT_FOUND)
    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"

    api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": "prompt"}, "data": {"other": "x"}})
    world.hear(kinds.CONFIG_MAP, namespace, "prompt", "ADDED")
    await looked(world, namespace)
    assert api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)["reason"] == conditions.CONFIG_MAP_KEY_NOT_FOUND

    revisions = []
    for text in ("be brief", "be long"):
        api.patch(kinds.CONFIG_MAP, namespace, "prompt", {"data": {"text": text}})
        world.hear(kinds.CONFIG_MAP, namespace, "prompt")
        await looked(world, namespace)
        assert api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)["status"] == "True"
        revisions.append(api.get(kinds.AGENT, namespace, "a")["status"]["revision"])
    assert revisions[0] != revisions[1]


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"state": {"component": "shared"}}, "state.redis"),
        ({"model": {"provider": "echo", "fallbacks": [{"component": "shared"}]}}, "conversation.echo"),
        ({"evaluation": {"criteria": "x", "model": {"component": "shared"}}}, "conversation.echo"),
        ({"pubsub": {"component": "shared"}}, "pubsub.redis"),
    ],
    ids=["store", "fallback", "critic", "broker"],
)
async def test_a_missing_component_is_waited_for(world: World, namespace: str, api: Api, spec: dict, kind: str) -> None:
    await made(world, namespace, spec)
    references = api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)
    assert (references["status"], references["reason"]) == ("False", conditions.COMPONENT_NOT_FOUND)
    assert "'shared'" in references["message"]
    assert api.get(kinds.DEPLOYMENT, namespace, "a") is None

    api.create(kinds.COMPONENT, namespace, component("shared", kind))
    world.hear(kinds.COMPONENT, namespace, "shared", "ADDED")
    await looked(world, namespace)

    assert api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)["status"] == "True"
    assert api.get(kinds.DEPLOYMENT, namespace, "a") is not None


async def test_a_bad_change_keeps_the_last_good_revision(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    await looked(world, namespace)
    assert api.condition(namespace, "a")["status"] == "True"
    before, good = api.get(kinds.DEPLOYMENT, namespace, "a"), api.get(kinds.AGENT, namespace, "a")["status"]["revision"]

    api.patch(kinds.AGENT, namespace, "a", {"spec": {"systemPromptFrom": {"configMapKeyRef": {"name": "absent", "key": "k"}}}})
    world.hear(kinds.AGENT, namespace, "a")
    await looked(world, namespace)

    live = api.get(kinds.AGENT, namespace, "a")
    assert api.condition(namespace, "a")["reason"] == conditions.CONFIG_MAP_NOT_FOUND
    assert api.condition(namespace, "a", conditions.AVAILABLE)["status"] == "True"
    assert live["status"]["revision"] == good
    assert api.get(kinds.DEPLOYMENT, namespace, "a")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_what_the_api_server_refuses_is_the_agents_fault_and_says_why(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace, {"volumeMounts": [{"name": "nowhere", "mountPath": "/data"}]})

    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", conditions.INVALID_SPEC)
    assert "nowhere" in accepted["message"]


async def test_an_agent_without_a_model_or_an_image_is_told_what_to_set(api: Api, world: World, namespace: str) -> None:
    world.settings = world.settings.__class__()
    world.restart()
    await world.take_stock(namespace)
    await made(world, namespace, {"state": {"type": "state.redis"}})
    assert api.condition(namespace, "a")["reason"] == conditions.MODEL_MISSING

    api.patch(kinds.AGENT, namespace, "a", {"spec": {"model": {"provider": "echo"}}})
    world.hear(kinds.AGENT, namespace, "a")
    await looked(world, namespace)
    assert "spec.image" in api.condition(namespace, "a")["message"]

    api.patch(kinds.AGENT, namespace, "a", {"spec": {"image": "i"}})
    world.hear(kinds.AGENT, namespace, "a")
    await looked(world, namespace)
    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"


async def test_a_schema_that_is_none_is_told_with_its_place_before_there_are_pods(world: World, namespace: str, api: Api) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "strin"}}}
    await made(world, namespace, {"output": {"schema": schema}})

    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", conditions.INVALID_SCHEMA)
    assert 'spec.output.schema.properties.city.type is "strin"' in accepted["message"]
    assert api.condition(namespace, "a", conditions.STALLED)["status"] == "True"
    assert api.get(kinds.DEPLOYMENT, namespace, "a") is None

    api.patch(kinds.AGENT, namespace, "a", {"spec": {"output": {"schema": {"properties": {"city": {"type": "string"}}}}}})
    world.hear(kinds.AGENT, namespace, "a")
    await looked(world, namespace)
    assert api.condition(namespace, "a", conditions.ACCEPTED)["status"] == "True"


async def test_a_spec_that_only_an_older_crd_let_pass_is_refused_with_its_field(world: World, namespace: str, api: Api) -> None:
    api.agent(namespace, "a")
    live = api.get(kinds.AGENT, namespace, "a")
    world.intake.agent("ADDED", {**live, "spec": {**live["spec"], "limits": {"maxIterations": -4}}})

    await world.look(namespace, "a")

    accepted = api.condition(namespace, "a", conditions.ACCEPTED)
    assert accepted["reason"] == conditions.INVALID_SPEC
    assert "limits.maxIterations" in accepted["message"]
    assert api.condition(namespace, "a", conditions.STALLED)["status"] == "True"


async def test_suspend_means_no_pods_and_ready(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace, {"suspend": True})
    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    await looked(world, namespace)

    ready = api.condition(namespace, "a")
    assert (ready["status"], ready["reason"]) == ("True", conditions.SUSPENDED)
    assert api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["replicas"] == 0


async def test_the_scale_subresource_works_for_autoscalers(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace, {"replicas": 2})
    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    await looked(world, namespace)

    scale = api.request("GET", kinds.AGENT.path(namespace, "a") + "/scale")

    assert scale["spec"]["replicas"] == 2
    assert scale["status"] == {"replicas": 2, "selector": f"{names.LABEL_AGENT}=a"}


def pod(agent: str, *, sidecar: bool = True, revision: str = "") -> dict:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{agent}-5d4f", "uid": "0-1-2", "controller": True}
    containers = [{"name": "agent", "image": "i"}] + ([{"name": "daprd", "image": "d"}] if sidecar else [])
    metadata = {
        "name": f"{agent}-5d4f-x",
        "labels": {names.LABEL_AGENT: agent},
        "annotations": {names.ANNOTATION_REVISION: revision},
        "ownerReferences": [owner],
    }
    return {"metadata": metadata, "spec": {"containers": containers}}


async def test_a_missing_secret_is_named_with_its_keys_and_goes_by_itself(world: World, namespace: str, api: Api) -> None:
    model = {"provider": "openai", "name": "m", "apiKeySecretRef": {"name": "openai", "key": "api-key"}}
    await made(world, namespace, {"model": model})
    revision = api.get(kinds.AGENT, namespace, "a")["status"]["revision"]
    api.create(kinds.POD, namespace, pod("a", revision=revision))
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "openai" not found'}
    statuses = [{"name": "daprd", "ready": False, "restartCount": 0, "image": "d", "imageID": "", "state": {"waiting": waiting}}]
    api.patch(kinds.POD, namespace, "a-5d4f-x", {"status": {"containerStatuses": statuses}}, status=True)
    world.hear(kinds.POD, namespace, "a-5d4f-x", "ADDED")
    await looked(world, namespace)

    references = api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)
    assert (references["status"], references["reason"]) == ("False", conditions.SECRET_NOT_FOUND)
    assert "kubectl create secret generic openai --from-literal=api-key=VALUE" in references["message"]

    statuses[0] |= {"ready": True, "state": {"running": {"startedAt": "2026-11-21T00:00:00Z"}}}
    api.patch(kinds.POD, namespace, "a-5d4f-x", {"status": {"containerStatuses": statuses}}, status=True)
    world.hear(kinds.POD, namespace, "a-5d4f-x")
    await looked(world, namespace)
    assert api.condition(namespace, "a", conditions.REFERENCES_RESOLVED)["status"] == "True"


async def test_a_token_secret_that_was_deleted_is_made_again_when_a_pod_misses_it(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    api.delete(kinds.SECRET, namespace, "a-dapr-token")
    api.create(kinds.POD, namespace, pod("a"))
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "a-dapr-token" not found'}
    statuses = [{"name": "agent", "ready": False, "restartCount": 0, "image": "d", "imageID": "", "state": {"waiting": waiting}}]
    api.patch(kinds.POD, namespace, "a-5d4f-x", {"status": {"containerStatuses": statuses}}, status=True)
    world.hear(kinds.POD, namespace, "a-5d4f-x", "ADDED")

    await looked(world, namespace)

    assert api.get(kinds.SECRET, namespace, "a-dapr-token") is not None


async def test_a_pod_without_a_sidecar_is_replaced_but_not_in_a_storm(world: World, namespace: str, api: Api) -> None:
    now = 1_800_000_000.0
    world.now = lambda: now
    await made(world, namespace)
    waits = []
    for _ in range(4):
        api.create(kinds.POD, namespace, pod("a", sidecar=False))
        world.hear(kinds.POD, namespace, "a-5d4f-x", "ADDED")
        gone = api.get(kinds.POD, namespace, "a-5d4f-x")
        waits.append(await looked(world, namespace))
        assert api.condition(namespace, "a")["reason"] == conditions.SIDECAR_NOT_INJECTED
        eventually(lambda: api.get(kinds.POD, namespace, "a-5d4f-x") is None)
        world.intake.pod("DELETED", gone)
        now += waits[-1]

    assert waits == [5, 10, 20, 40]


async def test_a_pod_that_only_wears_the_label_is_never_deleted(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    stray = pod("a", sidecar=False)
    del stray["metadata"]["ownerReferences"]
    api.create(kinds.POD, namespace, stray)
    world.hear(kinds.POD, namespace, "a-5d4f-x", "ADDED")

    await world.look(namespace, "a")

    assert "deletionTimestamp" not in api.get(kinds.POD, namespace, "a-5d4f-x")["metadata"]


async def test_events_tell_turns_only_and_repeats_are_counted(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    assert api.list(kinds.EVENT, namespace) == []

    for _ in range(3):
        api.roll_out(namespace, "a")
        world.hear(kinds.DEPLOYMENT, namespace, "a")
        await looked(world, namespace)
        await world.look(namespace, "a")
        api.patch(kinds.DEPLOYMENT, namespace, "a", {"status": {"availableReplicas": 0, "readyReplicas": 0}}, status=True)
        world.hear(kinds.DEPLOYMENT, namespace, "a")
        await looked(world, namespace)

    (event,) = api.list(kinds.EVENT, namespace)
    assert (event["reason"], event["type"], event["count"]) == (conditions.SUCCEEDED, "Normal", 3)
    assert event["involvedObject"]["uid"] == api.get(kinds.AGENT, namespace, "a")["metadata"]["uid"]


async def test_without_dapr_the_agent_says_how_to_install_it(world: World, namespace: str, api: Api) -> None:
    world.dapr.installed = False

    await made(world, namespace)

    dapr = api.condition(namespace, "a", conditions.DAPR_CONFIGURED)
    assert (dapr["status"], dapr["reason"]) == ("False", conditions.DAPR_NOT_INSTALLED)
    assert "helm upgrade --install dapr" in dapr["message"]
    assert api.get(kinds.DEPLOYMENT, namespace, "a") is None


async def test_conditions_keep_the_time_they_turned_and_carry_the_generation(world: World, namespace: str, api: Api) -> None:
    now = 1_800_000_000.0
    world.now = lambda: now
    await made(world, namespace)
    first = api.condition(namespace, "a", conditions.ACCEPTED)
    now += 60
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 2}})
    world.hear(kinds.AGENT, namespace, "a")
    await looked(world, namespace)

    second = api.condition(namespace, "a", conditions.ACCEPTED)
    assert second["lastTransitionTime"] == first["lastTransitionTime"]
    assert (first["observedGeneration"], second["observedGeneration"]) == (1, 2)


@pytest.mark.parametrize(("status", "reason"), [(409, "Conflict"), (429, "TooManyRequests"), (500, "InternalError"), (503, ""), (0, "")])
async def test_errors_that_may_pass_lead_to_the_same_end(world: World, namespace: str, api: Api, status: int, reason: str) -> None:
    real, failures = world.cluster.apply, iter([True] * 4)

    async def apply(kind: kinds.Kind, manifest: dict, **more: Any) -> dict:
        if next(failures, False):
            raise ApiError(status, reason, "injected")
        return await real(kind, manifest, **more)

    world.cluster.apply = apply
    with pytest.raises(Retry):
        await made(world, namespace)
    for _ in range(5):
        try:
            await world.look(namespace, "a")
            break
        except Retry:
            continue

    assert api.condition(namespace, "a", conditions.DAPR_CONFIGURED)["status"] == "True"
    assert (await world.look(namespace, "a"))[1] == {("GET", "agents"): 1}


async def test_a_replica_that_lost_its_lease_writes_nothing(world: World, namespace: str, api: Api) -> None:
    world.cluster._may_write = lambda: False

    with pytest.raises(Retry):
        await made(world, namespace)

    assert api.list(kinds.SECRET, namespace) == []
    assert "conditions" not in api.get(kinds.AGENT, namespace, "a")["status"]


async def test_a_child_whose_reference_was_taken_off_is_no_longer_ours(world: World, namespace: str, api: Api) -> None:
    await made(world, namespace)
    api.patch(kinds.SERVICE, namespace, "a", {"metadata": {"ownerReferences": []}})
    world.hear(kinds.SERVICE, namespace, "a")

    await looked(world, namespace)

    assert api.condition(namespace, "a", conditions.ACCEPTED)["reason"] == conditions.CHILD_NAME_TAKEN
