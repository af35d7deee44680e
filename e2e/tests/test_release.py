"""The Helm release: its own test, and what stays when it goes."""

import subprocess

import pytest

from e2e import holdfast
from e2e.cluster.places import places
from e2e.holdfast import NAMESPACE, RELEASE, Images, kubectl
from e2e.tests.support import Caller, Namespace, agent, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def helm(*arguments: str) -> str:
    """Run Helm on the release's namespace."""
    command = ["helm", *arguments, "--namespace", NAMESPACE]
    done = subprocess.run(command, env=holdfast.environment(), capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_helm_test_passes_and_leaves_nothing(images: Images) -> None:
    printed = helm("test", RELEASE, "--logs")

    assert "the operator looked after a new Agent and it is Ready" in printed
    assert "holdfast-test" not in kubectl("get", "agents,pods", "-n", NAMESPACE, "-o", "name")


def test_agents_and_their_kind_survive_an_uninstall_and_go_on_after_the_next_install(
    images: Images, namespace: Namespace, planner: Caller
) -> None:
    namespace.apply(agent("kept"), agent("gone"))
    for name in ("kept", "gone"):
        namespace.ready(name)
    helm("uninstall", RELEASE, "--wait")
    try:
        assert namespace.get("agent", "kept")["spec"]["model"] == {"provider": "echo"}
        assert len(namespace.pods("kept")) == 1
        assert planner.attempt("/healthz") == {"status": "ok"}
        namespace.run("delete", "agent", "gone", "--timeout=30s")
        eventually(lambda: not namespace.children("gone"), within=90, what="the cluster has collected what was the Agent's")
    finally:
        holdfast.install(places(), images)
    namespace.run("patch", "agent", "kept", "--type=merge", '-p={"spec":{"description":"seen again"}}')
    namespace.ready("kept")
