"""What the chart's policy refuses, and lets through, on a real API server."""

import json
import os
import re
import runpy
import sys
import time

import pytest
import yaml
from kubernetes import client

from holdfast_api.v1alpha1.pod import PodFields
from tests.chart.refused import ALLOW, COMPONENTS, HOSTS, MODEL, REFUSED, SECRETS, URLS, http, model
from tests.operator.hostile.forbidden import forbidden
from tests.operator.hostile.generated import generated
from tests.operator.hostile.matrix import made

pytestmark = pytest.mark.apiserver


def _wait(check, what):
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class Cluster:
    """Agents as they would be applied in namespaces with a policy each."""

    def __init__(self, server, render):
        self.server, self.render, self.connections = server, render, {}
        (crd,) = render({}, "--show-only", "templates/crd.yaml")
        client.ApiextensionsV1Api(server).create_custom_resource_definition(crd)

    def namespace(self, name, *, allow=None):
        """Put a policy into a namespace and wait until it works."""
        core, api = client.CoreV1Api(self.server), client.AdmissionregistrationV1Api(self.server)
        if not any(each.metadata.name == name for each in core.list_namespace().items):
            core.create_namespace({"metadata": {"name": name}})
        values = {"policy.namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}, "fullnameOverride": name}
        for each in self.render(values | ({"policy.allow": allow} if allow else {}), "--show-only", "templates/policy.yaml"):
            kind = "policy_binding" if each["kind"].endswith("Binding") else "policy"
            getattr(api, f"create_validating_admission_{kind}")(each)
        probe = {"serviceAccountName": "probe"} if allow else {"networkPolicy": {}}
        _wait(lambda: "forbidden: ValidatingAdmission" in (self.refusal(name, probe, user="nobody") or ""), f"no policy in {name}")

    def _connection(self, user):
        if user not in self.connections:
            self.connections[user] = client.ApiClient(self.server.configuration)
            if user:
                self.connections[user].set_default_header("Impersonate-User", user)
        return self.connections[user]

    def refusal(self, namespace, spec, *, user=None):
        """What the API server says to an Agent, without keeping it; None when it takes it."""
        body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "a"}, "spec": spec}
        try:
            client.CustomObjectsApi(self._connection(user)).create_namespaced_custom_object(
                "holdfast.dev", "v1alpha1", namespace, "agents", body, dry_run="All", field_validation="Strict"
            )
        except client.ApiException as error:
            return json.loads(error.body)["message"]
        return None

    def asker(self, condition):
        """One request as `helm test` makes it, to a server where an operator gives every Agent that is asked for this condition."""

        def ask(method, path, body=None):
            found = f"/apis/holdfast.dev/v1alpha1/{path}"
            if method == "GET":
                _, seen = self._ask("GET", found)
                now = {**condition, "lastTransitionTime": seen["metadata"]["creationTimestamp"]}
                self._ask("PUT", f"{found}/status", seen | {"status": {"observedGeneration": 1, "conditions": [now]}})
            return self._ask(method, found, body)

        return ask

    def _ask(self, method, path, body=None):
        header = {"Content-Type": "application/json"}
        answer = self.server.call_api(
            *self.server.param_serialize(method, path, body=body, header_params=header, auth_settings=["BearerToken"])
        )
        return answer.status, json.loads(answer.read())


@pytest.fixture(scope="module")
def cluster(server, render):
    found = Cluster(server, render)
    rbac = client.RbacAuthorizationV1Api(server)
    rules = [{"apiGroups": ["holdfast.dev"], "resources": ["agents"], "verbs": ["*"]}]
    network = [{"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["create"]}]
    for name, granted, users in (("agents", rules, ["nobody", "networker"]), ("networks", network, ["networker"])):
        rbac.create_cluster_role({"metadata": {"name": f"test-{name}"}, "rules": granted})
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"test-{name}"}
        subjects = [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"} for user in users]
        rbac.create_cluster_role_binding({"metadata": {"name": f"test-{name}"}, "roleRef": ref, "subjects": subjects})
    api = client.CustomObjectsApi(server)

    def served():
        try:
            return api.list_namespaced_custom_object("holdfast.dev", "v1alpha1", "default", "agents")
        except client.ApiException:
            return None

    _wait(served, "the CRD is not served")
    found.namespace("lists", allow=ALLOW)
    found.namespace("baseline")
    return found


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_on_a_list_is_refused_with_field_value_and_fix(cluster, case):
    kind, spec = REFUSED[case]
    said = cluster.refusal("lists", spec)

    # Several lists may refuse the same Agent; the server tells the first.
    assert said is not None
    assert "spec." in said
    assert f"policy.allow.{kind}" in said or (case == "secrets: envFrom[].secretRef" and "policy.allow.env" in said)
    assert "Use that, or ask who installed it" in said


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_only_looks_like_an_allowed_host_is_refused(cluster, url):
    assert "policy.allow.hosts" in cluster.refusal("lists", http(url=url))


@pytest.mark.parametrize("key", ["apiEndpoint", "baseUrl", "proxy"])
def test_an_address_among_the_options_of_a_model_is_one_more_host(cluster, key):
    assert "policy.allow.hosts" in cluster.refusal("lists", model(options={key: "evil.example"}))


def test_what_is_on_the_lists_is_taken(cluster):
    spec = {
        "image": "registry.example.com/agents/mine:1",
        "model": {
            **MODEL,
            "endpoint": "https://Gateway.Internal/v1",
            "apiKeySecretRef": {"name": "openai", "key": "k"},
            "fallbacks": [{**MODEL, "apiKeySecretRef": {"name": "shared-key", "key": "k"}}],
        },
        "state": {"component": "agent-statestore"},
        "tools": [
            {"name": "a", "http": {"url": "https://a.tools.svc/x/{city}?q={q}"}},
            {"name": "b", "http": {"url": "https://mcp.example.com:8443"}},
            {"name": "c", "python": {"configMapKeyRef": {"name": "reviewed", "key": "k"}, "function": "f"}},
            {"name": "d", "http": {"url": "http://[fd00::1]:80/"}},
        ],
        "env": [{"name": "APP_MODE", "value": "x"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "volumeMounts": [{"name": "v", "mountPath": "/data/x"}],
        "podLabels": {"app": "a", "team.example.com/of": "b"},
        "podAnnotations": {"example.com/note": "n"},
        "priorityClassName": "batch-low",
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    assert cluster.refusal("lists", spec) is None
    assert cluster.refusal("lists", {}) is None


def test_without_lists_everything_is_taken_that_a_pod_could_have(cluster):
    # Where a pod field and its list stand in the same words there is nothing to refuse.
    for kind, spec in REFUSED.values():
        assert cluster.refusal("baseline", spec, user="nobody") is None, kind


def test_a_network_policy_needs_the_right_to_make_one(cluster):
    spec = {"networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}}

    assert "networkpolicies.networking.k8s.io" in cluster.refusal("baseline", spec, user="nobody")
    assert cluster.refusal("baseline", spec, user="networker") is None


def test_an_agent_from_before_the_policy_can_be_labelled_and_not_changed(cluster, server):
    api = client.CustomObjectsApi(server)
    client.CoreV1Api(server).create_namespace({"metadata": {"name": "before"}})
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "old"}, "spec": {"serviceAccountName": "old"}}
    at = ("holdfast.dev", "v1alpha1", "before", "agents")
    api.create_namespaced_custom_object(*at, body)
    cluster.namespace("before", allow=ALLOW)

    api.patch_namespaced_custom_object(*at, "old", {"metadata": {"labels": {"team": "x"}}})
    with pytest.raises(client.ApiException, match=r"policy.allow.serviceAccounts"):
        api.patch_namespaced_custom_object(*at, "old", {"spec": {"goal": "another"}})
    api.delete_namespaced_custom_object(*at, "old")


@pytest.fixture
def helm_test(cluster, chart, monkeypatch, capsys):
    """What `helm test` answers and prints when the operator says `reason` about its Agent."""

    def _helm_test(namespace, reason):
        monkeypatch.setattr(sys, "argv", ["smoke_test.py", namespace])
        main = runpy.run_path(str(chart / "files/smoke_test.py"))["main"]
        told = {"type": "Ready", "status": "True" if reason == "Succeeded" else "False", "reason": reason, "message": "as told"}
        monkeypatch.setitem(main.__globals__, "call", cluster.asker(told))
        monkeypatch.setitem(main.__globals__, "PATIENCE_SECONDS", 1)
        return main(), capsys.readouterr().out

    return _helm_test


@pytest.mark.parametrize(
    ("namespace", "reason", "words"),
    [
        ("baseline", "Succeeded", ["ok: the operator looked after a new Agent and it is Ready"]),
        ("baseline", "ComponentNotFound", ["ok: the operator looked after a new Agent", "ComponentNotFound: as told"]),
        ("baseline", "DaprNotInstalled", ["FAILED: not Ready after 1 s: DaprNotInstalled: as told"]),
        ("lists", "Succeeded", ["ok: the policy is in force", "policy.allow.", "ok: the operator looked after a new Agent"]),
        ("lists", "ModelMissing", ["ok: the policy is in force", "ModelMissing: as told"]),
    ],
)
def test_helm_test_tells_a_fault_of_the_installation_from_what_an_administrator_forbids(helm_test, namespace, reason, words):
    code, printed = helm_test(namespace, reason)

    assert [word for word in ["ok: the API server refuses a broken Agent", *words] if word not in printed] == []
    assert code == ("FAILED" in printed)


def test_every_place_of_the_crd_that_names_a_secret_a_component_or_a_host_is_tried_here(chart):
    crd = yaml.safe_load((chart / "files/crds/agents.holdfast.dev.yaml").read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    leaves = set(_leaves(spec, ""))

    secrets = {
        re.sub(r"\.(secretName|name)$", "", leaf)
        for leaf in leaves
        if re.search(r"[sS]ecret(Key)?(Ref)?s?(\[\])?\.(secretName|name)$", leaf)
    }
    assert secrets == set(SECRETS)
    assert {leaf for leaf in leaves if leaf.endswith(".component")} == set(COMPONENTS)
    assert {leaf for leaf in leaves if re.search(r"\.(url|endpoint|otlp|zipkin|host|address|uri)$", leaf)} == set(HOSTS)


def test_every_field_that_goes_into_the_pods_is_on_a_list_or_is_known_to_lead_nowhere():
    # They choose among the nodes that tolerations leave, say how much (a ResourceQuota bounds it), or how long an end may take.
    free = {
        "nodeSelector",
        "affinity",
        "topologySpreadConstraints",
        "resources",
        "dapr",
        "terminationGracePeriodSeconds",
        "imagePullPolicy",
    }
    tried = {field for _, spec in REFUSED.values() for field in spec}

    assert {field.alias for field in PodFields.model_fields.values()} - tried == free


def _leaves(node, path):
    if "properties" in node:
        for name, child in node["properties"].items():
            yield from _leaves(child, f"{path}.{name}" if path else name)
    elif node.get("type") == "array":
        yield from _leaves(node["items"], f"{path}[]")
    else:
        yield path


@pytest.mark.timeout(1800)
def test_of_all_hostile_agents_none_comes_through_with_what_the_lists_forbid(cluster, chart):
    crd = yaml.safe_load((chart / "files/crds/agents.holdfast.dev.yaml").read_text())
    malformed, hostile = generated(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], seed=1)
    share = slice(int(os.environ.get("HOSTILE_DRAWN", "20")))
    specs = [*(spec for _, spec in REFUSED.values()), *(case.spec for case in (*made(), *malformed[share], *hostile[share]))]
    taken = [spec for spec in specs if cluster.refusal("lists", spec) is None]
    sys.stdout.write(f"{len(specs)} hostile Agents against lists, {len(taken)} taken\n")

    assert len(taken) > 5
    assert [found for spec in taken if (found := forbidden(spec, ALLOW))] == []
    assert all(
        forbidden(spec, ALLOW) for case, (_, spec) in REFUSED.items() if not case.startswith(("python by", "hosts by", "a nameless"))
    )


@pytest.mark.parametrize("hosts", [["https://x.example/"], ["Gateway.internal"], ["*"], ["x*"]])
def test_a_host_that_could_never_match_is_refused_by_helm(refusal, hosts):
    assert "policy/allow/hosts" in refusal({"policy.allow.hosts": hosts}).replace(".", "/")


@pytest.mark.parametrize("name", ["**", "*_PROXY", "(all*", "A B", "A=B", "1A", ""])
def test_an_entry_that_is_no_beginning_of_a_variable_is_refused_by_helm(refusal, name):
    assert "policy/allow/env" in refusal({"policy.allow.env": [name]}).replace(".", "/")


@pytest.mark.parametrize("kind", ["env", "hosts", "python"])
def test_variables_that_nobody_sees_are_compared_with_every_list_that_variables_could_get_around(render, kind):
    policy, _ = render({"policy.allow": {kind: [], "env": []}}, "--show-only", "templates/policy.yaml")

    (expression,) = [one["expression"] for one in policy["spec"]["variables"] if one["name"] == kind]
    assert "variables.envSources" in expression


def test_the_policy_holds_where_the_operator_looks_and_can_be_left_out(render):
    def binding(values):
        return [each for each in render(values) if each["kind"] == "ValidatingAdmissionPolicyBinding"]

    (found,) = binding({"watch.namespaces": ["a", "b"], "policy.actions": ["Warn", "Audit"]})
    (expression,) = found["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert (expression["key"], expression["values"]) == ("kubernetes.io/metadata.name", ["a", "b"])
    assert found["spec"]["validationActions"] == ["Warn", "Audit"]
    assert "matchResources" not in binding({})[0]["spec"]
    assert not binding({"policy.enabled": False})


def test_lists_that_an_old_cluster_cannot_hold_are_refused_by_helm(helm, chart):
    old = ("template", "holdfast", str(chart), "--kube-version", "1.29.0")

    assert "ValidatingAdmissionPolicy" not in helm(*old)
    with pytest.raises(Exception, match=r"policy\.allow needs Kubernetes 1\.30"):
        helm(*old, "--set-json", 'policy.allow={"images":[]}')
