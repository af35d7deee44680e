"""A run goes on whatever dies in its middle: nothing that had finished is done again, and a tool cut off is asked again under its key.

The trip planner looks for flights (a Python tool), then holds a seat (an HTTP tool that takes twelve seconds), then answers.
"""

import time

import pytest

from e2e import holdfast
from e2e.caller import PLANNER, SLOW_TOOL
from e2e.holdfast import kubectl
from e2e.tests.support import AT_ONCE, Caller, Ledger, Namespace, crash_sidecar, eventually, trip

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def in_the_middle(planner: Caller, ledger: Ledger, text: str) -> str:
    """Begin a run and wait until the slow tool is at work; returns the run's id."""
    run = planner.start(text)
    eventually(lambda: any(not call.get("finished") for call in ledger.tool(run, SLOW_TOOL)), within=60, what=f"{SLOW_TOOL} is at work")
    return run


def assert_answered(planner: Caller, ledger: Ledger, run: str, text: str) -> None:
    """The answer came, and no call of the model was made twice."""
    ended = planner.ended(run)
    assert (ended["status"], ended.get("error")) == ("COMPLETED", None)
    assert ended["result"]
    keys = [call["key"] for call in ledger.model(text)]
    assert len(keys) == len(set(keys)) == 3


def pod_of(namespace: Namespace, agent: str) -> str:
    (pod,) = namespace.pods(agent)
    return str(pod["metadata"]["name"])


def test_a_run_answers_over_http_with_the_token_of_its_secret(planner: Caller, ledger: Ledger, travel: Namespace) -> None:
    text = trip()
    run = planner.start(text)

    assert_answered(planner, ledger, run, text)
    assert len(ledger.tool(run, SLOW_TOOL)) == 1


def test_a_pod_that_is_deleted_finishes_its_tool_before_it_goes(planner: Caller, ledger: Ledger, travel: Namespace) -> None:
    text = trip()
    run = in_the_middle(planner, ledger, text)
    travel.run("delete", "pod", pod_of(travel, PLANNER), "--wait=false")

    assert_answered(planner, ledger, run, text)
    assert len(ledger.tool(run, SLOW_TOOL)) == 1


def test_a_pod_that_is_killed_is_replaced_and_the_tool_is_asked_again_under_its_key(
    planner: Caller, ledger: Ledger, travel: Namespace
) -> None:
    text = trip()
    run = in_the_middle(planner, ledger, text)
    killed = time.monotonic()
    travel.run("delete", "pod", pod_of(travel, PLANNER), *AT_ONCE)
    eventually(lambda: len(ledger.tool(run, SLOW_TOOL)) > 1, within=90, what="the tool is asked again")
    print(f"measured: pod killed -> tool asked again {time.monotonic() - killed:.1f} s")

    assert_answered(planner, ledger, run, text)
    assert len({call["key"] for call in ledger.tool(run, SLOW_TOOL)}) == 1


def test_a_sidecar_that_crashes_comes_back_and_the_run_goes_on(
    planner: Caller, ledger: Ledger, travel: Namespace, images: holdfast.Images
) -> None:
    text = trip()
    run = in_the_middle(planner, ledger, text)
    pod = pod_of(travel, PLANNER)
    crash_sidecar(travel, pod, images.agent)

    assert_answered(planner, ledger, run, text)
    assert len({call["key"] for call in ledger.tool(run, SLOW_TOOL)}) == 1
    assert pod_of(travel, PLANNER) == pod


def test_the_operator_may_die_at_any_moment_of_a_run(planner: Caller, ledger: Ledger, travel: Namespace) -> None:
    text = trip()
    run = in_the_middle(planner, ledger, text)
    kubectl("delete", "pod", "-n", holdfast.NAMESPACE, "-l", "app.kubernetes.io/component=operator", *AT_ONCE)

    assert_answered(planner, ledger, run, text)
    assert len(ledger.tool(run, SLOW_TOOL)) == 1
    kubectl("rollout", "status", "-n", holdfast.NAMESPACE, "deployment/holdfast", "--timeout=60s", timeout=70)
    travel.ready(PLANNER)


def test_the_store_may_be_killed_and_loses_nothing(planner: Caller, ledger: Ledger, travel: Namespace) -> None:
    text = trip()
    run = in_the_middle(planner, ledger, text)
    kubectl("delete", "pod", "-n", holdfast.NAMESPACE, "holdfast-redis-0", *AT_ONCE)

    assert_answered(planner, ledger, run, text)
    assert len({call["key"] for call in ledger.tool(run, SLOW_TOOL)}) == 1
