"""The recipes of docs/install.md about the CRD, which outlives a release and can come from kubectl as well."""

import re
import shlex
import subprocess

import pytest
import yaml

from e2e.cluster import tools
from e2e.cluster.apiserver import ApiServer
from e2e.cluster.places import places
from tests.first import unpack

pytestmark = pytest.mark.apiserver
AGENT = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "a"}, "spec": {"role": "Helper"}}


class Cluster:
    """helm and kubectl on one API server."""

    def __init__(self, kubeconfig):
        self.kubeconfig = str(kubeconfig)

    def __call__(self, program, *arguments):
        project = {"helm": "helm", "kubectl": "kubernetes"}[program]
        command = [str(tools.find(places(), project, program)), "--kubeconfig", self.kubeconfig, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def succeeds(self, *command):
        code, output = self(*command)
        assert code == 0, output
        return output

    def refuses(self, *command):
        code, output = self(*command)
        assert code != 0, output
        return output


@pytest.fixture
def cluster():
    """An API server of the test's own: to remove CRDs from a shared one takes longer than to start another."""
    with ApiServer() as server:
        yield Cluster(server.kubeconfig)


@pytest.fixture
def agents_chart(tmp_path):
    """A chart that holds an Agent and nothing else."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: agents\nversion: 0.1.0\n")
    (tmp_path / "templates/agent.yaml").write_text(yaml.safe_dump(AGENT))
    return tmp_path


def test_reinstalling_over_the_kept_crd_keeps_the_agents_and_another_release_has_to_say_so(cluster, chart, agents_chart):
    cluster.succeeds("helm", "install", "one", chart, "-n", "first", "--create-namespace")
    cluster.succeeds("helm", "install", "agents", agents_chart, "-n", "default")
    cluster.succeeds("helm", "uninstall", "one", "-n", "first")
    assert "agent.holdfast.dev/a" in cluster.succeeds("kubectl", "get", "agents", "-o", "name", "-n", "default")

    cluster.succeeds("helm", "upgrade", "--install", "one", chart, "-n", "first")
    cluster.succeeds("helm", "uninstall", "one", "-n", "first")
    other = ("helm", "upgrade", "--install", "two", chart, "-n", "second", "--create-namespace")
    assert "invalid ownership metadata" in cluster.refuses(*other)
    cluster.succeeds(*other, "--take-ownership")
    cluster.succeeds("helm", "upgrade", "two", chart, "-n", "second", "--set", "workers=2")
    assert "agent.holdfast.dev/a" in cluster.succeeds("kubectl", "get", "agents", "-o", "name", "-n", "default")


def test_a_crd_that_kubectl_applied_first_can_be_taken_over_or_left_alone(cluster, chart, root):
    crd = root / "crds/agents.holdfast.dev.yaml"
    cluster.succeeds("kubectl", "apply", "-f", crd)

    assert "invalid ownership metadata" in cluster.refuses("helm", "install", "one", chart, "-n", "first", "--create-namespace")
    cluster.succeeds("helm", "install", "left", chart, "-n", "first", "--create-namespace", "--set", "crds.enabled=false")
    cluster.succeeds("helm", "upgrade", "left", chart, "-n", "first", "--set", "crds.enabled=true", "--take-ownership")
    assert "unchanged" in cluster.succeeds("kubectl", "apply", "-f", crd)


def test_agents_in_a_chart_of_their_own_need_the_crd_first(cluster, chart, agents_chart):
    assert "ensure CRDs are installed first" in cluster.refuses("helm", "install", "agents", agents_chart, "-n", "default")
    cluster.succeeds("helm", "install", "holdfast", chart, "-n", "holdfast-system", "--create-namespace")
    cluster.succeeds("helm", "install", "agents", agents_chart, "-n", "default")
    cluster.succeeds("helm", "uninstall", "agents", "-n", "default")

    assert cluster.succeeds("kubectl", "get", "agents", "-o", "name", "-n", "default").strip() == ""


def commands(root, after):
    """The commands of the first block that follows these words in docs/install.md."""
    (block,) = re.findall(rf"{re.escape(after)}.*?```console\n(.*?)```", (root / "docs/install.md").read_text(), re.DOTALL)
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in block.splitlines()]


def test_removing_the_operator_and_then_everything_goes_as_it_is_written(cluster, chart, root, agents_chart):
    cluster.succeeds("kubectl", "create", "-f", tools.find(places(), "dapr", "chart") / "crds")
    install = ("helm", "install", "holdfast", chart, "-n", "holdfast-system", "--create-namespace", "--set", "redis.enabled=true")
    cluster.succeeds(*install)
    cluster.succeeds("helm", "install", "agents", agents_chart, "-n", "default")

    for command in commands(root, "**The operator only.**"):
        cluster.succeeds(*command)
    assert "agent.holdfast.dev/a" in cluster.succeeds("kubectl", "get", "agents", "-o", "name", "-n", "default")

    cluster.succeeds(*install)
    for command in commands(root, "**Everything.**"):
        cluster.succeeds(*command)
    assert "the server doesn't have a resource type" in cluster.refuses("kubectl", "get", "agents.holdfast.dev", "-A")
    left = cluster.succeeds("kubectl", "get", "all,pvc,clusterroles", "-A", "-l", "app.kubernetes.io/part-of=holdfast", "-o", "name")
    assert left.strip() == ""


def test_a_release_of_the_first_chart_is_upgraded_and_taken_back(cluster, chart, agents_chart, tmp_path):
    first = unpack(tmp_path / "first")
    cluster.succeeds(
        *("helm", "install", "holdfast", first / "charts/holdfast", "-n", "holdfast-system", "--create-namespace"),
        *("--set", "redis.enabled=true,agents.model.provider=echo,workers=7"),
    )
    cluster.succeeds("helm", "install", "agents", agents_chart, "-n", "default")
    crd, limit = ("kubectl", "get", "crd", "agents.holdfast.dev", "-o", "yaml"), "maxToolCalls"
    assert limit not in cluster.succeeds(*crd)

    upgrade = ("helm", "upgrade", "holdfast", "-n", "holdfast-system", "--reset-then-reuse-values")
    cluster.succeeds(*upgrade, chart)
    assert limit in cluster.succeeds(*crd)
    workers = "jsonpath={.spec.template.spec.containers[0].env[?(@.name=='HOLDFAST_WORKERS')].value}"
    read = ("kubectl", "get", "deployment", "holdfast", "-n", "holdfast-system", "-o", workers)
    assert cluster.succeeds(*read) == "7"

    cluster.succeeds(*upgrade, first / "charts/holdfast")
    assert limit not in cluster.succeeds(*crd)
    assert cluster.succeeds(*read) == "7"
    assert "agent.holdfast.dev/a" in cluster.succeeds("kubectl", "get", "agents", "-o", "name", "-n", "default")


def test_the_notes_say_when_dapr_is_missing_and_only_then(cluster, chart):
    install = ("helm", "upgrade", "--install", "holdfast", chart, "-n", "holdfast-system", "--create-namespace")
    warning = "Dapr is not installed in this cluster"
    assert warning in cluster.succeeds(*install)

    cluster.succeeds("kubectl", "create", "-f", tools.find(places(), "dapr", "chart") / "crds")
    cluster.succeeds("kubectl", "wait", "--for=condition=Established", "crd/components.dapr.io", "--timeout=20s")
    assert warning not in cluster.succeeds(*install)


def test_the_notes_say_what_a_first_agent_lacks(cluster, chart):
    install = ("helm", "upgrade", "--install", "holdfast", chart, "-n", "holdfast-system", "--create-namespace")
    notes = cluster.succeeds(*install)
    assert "There is no default store" in notes
    assert "state: {type: state.redis" in notes

    notes = cluster.succeeds(*install, "--set", "redis.enabled=true,agents.model.provider=echo")
    assert "There is no default store" not in notes
    assert "model:" not in notes


def test_the_notes_say_what_the_charts_redis_is_for_where_another_store_is_named(cluster, chart):
    install = ("helm", "upgrade", "--install", "holdfast", chart, "-n", "holdfast-system", "--create-namespace", "--set")
    other = "redis.enabled=true,agents.state.component=ours"
    assert "gives Agents their broker alone" in cluster.succeeds(*install, other)
    assert "has no effect on Agents" in cluster.succeeds(*install, f"{other},agents.pubsub.component=events")
    assert "agents.state" not in cluster.succeeds(*install, "redis.enabled=true")
