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
