"""The Grafana dashboard asks for metrics that the operator has, and reaches Grafana."""

import json

import pytest

from tests.operator.promql import unknown

FILE = "files/dashboards/operator.json"


@pytest.fixture(scope="module")
def dashboard(chart):
    return json.loads((chart / FILE).read_text())


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ('sum by (reason) (holdfast_agent_conditions{condition="Ready", status!="True"})', []),
        ("histogram_quantile(0.9, sum by (le) (rate(holdfast_reconcile_seconds_bucket[5m]))) > 1e3", []),
        ("sum(holdfast_agents) or vector(0)", []),
        ("sum(holdfast_agent)", ["holdfast_agent"]),
        ('holdfast_agents{reason="x"}', ["holdfast_agents{reason}"]),
        ("sum by (namespace, model) (holdfast_queue_depth)", ["holdfast_queue_depth{model}"]),
        ("rate(holdfast_reconciles[5m])", ["holdfast_reconciles"]),
    ],
)
def test_what_does_not_exist_is_found_in_an_expression(expression, said):
    assert unknown(expression) == said


def test_every_panel_asks_for_metrics_and_labels_that_exist(dashboard):
    asked = expressions(dashboard)

    assert len(asked) >= 15
    assert {expression: unknown(expression) for expression in asked if unknown(expression)} == {}


def test_every_panel_asks_one_operator_only_and_shows_labels_that_are_left(dashboard):
    assert [expression for expression in expressions(dashboard) if 'job=~"$job"' not in expression] == []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            legend = target["legendFormat"].replace("{{", " ").replace("}}", " ").split() if "{{" in target["legendFormat"] else []
            assert all(label in target["expr"] or label == "pod" for label in legend), panel["title"]


def test_variables_ask_for_metrics_that_exist(dashboard):
    queries = [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]

    assert queries == ["label_values(holdfast_leading, job)"]
    assert {each["name"] for each in dashboard["templating"]["list"]} == {"datasource", "job"}


def test_panels_have_places_of_their_own(dashboard):
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.apiserver
def test_the_dashboard_is_in_a_config_map_that_grafanas_sidecar_finds_and_only_when_asked_for(render, chart):
    def config_maps(values):
        return [each for each in render(values) if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "holdfast-dashboard"]

    (found,) = config_maps({"metrics.dashboard.enabled": True, "metrics.dashboard.namespace": "monitoring"})
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["namespace"] == "monitoring"
    (text,) = found["data"].values()
    assert json.loads(text) == json.loads((chart / FILE).read_text())
    assert config_maps({}) == []


@pytest.mark.apiserver
@pytest.mark.parametrize(
    ("enabled", "served", "made"), [(False, True, False), ("auto", False, False), ("auto", True, True), (True, False, True)]
)
def test_the_service_monitor_is_made_when_told_or_where_prometheus_operator_is(render, enabled, served, made):
    options = ["--api-versions", "monitoring.coreos.com/v1/ServiceMonitor"] if served else []

    found = [each for each in render({"metrics.serviceMonitor.enabled": enabled}, *options) if each["kind"] == "ServiceMonitor"]

    assert bool(found) is made
