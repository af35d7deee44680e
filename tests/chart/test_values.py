"""What the chart says to values that cannot work: the field and the fix, before anything reaches the cluster."""

import json

import pytest
import yaml

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"replicas": "two"}, "at '/replicas': got string, want integer"),
        ({"log.level": "verbose"}, "at '/log/level': value must be one of 'debug', 'info', 'warning', 'error'"),
        ({"watch.namespaces": ["Team_A"]}, "at '/watch/namespaces/0'"),
        ({"agents.modell": {}}, "additional properties 'modell' not allowed"),
        ({"agents.model": {"provider": "opnai", "name": "x"}}, "at '/agents/model/provider': value must be one of 'openai'"),
        ({"agents.model": {"provider": "openai", "timeout": "soon"}}, "at '/agents/model/timeout'"),
        ({"agents.resources": {"limits": {"memory": "lots"}}}, "at '/agents/resources/limits/memory'"),
        ({"redis.appendfsync": "never"}, "at '/redis/appendfsync': value must be one of 'always', 'everysec'"),
        ({"registry": "registry.example.com/"}, "at '/registry'"),
        ({"agents.model": {"provider": "openai", "component": "llm"}}, "agents.model: give exactly one of provider"),
        ({"agents.state": {"metadata": []}}, "agents.state: give exactly one of type"),
        (
            {"metrics.serviceMonitor.enabled": True, "metrics.service.enabled": False},
            "metrics.serviceMonitor.enabled needs metrics.service.enabled",
        ),
        ({"serviceAccount.create": False}, "serviceAccount.name is missing"),
        # As numbers they would lose digits: 2.0261121e+07, and 1 for 1.0.
        ({"image.tag": 20261121}, "at '/image/tag': got number, want string"),
        ({"redis.image.tag": 7}, "at '/redis/image/tag': got number, want string"),
        # The API server takes no binding with both.
        ({"policy.actions": ["Deny", "Warn"]}, "policy.actions: Deny and Warn exclude each other"),
        # A variable can load code, or lead a client elsewhere.
        ({"policy.allow.python": []}, "policy.allow.python needs policy.allow.env"),
        ({"policy.allow.hosts": ["gateway.internal"]}, "policy.allow.hosts needs policy.allow.env"),
        ({"policy.allow": {"python": [], "env": ["*"]}}, "policy.allow.python needs policy.allow.env, a list of names and no * alone"),
    ],
    ids=lambda case: ",".join(case) if isinstance(case, dict) else "",
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(refusal, values, words):
    assert words in refusal(values)


def test_the_default_values_pass_lint(helm, chart):
    assert "0 chart(s) failed" in helm("lint", "--strict", str(chart))


def test_every_value_is_described_in_the_schema(chart):
    schema = json.loads((chart / "values.schema.json").read_text())

    def undescribed(values, node, path=""):
        for key, value in values.items():
            if key not in node.get("properties", {}):
                yield f"{path}{key}"
            elif isinstance(value, dict) and "properties" in node["properties"][key]:
                yield from undescribed(value, node["properties"][key], f"{path}{key}.")

    assert list(undescribed(yaml.safe_load((chart / "values.yaml").read_text()), schema)) == []


def test_names_that_yaml_reads_as_something_else_stay_names(helm, chart):
    def shapes(word, namespace):
        values = {
            "redis.enabled": True,
            "replicas": 2,
            "networkPolicy.enabled": True,
            "metrics.dashboard.enabled": True,
            "metrics.serviceMonitor.enabled": True,
            "watch.namespaces": [namespace],
            "secrets.watch": True,
            "daprNamespace": word,
            "nameOverride": word,
            "fullnameOverride": word,
            "serviceAccount.name": word,
            "priorityClassName": word,
            "redis.persistence.storageClass": word,
            "redis.persistence.size": "1",
        }
        settings = [part for key, value in values.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
        command = ("template", word, str(chart), "--namespace", namespace, "--kube-version", "1.36.3", *settings)
        return [_shape(document) for document in yaml.safe_load_all(helm(*command))]

    assert shapes("123", "456") == shapes("true", "null") == shapes("name", "place")


def _shape(value):
    """The value with its type in place of each leaf."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    return [_shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__
