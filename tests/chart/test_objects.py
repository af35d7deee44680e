"""What the chart makes: rights as the operator's code says, pods that Pod Security lets in, the CRD as it is generated."""

import pytest
import yaml
from kubernetes import client

from holdfast_api.defaults import AgentDefaults

pytestmark = pytest.mark.apiserver


def of_kind(objects, kind, *, part=""):
    return [each for each in objects if each["kind"] == kind and part in each["metadata"]["name"]]


def the(objects, kind, name):
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def defaults(objects):
    return AgentDefaults.model_validate(yaml.safe_load(the(objects, "ConfigMap", "holdfast-defaults")["data"]["agents.yaml"]))


def environment(objects):
    (container,) = the(objects, "Deployment", "holdfast")["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value") for each in container["env"]}


@pytest.fixture(scope="module")
def granted(render, server):
    """The API server, with the operator's cluster-wide rights in it."""
    for each in render():
        if each["kind"] in {"ClusterRole", "ClusterRoleBinding"}:
            api = client.RbacAuthorizationV1Api(server)
            (api.create_cluster_role if each["kind"] == "ClusterRole" else api.create_cluster_role_binding)(each)
    return server


def test_the_crd_is_the_generated_one_and_survives_an_uninstall(render, root):
    crd = the(render(), "CustomResourceDefinition", "agents.holdfast.dev")

    assert crd["spec"] == yaml.safe_load((root / "crds/agents.holdfast.dev.yaml").read_text())["spec"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not of_kind(render({"crds.enabled": False}), "CustomResourceDefinition")


def test_no_agent_is_in_the_chart(render):
    assert not of_kind(render({"redis.enabled": True, "replicas": 2}), "Agent")


def test_agents_get_the_image_of_this_version_from_the_registry_that_was_named(render, version):
    assert defaults(render()).image == f"holdfast-agent:{version}"
    assert defaults(render({"registry": "registry.example.com/ai"})).image == f"registry.example.com/ai/holdfast-agent:{version}"
    assert defaults(render({"agents.image": "mine:1"})).image == "mine:1"


def test_the_operator_comes_from_the_registry_that_was_named(render, version):
    pod = the(render({"registry": "registry.example.com/ai"}), "Deployment", "holdfast")["spec"]["template"]["spec"]

    assert pod["containers"][0]["image"] == f"registry.example.com/ai/holdfast-operator:{version}"


def test_redis_becomes_the_default_store_and_broker_by_a_name_that_other_namespaces_can_resolve(render):
    found = defaults(render({"redis.enabled": True}))

    assert (found.state.type, found.pubsub.type) == ("state.redis", "pubsub.redis")
    host = ("redisHost", "holdfast-redis.holdfast-system.svc:6379")
    assert [(entry.name, entry.value) for entry in found.state.metadata] == [host]
    assert [(entry.name, entry.value) for entry in found.pubsub.metadata] == [host, ("maxLenApprox", "100000")]


def test_a_broker_that_was_named_wins_over_redis(render):
    named = {"type": "pubsub.kafka", "metadata": [{"name": "brokers", "value": "kafka:9092"}]}

    assert defaults(render({"redis.enabled": True, "agents.pubsub": named})).pubsub.type == "pubsub.kafka"
    assert defaults(render()).pubsub is None


def test_a_store_that_was_named_wins_over_redis(render):
    named = {"type": "state.postgresql", "metadata": [{"name": "connectionString", "secretKeyRef": {"name": "pg", "key": "dsn"}}]}

    assert defaults(render({"redis.enabled": True, "agents.state": named})).state.type == "state.postgresql"


def test_without_a_store_and_a_model_there_are_no_defaults_for_them(render):
    assert defaults(render()).state is None
    assert defaults(render()).model is None


def test_redis_acknowledges_what_is_on_the_disk_and_evicts_nothing(render):
    lines = the(render({"redis.enabled": True}), "ConfigMap", "holdfast-redis")["data"]["redis.conf"].splitlines()

    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(lines)


def test_the_data_of_redis_is_on_a_claim_unless_it_is_given_up(render):
    kept = the(render({"redis.enabled": True}), "StatefulSet", "holdfast-redis")["spec"]
    given_up = the(render({"redis.enabled": True, "redis.persistence.enabled": False}), "StatefulSet", "holdfast-redis")["spec"]

    assert [claim["metadata"]["name"] for claim in kept["volumeClaimTemplates"]] == ["data"]
    assert {"name": "data", "emptyDir": {}} in given_up["template"]["spec"]["volumes"]


@pytest.mark.parametrize("replicas", [1, 2])
def test_operators_elect_a_leader_so_that_neither_an_upgrade_nor_scaling_has_two_at_work(render, replicas):
    objects = render({"replicas": replicas})

    assert environment(objects)["HOLDFAST_LEADER_ELECTION"] == "true"
    assert the(objects, "Deployment", "holdfast")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert bool(of_kind(objects, "PodDisruptionBudget")) == (replicas > 1)


def test_redis_refuses_a_write_before_its_memory_limit_would_kill_it(render):
    objects = render({"redis.enabled": True})

    assert "maxmemory 320mb" in the(objects, "ConfigMap", "holdfast-redis")["data"]["redis.conf"]
    (container,) = the(objects, "StatefulSet", "holdfast-redis")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "512Mi"


def test_a_changed_default_restarts_the_operator_and_a_version_of_the_chart_restarts_nothing(render, chart):
    def annotations(values):
        return the(render(values), "Deployment", "holdfast")["spec"]["template"]["metadata"]["annotations"]

    assert annotations({})["checksum/defaults"] != annotations({"agents.image": "other:1"})["checksum/defaults"]
    objects = render({"redis.enabled": True})
    for pods in (the(objects, "Deployment", "holdfast"), the(objects, "StatefulSet", "holdfast-redis")):
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(pods["spec"]["template"]["metadata"]["labels"])


def test_named_namespaces_get_roles_and_nothing_reaches_beyond_them(render):
    objects = render({"watch.namespaces": ["a", "b"], "rbac.aggregate": False})

    assert not of_kind(objects, "ClusterRole") + of_kind(objects, "ClusterRoleBinding")
    assert sorted(each["metadata"]["namespace"] for each in of_kind(objects, "Role") if each["metadata"]["name"] == "holdfast") == [
        "a",
        "b",
    ]
    assert environment(objects)["HOLDFAST_NAMESPACES"] == "a,b"


def test_pods_are_let_in_by_pod_security_restricted(render, server):
    objects = render({"redis.enabled": True, "redis.persistence.enabled": False})
    pods = [each["spec"]["template"] for each in of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")]
    pods += [{"metadata": each["metadata"], "spec": each["spec"]} for each in of_kind(objects, "Pod")]

    for index, template in enumerate(pods):
        template["spec"].pop("serviceAccountName", None)
        body = {"metadata": {"name": f"p{index}"}, "spec": template["spec"]}
        client.CoreV1Api(server).create_namespaced_pod("holdfast-system", body, dry_run="All", field_validation="Strict")
    assert len(pods) == 3


@pytest.mark.parametrize(
    "values", [{"redis.enabled": True, "replicas": 3, "networkPolicy.enabled": True}, {"watch.namespaces": ["default"]}]
)
def test_the_api_server_takes_every_object(render, server, values):
    from kubernetes import dynamic

    resources = dynamic.DynamicClient(server)
    for each in render(values):
        kind = resources.resources.get(api_version=each["apiVersion"], kind=each["kind"])
        kind.create(body=each, namespace=each["metadata"].get("namespace"), dry_run="All", field_validation="Strict")


@pytest.mark.parametrize(
    ("verb", "group", "resource", "allowed"),
    [
        ("create", "", "secrets", True),
        ("get", "", "secrets", False),
        ("list", "", "secrets", False),
        ("patch", "", "secrets", False),
        ("create", "", "pods/exec", False),
        ("create", "", "pods", False),
        ("update", "holdfast.dev", "agents", False),
        ("patch", "holdfast.dev", "agents/status", True),
        ("bind", "rbac.authorization.k8s.io", "roles", False),
        ("impersonate", "", "users", False),
    ],
)
def test_the_operator_may_do_what_it_needs_and_cannot_read_secrets(granted, verb, group, resource, allowed):
    name, _, sub = resource.partition("/")
    attributes = {"namespace": "team-a", "verb": verb, "group": group, "resource": name, "subresource": sub}
    review = {"spec": {"user": "system:serviceaccount:holdfast-system:holdfast", "resourceAttributes": attributes}}

    assert client.AuthorizationV1Api(granted).create_subject_access_review(review).status.allowed is allowed


@pytest.mark.parametrize(("role", "verb", "allowed"), [("view", "get", True), ("view", "patch", False), ("edit", "create", True)])
def test_the_roles_of_kubernetes_see_and_change_agents(render, role, verb, allowed):
    (rules,) = [
        each["rules"]
        for each in of_kind(render(), "ClusterRole")
        if f"rbac.authorization.k8s.io/aggregate-to-{role}" in each["metadata"].get("labels", {})
    ]

    assert any("agents" in rule["resources"] and verb in rule["verbs"] for rule in rules) is allowed


def test_the_service_monitor_selects_the_metrics_service(render):
    objects = render({"metrics.serviceMonitor.enabled": True})
    service = the(objects, "Service", "holdfast-metrics")

    wanted = the(objects, "ServiceMonitor", "holdfast")["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
