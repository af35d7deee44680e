"""The chart and the operator's code must say the same: the rights it has, the settings it reads, the defaults of Agents."""

import pytest

from holdfast_operator import rbac
from holdfast_operator.settings import from_environment

pytestmark = pytest.mark.apiserver


def rules(objects, kind, name):
    """(group, resource) -> verbs of a role, as the operator's table has it."""
    (role,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return {
        (group, resource): tuple(sorted(rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def environment(objects, tmp_path):
    """What the operator's process would see, with the defaults file where a test can put it."""
    (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
    (config_map,) = [each for each in objects if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "holdfast-defaults"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (tmp_path / "agents.yaml").write_text(config_map["data"]["agents.yaml"])
    plain = {each["name"]: each.get("value", "from-the-pod") for each in container["env"]}
    return plain | {"HOLDFAST_DEFAULTS_FILE": str(tmp_path / "agents.yaml")}


def test_the_cluster_role_is_the_operators_table(render):
    assert rules(render(), "ClusterRole", "holdfast") == rbac.WATCHED


def test_the_role_in_a_named_namespace_is_the_operators_table(render):
    assert rules(render({"watch.namespaces": ["a"]}), "Role", "holdfast") == rbac.WATCHED


@pytest.mark.parametrize(("scope", "kind"), [({}, "ClusterRole"), ({"watch.namespaces": ["a"]}, "Role")], ids=["cluster", "namespace"])
def test_secrets_are_read_only_where_that_is_asked_for(render, tmp_path, scope, kind):
    objects = render(scope | {"secrets.watch": True})

    assert rules(objects, kind, "holdfast") == rbac.WATCHED | rbac.SECRETS
    assert from_environment(environment(objects, tmp_path)).watch_secrets
    assert not from_environment(environment(render(scope), tmp_path)).watch_secrets


def test_the_role_for_leader_election_is_the_operators_table(render):
    assert rules(render(), "Role", "holdfast-leader") == rbac.OWN_NAMESPACE


def test_the_operator_reads_the_settings_that_the_chart_writes(render, tmp_path):
    values = {
        "watch.namespaces": ["a", "b"],
        "replicas": 2,
        "log.level": "debug",
        "log.format": "text",
        "resync": "1m",
        "workers": 3,
        "daprNamespace": "dapr",
        "agents.model": {"provider": "echo"},
    }
    settings = from_environment(environment(render(values), tmp_path))

    assert (settings.namespaces, settings.leader_election, settings.lease_name) == (("a", "b"), True, "holdfast")
    assert (settings.log_level, settings.log_format, settings.resync_seconds, settings.workers) == ("debug", "text", 60.0, 3)
    assert (settings.dapr_namespace, settings.defaults.model.provider) == ("dapr", "echo")


def test_the_operator_listens_where_the_probes_ask(render, tmp_path):
    objects = render()
    (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports[container["readinessProbe"]["httpGet"]["port"]] == from_environment(environment(objects, tmp_path)).http_port
