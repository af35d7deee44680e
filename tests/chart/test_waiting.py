"""How people wait for an Agent: Helm 4 and kubectl themselves, on statuses that the operator writes (tests/data/operator)."""

import json
import subprocess
import time

import pytest
import yaml

from e2e.cluster import tools
from e2e.cluster.apiserver import ApiServer
from e2e.cluster.places import places
from tests.chart.test_recipes import AGENT, Cluster
from tests.operator.readers import HEALTH, kstatus
from tests.operator.test_readers import golden

pytestmark = pytest.mark.apiserver


@pytest.fixture(scope="module")
def cluster(root):
    with ApiServer() as server:
        found = Cluster(server.kubeconfig)
        found.succeeds("kubectl", "apply", "-f", root / "crds/agents.holdfast.dev.yaml")
        found.succeeds("kubectl", "wait", "--for=condition=Established", "crd/agents.holdfast.dev", "--timeout=20s")
        yield found


@pytest.fixture
def agents_chart(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: agents\nversion: 0.1.0\n")
    (tmp_path / "templates/agent.yaml").write_text(yaml.safe_dump(AGENT))
    return tmp_path


def tell(cluster, namespace, case):
    """Write the status of a golden case, as of the Agent's first generation."""
    status = golden(case)["status"] | {"observedGeneration": 1}
    status["conditions"] = [each | {"observedGeneration": 1} for each in status["conditions"]]
    patch = json.dumps({"status": status})
    cluster.succeeds("kubectl", "patch", "agent", "a", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def there(cluster, namespace):
    deadline = time.monotonic() + 20
    while cluster("kubectl", "get", "agent", "a", "-n", namespace)[0]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("case", ["ready", "suspended", "starting", "waiting", "crashed-for-long"])
def test_helms_wait_takes_the_status_for_what_the_rules_say(cluster, agents_chart, case):
    namespace, helm = f"helm-{case}", str(tools.find(places(), "helm", "helm"))
    command = [helm, "--kubeconfig", cluster.kubeconfig, "install", "agents", str(agents_chart), "-n", namespace, "--create-namespace"]
    with subprocess.Popen(
        [*command, "--wait", "--timeout", "8s"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as waiting:
        there(cluster, namespace)
        with pytest.raises(subprocess.TimeoutExpired):  # an Agent that nobody has looked at is not ready
            waiting.wait(1)
        tell(cluster, namespace, case)
        output = waiting.communicate(timeout=30)[0]

    verdict = kstatus(golden(case))
    if verdict == "Current":
        assert waiting.returncode == 0, output
    else:
        assert waiting.returncode != 0
        assert f"status: {verdict}" in output


def test_kubectl_waits_for_ready_of_the_newest_generation(cluster):
    cluster.succeeds("kubectl", "create", "namespace", "wait")
    file = json.dumps(AGENT)
    subprocess.run(
        [str(tools.find(places(), "kubernetes", "kubectl")), "--kubeconfig", cluster.kubeconfig, "create", "-n", "wait", "-f", "-"],
        input=file,
        text=True,
        check=True,
        capture_output=True,
    )
    wait = ("kubectl", "wait", "--for=condition=Ready", "agent/a", "-n", "wait")
    cluster.refuses(*wait, "--timeout=1s")
    tell(cluster, "wait", "ready")
    cluster.succeeds(*wait, "--timeout=5s")

    cluster.succeeds("kubectl", "patch", "agent", "a", "-n", "wait", "--type=merge", "-p", '{"spec": {"role": "Another"}}')
    cluster.refuses(*wait, "--timeout=1s")
    tell(cluster, "wait", "name-taken")
    stalled = "jsonpath={.status.conditions[?(@.type=='Stalled')].status}=True"
    cluster.succeeds("kubectl", "wait", f"--for={stalled}", "agent/a", "-n", "wait", "--timeout=5s")


def test_the_health_check_goes_beside_what_argo_cds_settings_hold_already(cluster, tmp_path):
    key = "resource.customizations.health.holdfast.dev_Agent"
    cluster.succeeds("kubectl", "create", "namespace", "argocd")
    cluster.succeeds("kubectl", "create", "configmap", "argocd-cm", "-n", "argocd", "--from-literal=url=https://argo.example.com")
    for _ in range(2):
        made = cluster.succeeds(
            "kubectl", "create", "configmap", "argocd-cm", "-n", "argocd", f"--from-file={key}={HEALTH}", "--dry-run=client", "-o", "yaml"
        )
        (tmp_path / "health.yaml").write_text(made)
        cluster.succeeds("kubectl", "apply", "--server-side", "--field-manager=holdfast", "-f", tmp_path / "health.yaml")

    data = json.loads(cluster.succeeds("kubectl", "get", "configmap", "argocd-cm", "-n", "argocd", "-o", "json"))["data"]
    assert data == {"url": "https://argo.example.com", key: HEALTH.read_text()}
