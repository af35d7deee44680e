"""A namespace that may not be read: the others are looked after, it is named with the fix, and it heals. On a real API server."""

import pytest

from holdfast_operator import kinds, rbac
from tests.operator.conftest import StartOperator
from tests.operator.live import Api, Process, eventually, grant, role_rules
from tests.operator.test_program import NAMESPACE

pytestmark = pytest.mark.apiserver
BINDING = kinds.Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")


def unreadable(operator: Process, namespace: str) -> bool:
    """Metrics and health say it, while the operator counts as ready."""
    status, text = operator.http("/readyz")
    counted = f'holdfast_namespace_unreadable{{name="{namespace}"}} 1.0' in operator.http("/metrics")[1]
    return status == 200 and counted and f"namespace {namespace} cannot be read" in text and "watch.namespaces" in text


@pytest.mark.timeout(180)
def test_a_namespace_that_cannot_be_read_is_named_keeps_no_other_waiting_and_heals(
    api: Api, namespace: str, start_operator: StartOperator
) -> None:
    later = f"{namespace}-later"
    operator = start_operator(namespace, HOLDFAST_NAMESPACES=f"{later},{namespace}", HOLDFAST_RESYNC="2s")

    # Absent: the other one is looked after.
    api.agent(namespace, "a")
    eventually(lambda: api.get(kinds.DEPLOYMENT, namespace, "a"), seconds=60)
    eventually(lambda: unreadable(operator, later), seconds=60)

    # There, and still without rights; then granted: what is in it is carried out.
    api.create(NAMESPACE, None, {"metadata": {"name": later}})
    api.agent(later, "b")
    grant(api, namespace, later, role_rules(rbac.WATCHED))
    eventually(lambda: api.get(kinds.DEPLOYMENT, later, "b"), seconds=60)
    eventually(lambda: not unreadable(operator, later), seconds=60)
    api.delete(kinds.SERVICE, later, "b")
    eventually(lambda: api.get(kinds.SERVICE, later, "b"), seconds=60)

    # Taken away again: nothing of it is lost, and the other one goes on.
    api.delete(BINDING, later, f"operator-{namespace}")
    eventually(lambda: unreadable(operator, later), seconds=60)
    api.patch(kinds.AGENT, namespace, "a", {"spec": {"podAnnotations": {"x": "y"}}})
    eventually(lambda: api.get(kinds.DEPLOYMENT, namespace, "a")["spec"]["template"]["metadata"]["annotations"].get("x") == "y", seconds=60)
    assert api.get(kinds.DEPLOYMENT, later, "b")
    told = [line for line in operator.log.read_text().splitlines() if f"namespace {later} cannot be read" in line]
    assert len(told) == 2
    assert operator.popen.poll() is None
