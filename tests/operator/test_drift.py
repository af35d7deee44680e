"""What somebody else changes is repaired at once and told, and a fight with another controller slows down. Partly on a real API server."""

from collections import Counter

import pytest

from holdfast_operator import kinds
from holdfast_operator.cluster import ApiError
from holdfast_operator.drift import AT_ONCE, DRIFT_FOUGHT, DRIFT_REPAIRED, FORGOTTEN, MAX_PAUSE, Repair, meddlers_of, pause, repaired, tell
from tests.operator.live import World
from tests.operator.test_blocked import refuse
from tests.operator.test_children import change, made

READ = ("GET", "agents")
APPLY_SCALE = "/scale?fieldManager=kube-controller-manager&force=true"


def test_the_first_repairs_come_at_once_and_further_ones_after_longer_and_longer_pauses() -> None:
    repair, now, waits = None, 1000.0, []
    for _ in range(14):
        wait = pause(repair, now)
        waits.append(wait)
        now += wait
        repair = repaired(repair, now)

    assert waits[: AT_ONCE + 1] == [0, 0, 0, 5]
    assert waits[AT_ONCE + 1 :] == sorted(waits[AT_ONCE + 1 :])
    assert waits[-1] == MAX_PAUSE


def test_what_nobody_touched_for_a_while_is_repaired_at_once_again() -> None:
    assert repaired(Repair(9, 1000.0), 1000.0 + FORGOTTEN + 1) == Repair(1, 1001.0 + FORGOTTEN)
    assert repaired(Repair(9, 1000.0), 1000.0 + MAX_PAUSE) == Repair(10, 1000.0 + MAX_PAUSE)


def test_a_clock_that_was_set_back_makes_nobody_wait_for_it() -> None:
    assert pause(Repair(9, 100_000.0), 50.0) == 0


def test_an_event_names_who_meddles_with_what_and_what_an_autoscaler_should_aim_at() -> None:
    live = {
        "metadata": {
            "managedFields": [
                {"manager": "holdfast-operator", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                {"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:paused": {}}}},
                {"manager": "kubectl-edit", "fieldsV1": {"f:metadata": {"f:annotations": {"f:theirs": {}}}}},
            ]
        }
    }

    meddlers = meddlers_of(live, {"metadata": {"name": "a"}, "spec": {"replicas": 1, "template": {"spec": {}}}})
    told = tell(kinds.DEPLOYMENT, "a", lost=False, meddlers=meddlers, repeated=True)

    assert "kube-controller-manager (spec.replicas)" in meddlers
    assert "kubectl" not in meddlers
    assert not told.good
    assert told.reason == DRIFT_FOUGHT
    assert "aim at the Agent" in told.message


def events(world: World, namespace: str) -> Counter[str]:
    """How often each reason was told."""
    found: Counter[str] = Counter()
    for event in world.api.list(kinds.EVENT, namespace):
        found[event["reason"]] += event.get("count", 1)
    return found


@pytest.mark.apiserver
async def test_a_fight_over_the_scale_slows_down_and_is_told_and_a_single_repair_is_one_write_and_one_event(
    world: World, namespace: str
) -> None:
    api, now = world.api, [1_800_000_000.0]
    world.now = lambda: now[0]
    api.agent(namespace, "a")
    world.hear(kinds.AGENT, namespace, "a", "ADDED")
    await world.look(namespace, "a")
    api.roll_out(namespace, "a")
    world.hear(kinds.DEPLOYMENT, namespace, "a")
    await world.look(namespace, "a")
    before = events(world, namespace)

    # One child changed, another one deleted: each is one write and one Event.
    api.patch(kinds.SERVICE, namespace, "a", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}})
    world.hear(kinds.SERVICE, namespace, "a")
    _, asked = await world.look(namespace, "a")
    assert asked == {READ: 1, ("PATCH", "services"): 1, ("POST", "events"): 1}
    version = api.get(kinds.CONFIGURATION, namespace, "a")["metadata"]["resourceVersion"]
    world.intake.missing((namespace, "a"), (kinds.CONFIGURATION, "a"), version)
    api.delete(kinds.CONFIGURATION, namespace, "a")
    _, asked = await world.look(namespace, "a")
    assert asked == {READ: 1, ("GET", "configurations"): 1, ("PATCH", "configurations"): 1, ("POST", "events"): 1}
    assert events(world, namespace) - before == {DRIFT_REPAIRED: 2}

    # An autoscaler that aims at the Deployment, and comes back each time.
    repairs, waits = 0, []
    for count in range(2, 12):
        live = api.request("GET", kinds.DEPLOYMENT.path(namespace, "a") + "/scale")
        live["spec"]["replicas"] = count
        api.request("PUT", kinds.DEPLOYMENT.path(namespace, "a") + APPLY_SCALE, live)
        world.hear(kinds.DEPLOYMENT, namespace, "a")
        again, asked = await world.look(namespace, "a")
        repairs += asked[("PATCH", "deployments")]
        if not asked[("PATCH", "deployments")]:
            assert again
            waits.append(again)
    assert (repairs, len(waits)) == (AT_ONCE, 10 - AT_ONCE)
    assert api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["replicas"] == 11

    now[0] += max(waits)
    _, asked = await world.look(namespace, "a")
    assert asked[("PATCH", "deployments")] == 1
    assert api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["replicas"] == 1
    (told,) = [event for event in api.list(kinds.EVENT, namespace) if event["reason"] == DRIFT_FOUGHT]
    assert told["type"] == "Warning"
    assert "kube-controller-manager (spec.replicas)" in told["message"]
    assert "aim at the Agent" in told["message"]

    # A change of the Agent is no drift: it does not wait, and no Event says that somebody meddles.
    before = events(world, namespace)
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 3}})
    world.hear(kinds.AGENT, namespace, "a")
    await world.look(namespace, "a")
    assert api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["replicas"] == 3
    assert set(events(world, namespace) - before) <= {"Progressing"}


@pytest.mark.apiserver
async def test_a_fight_over_one_child_slows_down_while_another_one_is_refused(world: World, namespace: str) -> None:
    api = world.api
    await made(world, namespace)
    mend = refuse(world, "PATCH", "configurations", ApiError(403, "Forbidden", "a policy says no"))
    await change(world, namespace, {"observability": {"apiLogging": True}})

    writes = []
    for count in range(6):
        api.patch(kinds.SERVICE, namespace, "a", {"metadata": {"labels": {"app.kubernetes.io/managed-by": f"me-{count}"}}})
        world.hear(kinds.SERVICE, namespace, "a")
        _, asked = await world.look(namespace, "a")
        writes.append(asked["PATCH", "services"])

    assert writes == [1] * AT_ONCE + [0] * (6 - AT_ONCE)
    assert events(world, namespace)[DRIFT_REPAIRED] == AT_ONCE
    mend()
    _, asked = await world.look(namespace, "a")
    assert (asked["PATCH", "configurations"], asked["PATCH", "deployments"], asked["PATCH", "services"]) == (1, 1, 0)
    assert events(world, namespace)[DRIFT_REPAIRED] == AT_ONCE
