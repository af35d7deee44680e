"""The API server and its etcd frozen, killed, restarted and compacted while the operator runs: it heals in place, and misses nothing."""

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from e2e.cluster.apiserver import ApiServer
from holdfast_api import names
from holdfast_operator import kinds
from tests.operator.conftest import StartOperator
from tests.operator.live import Api, Process, eventually, install_crds
from tests.operator.test_program import NAMESPACE, ready, versions

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(400)]
TEAM, AGENTS = "faults", ("a", "b", "c")
SECONDS = 80.0
"""Longer than Kopf needs to notice that a watch says nothing any more."""


@pytest.fixture(scope="module")
def fragile() -> Iterator[Api]:
    """An API server that may be broken."""
    with ApiServer() as server:
        found = Api(server)
        install_crds(found)
        found.create(NAMESPACE, None, {"metadata": {"name": TEAM}})
        yield found


def test_whatever_happens_to_the_api_server_the_operator_goes_on_and_misses_nothing(fragile: Api, start_operator: StartOperator) -> None:
    server = fragile.server
    operator = start_operator(TEAM, server=fragile)
    for name in AGENTS:
        fragile.agent(TEAM, name)
    settle(fragile, operator)

    # Frozen: what was sent is carried out late.
    server.pause("apiserver")
    time.sleep(4)
    server.resume("apiserver")
    meddle(fragile, 1)
    settle(fragile, operator, 1)

    # Killed and started again on the same data; then etcd under it.
    for part in ("apiserver", "etcd"):
        server.kill(part)
        time.sleep(1)
        server.restart(part)
        change = 2 if part == "apiserver" else 3
        meddle(fragile, change)
        settle(fragile, operator, change)

    # What happens while nobody watches, with no event left to tell of it: only another look at what is there finds it.
    operator.send(signal.SIGSTOP)
    server.kill("apiserver")
    server.restart("apiserver")
    meddle(fragile, 4)
    server.compact()
    server.kill("apiserver")
    server.restart("apiserver")
    operator.send(signal.SIGCONT)
    settle(fragile, operator, 4)

    still(fragile, operator)
    log = operator.log.read_text()
    assert operator.popen.poll() is None
    assert "starting anew" not in log
    assert "Traceback" not in log
    assert operator.end() == 0


def test_an_agent_made_again_within_a_second_or_deleted_under_way_has_its_own_children(
    api: Api, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator(namespace)
    for moment in (0.0, 0.15, 0.6):
        api.agent(namespace, "again")
        time.sleep(moment)
        api.delete(kinds.AGENT, namespace, "again")
    last = api.agent(namespace, "again")["metadata"]["uid"]

    eventually(lambda: collected(api, namespace, last) and ready(api, namespace, "again"), seconds=SECONDS)

    for kind in kinds.CHILDREN:
        for live in api.list(kind, namespace):
            if live["metadata"].get("labels", {}).get(names.LABEL_AGENT) == "again":
                assert [ref["uid"] for ref in live["metadata"]["ownerReferences"]] == [last], kind.kind
    assert "an error in Holdfast" not in operator.log.read_text()


def meddle(api: Api, change: int) -> None:
    """Change an Agent and the text of a child, and delete two children."""
    api.patch(kinds.AGENT, TEAM, "a", {"spec": {"replicas": 1 + change}})
    api.patch(kinds.SERVICE, TEAM, "b", {"metadata": {"labels": {"app.kubernetes.io/managed-by": f"me-{change}"}}})
    api.delete(kinds.SERVICE, TEAM, "c")
    api.delete(kinds.CONFIGURATION, TEAM, "c")


def settle(api: Api, operator: Process, change: int = 0) -> None:
    """Wait until all is as the Agents say."""

    def settled() -> bool:
        assert operator.popen.poll() is None, operator.log.read_text()[-4000:]
        wanted = ((kinds.SERVICE, "c"), (kinds.CONFIGURATION, "c"), (kinds.SERVICE, "b"), (kinds.DEPLOYMENT, "a"))
        there = all(api.get(kind, TEAM, name) for kind, name in wanted)
        return there and mended(api, change) and all(ready(api, TEAM, name) for name in AGENTS)

    eventually(settled, seconds=SECONDS)


def mended(api: Api, change: int) -> bool:
    service, deployment = api.get(kinds.SERVICE, TEAM, "b"), api.get(kinds.DEPLOYMENT, TEAM, "a")
    return (
        not service["metadata"]["labels"]["app.kubernetes.io/managed-by"].startswith("me-") and deployment["spec"]["replicas"] == 1 + change
    )


def still(api: Api, operator: Process) -> None:
    """Nothing is written once all is settled: after the look that follows each list, at the latest."""
    unchanged(lambda: versions(api, TEAM), seconds=SECONDS)
    assert operator.metric("holdfast_queue_failing") == 0


def unchanged(ask: Callable[[], object], *, seconds: float) -> None:
    deadline, before = time.monotonic() + seconds, ask()
    while True:
        time.sleep(3)
        if (now := ask()) == before:
            return
        assert time.monotonic() < deadline, "it never comes to rest"
        before = now


def collected(api: Api, namespace: str, uid: str) -> bool:
    """What the garbage collector does, which does not run here: children of an Agent that is no more go."""
    left = 0
    for kind in (*kinds.CHILDREN, kinds.SECRET):
        for live in api.list(kind, namespace):
            owners = [ref["uid"] for ref in live["metadata"].get("ownerReferences", ())]
            if owners and uid not in owners:
                api.delete(kind, namespace, live["metadata"]["name"])
                left += 1
    return left == 0
