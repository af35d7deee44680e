"""An Agent under the tools that people use: kubectl wait, scale, delete."""

import time

import pytest

from e2e.tests.support import Namespace, agent, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def test_kubectl_waits_for_an_agent_scales_it_and_deletes_it_with_all_its_children(namespace: Namespace) -> None:
    applied = time.monotonic()
    namespace.apply(agent("echo"))
    namespace.run("wait", "--for=condition=Ready", "agent/echo", "--timeout=120s", timeout=130)
    print(f"measured: Agent applied -> Ready {time.monotonic() - applied:.1f} s")
    assert {"deployment.apps/echo", "service/echo", "secret/echo-app-token"} <= namespace.children("echo")

    namespace.run("scale", "agent/echo", "--replicas=2")
    eventually(lambda: len(namespace.pods("echo")) == 2, within=60, what="there are two pods")
    namespace.run("wait", "--for=jsonpath={.status.readyReplicas}=2", "agent/echo", "--timeout=60s", timeout=70)

    namespace.run("delete", "agent", "echo", timeout=60)
    eventually(lambda: not namespace.children("echo"), within=60, what="all children are gone")


def test_a_suspended_agent_has_no_pods_and_is_ready(namespace: Namespace) -> None:
    namespace.apply(agent("asleep", suspend=True))
    namespace.ready("asleep")
    assert namespace.condition("asleep", "Ready")["reason"] == "Suspended"
    assert namespace.pods("asleep") == []

    namespace.run("patch", "agent", "asleep", "--type=merge", '-p={"spec":{"suspend":false}}')
    namespace.ready("asleep")
    assert len(namespace.pods("asleep")) == 1


def test_a_typing_error_is_refused_by_kubectl_with_the_field(namespace: Namespace) -> None:
    with pytest.raises(Exception, match=r'unknown field "spec\.instrucions"'):
        namespace.apply(agent("typo", instrucions=["x"]))
