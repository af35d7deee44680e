"""The operator as a program, in a namespace, with exactly the rights that `rbac` says. On a real API server."""

import contextlib
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.apiserver import ApiServer
from holdfast_api import conditions, names
from holdfast_operator import kinds
from holdfast_operator.leader import LEASE
from tests.operator.conftest import StartOperator
from tests.operator.live import CRD, Api, eventually, install_crds

pytestmark = pytest.mark.apiserver
NAMESPACE = kinds.Kind("", "v1", "namespaces", "Namespace")


def ready(api: Api, namespace: str, name: str) -> bool:
    """The rollout is complete and the Agent says so."""
    if api.get(kinds.DEPLOYMENT, namespace, name) is None:
        return False
    api.roll_out(namespace, name)
    live = api.get(kinds.AGENT, namespace, name)
    current = live["status"].get("observedGeneration") == live["metadata"]["generation"]
    return current and api.condition(namespace, name)["status"] == "True"


def versions(api: Api, namespace: str) -> dict[str, str]:
    found = {}
    for kind in (*kinds.CHILDREN, kinds.AGENT):
        for live in api.list(kind, namespace):
            found[f"{kind.kind}/{live['metadata']['name']}"] = live["metadata"]["resourceVersion"]
    return found


def test_an_agent_is_made_kept_and_deleted_with_the_documented_rights(api: Api, namespace: str, start_operator: StartOperator) -> None:
    operator = start_operator(namespace)
    api.create(kinds.CONFIG_MAP, namespace, {"metadata": {"name": "prompt"}, "data": {"text": "one"}})
    api.agent(namespace, "a", {"replicas": 2, "systemPromptFrom": {"configMapKeyRef": {"name": "prompt", "key": "text"}}})
    eventually(lambda: ready(api, namespace, "a"))

    # Drift, a lost child, and a text that changes: each is seen by a watch.
    api.patch(kinds.DEPLOYMENT, namespace, "a", {"spec": {"progressDeadlineSeconds": 1}})
    eventually(lambda: api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["progressDeadlineSeconds"] == 600)
    for kind, name in ((kinds.SERVICE, "a"), (kinds.CONFIGURATION, "a"), (kinds.DISRUPTION_BUDGET, "a")):
        api.delete(kind, namespace, name)
        eventually(lambda kind=kind, name=name: api.get(kind, namespace, name))
    first = api.get(kinds.AGENT, namespace, "a")["status"]["revision"]
    api.delete(kinds.CONFIG_MAP, namespace, names.config_map("a", first))
    eventually(lambda: api.get(kinds.CONFIG_MAP, namespace, names.config_map("a", first)))
    api.patch(kinds.CONFIG_MAP, namespace, "prompt", {"data": {"text": "two"}})
    eventually(lambda: api.get(kinds.AGENT, namespace, "a")["status"]["revision"] != first)

    # What is taken away by pruning, and the Agent itself without a finalizer to wait for.
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"replicas": 1}})
    eventually(lambda: ready(api, namespace, "a") and api.get(kinds.DISRUPTION_BUDGET, namespace, "a") is None)
    api.delete(kinds.AGENT, namespace, "a")
    assert api.get(kinds.AGENT, namespace, "a") is None
    assert operator.end() == 0
    assert "ERROR" not in operator.log.read_text()
    assert "Forbidden" not in operator.log.read_text()


def test_idle_agents_cost_no_request_and_a_restart_changes_nothing(api: Api, namespace: str, start_operator: StartOperator) -> None:
    operator = start_operator(namespace)
    for number in range(5):
        api.agent(namespace, f"a{number}")
    for number in range(5):
        eventually(lambda number=number: ready(api, namespace, f"a{number}"))

    def asked() -> float:
        """Requests that are not the price of being there: discovery and the Lease."""
        lines = operator.http("/metrics")[1].splitlines()
        counted = [line for line in lines if line.startswith("holdfast_api_requests_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in counted if 'resource=""' not in line and 'resource="leases"' not in line)

    def settled() -> bool:
        count = asked()
        time.sleep(6)  # longer than until the look at what there is, once Kopf has listed the Agents
        return asked() == count

    eventually(settled, seconds=30)
    before, count = versions(api, namespace), asked()
    time.sleep(2)
    assert asked() == count
    assert operator.end() == 0

    again = start_operator(namespace)
    eventually(lambda: again.metric("holdfast_reconciles_total") >= 5)
    assert again.metric('holdfast_agents{ready="True"}') == 5
    assert versions(api, namespace) == before
    writes = [line for line in again.http("/metrics")[1].splitlines() if "api_requests_total{" in line and 'verb="GET"' not in line]
    assert [line for line in writes if 'resource="leases"' not in line] == []


def test_killed_again_and_again_it_still_gets_there(api: Api, namespace: str, start_operator: StartOperator) -> None:
    for number in range(12):
        api.agent(namespace, f"a{number:02}", {"replicas": 2})
    for lifetime in (0.02, 0.05, 0.1, 0.2):
        operator = start_operator(namespace)
        time.sleep(lifetime)
        operator.end(signal.SIGKILL)
    start_operator(namespace)

    for number in range(12):
        eventually(lambda number=number: ready(api, namespace, f"a{number:02}"))
    for kind in (kinds.SERVICE, kinds.DEPLOYMENT, kinds.DISRUPTION_BUDGET, kinds.CONFIGURATION, kinds.RESILIENCY):
        assert len(api.list(kind, namespace)) == 12, kind.kind
    assert len([live for live in api.list(kinds.SECRET, namespace) if live["type"] == "Opaque"]) == 36


def test_a_name_that_is_freed_is_used_within_seconds(api: Api, namespace: str, start_operator: StartOperator) -> None:
    start_operator(namespace)
    api.create(kinds.SERVICE, namespace, {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}})
    api.agent(namespace, "a")
    eventually(lambda: api.condition(namespace, "a")["reason"] == conditions.CHILD_NAME_TAKEN)

    api.delete(kinds.SERVICE, namespace, "a")

    eventually(lambda: ready(api, namespace, "a"), seconds=20)


def test_one_leads_one_stands_by_and_takes_over(api: Api, namespace: str, start_operator: StartOperator) -> None:
    first = start_operator(namespace, HOLDFAST_LEADER_ELECTION="true")
    second = start_operator(namespace, HOLDFAST_LEADER_ELECTION="true")
    assert (first.metric("holdfast_leading"), second.metric("holdfast_leading")) == (1, 0)
    assert second.http("/healthz")[0] == 200
    api.agent(namespace, "a")
    eventually(lambda: ready(api, namespace, "a"))
    assert second.metric("holdfast_reconciles_total") == 0

    assert first.end() == 0
    eventually(lambda: second.metric("holdfast_leading") == 1, seconds=5)
    api.agent(namespace, "b")
    eventually(lambda: ready(api, namespace, "b"))
    assert api.get(LEASE, namespace, "holdfast-operator")["spec"]["leaseTransitions"] >= 1


@pytest.fixture(scope="module")
def bare() -> Iterator[Api]:
    """An API server that Dapr's CRDs are put into and taken from."""
    with ApiServer() as server:
        found = Api(server)
        install_crds(found, dapr=False)
        yield found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scope", [{}, {"HOLDFAST_NAMESPACES": ""}], ids=["namespaced", "cluster-wide"])
def test_dapr_that_comes_and_goes_is_noticed_within_seconds(bare: Api, start_operator: StartOperator, scope: dict[str, str]) -> None:
    team = "team-wide" if scope else "team"
    bare.create(NAMESPACE, None, {"metadata": {"name": team}})
    operator = start_operator(team, server=bare, **scope)
    bare.agent(team, "a")
    eventually(lambda: bare.condition(team, "a")["reason"] == conditions.DAPR_NOT_INSTALLED)

    install_crds(bare, ours=False)
    eventually(lambda: ready(bare, team, "a"), seconds=30)
    bare.delete(kinds.RESILIENCY, team, "a")
    eventually(lambda: bare.get(kinds.RESILIENCY, team, "a"), seconds=30)

    remove_dapr_crds(bare)
    eventually(lambda: bare.condition(team, "a")["reason"] == conditions.DAPR_NOT_INSTALLED, seconds=30)
    assert operator.end() == 0
    assert "Forbidden" not in operator.log.read_text()


def remove_dapr_crds(api: Api) -> None:
    def left() -> list[str]:
        return [live["metadata"]["name"] for live in api.list(CRD, None) if live["spec"]["group"] == kinds.DAPR_GROUP]

    def gone() -> bool:
        # The API server's finalizer fails while a CRD's storage starts, and a retry that meets its own write of that failure is
        # forgotten for minutes; any change to the CRD wakes it, and one a second leaves it time to write.
        for name in left():
            with contextlib.suppress(urllib.error.HTTPError):  # gone since it was listed
                api.patch(CRD, None, name, {"metadata": {"annotations": {"nudged": str(time.monotonic())}}})
        time.sleep(1)
        return not left()

    for name in left():
        api.delete(CRD, None, name)
    eventually(gone, seconds=60)


def test_an_unusable_setting_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "holdfast_operator"]
    ended = subprocess.run(command, env={"HOLDFAST_HTTP_PORT": "many"}, capture_output=True, text=True, check=False, timeout=30)

    assert ended.returncode == 2
    assert ended.stderr.strip() == "HOLDFAST_HTTP_PORT=many: give a whole number from 1 to 65535"


def test_without_a_cluster_it_says_what_to_set(tmp_path: Path) -> None:
    command, environment = [sys.executable, "-m", "holdfast_operator"], {"KUBECONFIG": str(tmp_path / "absent"), "HOME": str(tmp_path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)

    assert ended.returncode == 2
    assert "set KUBECONFIG" in ended.stderr
    assert "Traceback" not in ended.stderr
