"""Agents and the children they come to, as pairs of files. `HOLDFAST_GOLDEN=write pytest ...` writes them anew: read the diff."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast_api import names
from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import Refused, Resolved, resolve
from holdfast_api.v1alpha1 import Agent, Broker, Observability, Tracing
from holdfast_operator.desired import desired
from holdfast_operator.desired.deployment import grace_seconds
from holdfast_operator.desired.steps import Child
from tests.operator.live import DEFAULTS

DATA = Path(__file__).resolve().parents[1] / "data" / "operator"
DEFAULT = AgentDefaults.model_validate(DEFAULTS)
TEXTS = {"prompts": {"planner": "You plan trips."}, "booking": {"book.py": "def book(): ...\n"}}


def agent(spec: dict[str, Any] | None = None, name: str = "a") -> Agent:
    return parse_agent({"metadata": {"name": name, "namespace": "ns", "uid": "u"}, "spec": spec or {}})


def resolved(found: Agent) -> Resolved:
    return resolve(found, DEFAULT, TEXTS)


def children(found: Agent) -> dict[str, dict]:
    steps = desired(found, resolved(found), DEFAULT)
    return {child.kind.kind: child.manifest for step in steps for child in step}


def pod(spec: dict[str, Any] | None = None) -> dict:
    return children(agent(spec))["Deployment"]["spec"]["template"]


@pytest.mark.parametrize("name", ["minimal", "full", "everything"])
def test_an_agent_comes_to_the_children_in_its_golden_file(name: str) -> None:
    found = parse_agent(yaml.safe_load((DATA / f"{name}.agent.yaml").read_text()))
    steps = desired(found, resolved(found), DEFAULT)
    text = yaml.safe_dump_all([child.manifest for step in steps for child in step], sort_keys=False, width=140)
    golden = DATA / f"{name}.children.yaml"
    if os.environ.get("HOLDFAST_GOLDEN") == "write":
        golden.write_text(text)

    assert list(yaml.safe_load_all(text)) == list(yaml.safe_load_all(golden.read_text()))


def test_everything_a_pod_needs_comes_a_step_before_the_pod() -> None:
    first, second = desired(agent({"replicas": 2}), resolved(agent({"replicas": 2})), DEFAULT)

    assert {child.kind.kind for child in second} == {"Deployment", "PodDisruptionBudget"}
    assert {"ConfigMap", "Component", "Configuration", "Resiliency", "ServiceAccount"} <= {child.kind.kind for child in first}


def test_the_container_knows_who_it_is_and_signs_with_a_key_of_its_own() -> None:
    found = {variable["name"]: variable for variable in pod()["spec"]["containers"][0]["env"]}

    assert found["HOLDFAST_SPIFFE_ID"]["value"] == "spiffe://public/ns/ns/a"
    assert found["HOLDFAST_AUDIT_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "a-audit", "key": "token"}
    assert children(agent())["Configuration"]["spec"]["accessControl"]["trustDomain"] == "public"


def test_a_call_of_any_model_may_end_before_the_pod_does() -> None:
    spare = agent({"model": {"provider": "echo", "timeout": "10s", "fallbacks": [{"provider": "echo", "timeout": "30m"}]}})
    critic = agent({"evaluation": {"criteria": "x", "model": {"provider": "echo", "timeout": "20m"}}})

    assert (grace_seconds(spare, resolved(spare)), grace_seconds(critic, resolved(critic))) == (1830, 1230)


def test_a_single_pod_or_none_has_no_disruption_budget() -> None:
    for spec in ({"replicas": 1}, {"replicas": 0}, {"replicas": 5, "suspend": True}):
        assert "PodDisruptionBudget" not in children(agent(spec))


def test_an_existing_service_account_is_used_and_none_is_made() -> None:
    found = children(agent({"serviceAccountName": "mine"}))

    assert "ServiceAccount" not in found
    assert found["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


def test_existing_components_are_used_and_none_are_made() -> None:
    spec = {"model": {"component": "llm"}, "state": {"component": "shared"}}
    found = children(agent(spec))

    assert "Component" not in found
    assert "llm" in found["Resiliency"]["spec"]["targets"]["components"]


def test_what_the_user_adds_never_replaces_what_holdfast_sets() -> None:
    template = pod({"podLabels": {"x": "y"}, "podAnnotations": {"x": "y"}, "env": [{"name": "X", "value": "y"}]})

    assert template["metadata"]["labels"][names.LABEL_AGENT] == "a"
    assert template["metadata"]["annotations"]["dapr.io/app-id"] == "a"
    assert template["metadata"]["annotations"]["x"] == "y"
    variables = [entry["name"] for entry in template["spec"]["containers"][0]["env"]]
    tokens = {names.ENV_DAPR_TOKEN, names.ENV_APP_TOKEN, names.ENV_FORMER_TOKEN, names.ENV_AUDIT_KEY}
    assert tokens | {names.ENV_CONFIG, names.ENV_POD, names.ENV_SPIFFE_ID, "X"} == set(variables)


def test_a_pod_is_restricted() -> None:
    spec = pod()["spec"]
    security = spec["containers"][0]["securityContext"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_sidecars_keys_come_from_secrets_by_name_only() -> None:
    model = {"provider": "openai", "name": "m", "apiKeySecretRef": {"name": "openai", "key": "api-key"}}
    annotation = pod({"model": model})["metadata"]["annotations"]["dapr.io/env-from-secret"]

    assert annotation == f"{names.secret_env('openai', 'api-key')}=openai:api-key"


def test_a_new_behaviour_is_a_new_revision_and_rolls_the_pods() -> None:
    before, after = pod({"goal": "x"}), pod({"goal": "y"})

    assert before["metadata"]["annotations"][names.ANNOTATION_REVISION] != after["metadata"]["annotations"][names.ANNOTATION_REVISION]
    assert before["spec"]["volumes"][0] != after["spec"]["volumes"][0]


def test_scaling_does_not_roll_the_pods() -> None:
    assert pod({"replicas": 1}) == pod({"replicas": 5})


def test_a_pod_may_finish_its_longest_call() -> None:
    tool = {"name": "t", "timeout": "10m", "http": {"url": "http://x"}}
    cases = [({}, 150), ({"tools": [tool]}, 630), ({"tools": [tool | {"timeout": "5h"}]}, 3600), ({"terminationGracePeriodSeconds": 7}, 7)]

    for spec, seconds in cases:
        assert grace_seconds(agent(spec), resolved(agent(spec))) == seconds


def test_without_an_image_the_fix_is_told() -> None:
    with pytest.raises(Refused, match=r"spec\.image.*agents\.image"):
        desired(agent(), resolved(agent()), AgentDefaults())


def test_names_fit_whatever_the_agent_is_called() -> None:
    longest = agent(name="a" * 58)
    found: list[Child] = [child for step in desired(longest, resolved(longest), DEFAULT) for child in step]

    assert all(len(child.name) <= 253 for child in found)
    assert all(len(value) <= 63 for child in found for value in child.manifest["metadata"]["labels"].values())
    assert all(len(child.name) <= 63 for child in found if child.kind.kind in {"Service", "Deployment"})


def test_callers_reach_what_they_need_by_service_invocation_and_nobody_else_anything() -> None:
    access = children(agent({"access": {"callers": ["planner", "a"]}}))["Configuration"]["spec"]["accessControl"]
    (own, other) = access["policies"]
    routes = {operation["name"]: operation["httpVerb"] for operation in other["operations"]}

    assert access["defaultAction"] == own["defaultAction"] == other["defaultAction"] == "deny"
    assert (own["appId"], other["appId"], other["namespace"]) == ("a", "planner", "ns")
    assert routes["/run"] == ["POST"]
    assert {"/runs/**", "/sessions/**", "/openapi.json", "/.well-known/**"} <= routes.keys()
    assert not any(path.startswith("/events") for path in routes)


def test_the_sidecar_lets_an_agent_publish_or_call_others_only_if_it_has_to() -> None:
    def allowed(spec: dict[str, Any]) -> set[str]:
        return {rule["name"] for rule in children(agent(spec))["Configuration"]["spec"]["api"]["allowed"]}

    broker = {"pubsub": {"component": "b", "publishResults": "x"}}
    assert allowed({}) & {"publish", "invoke"} == set()
    assert allowed(broker) - allowed({}) == {"publish"}
    assert allowed({"tools": [{"name": "t", "agent": {"name": "b"}}]}) - allowed({}) == {"invoke"}
    assert allowed({"team": "travel"}) - allowed({}) == {"invoke"}


def test_traces_go_where_the_agent_says_unless_its_environment_says_otherwise() -> None:
    def spans(spec: dict[str, Any]) -> dict[str, Any]:
        environment = pod({"observability": {"tracing": {"otlp": "http://otel:4318", "samplingRate": "0.1"}}} | spec)["spec"]["containers"][
            0
        ]["env"]
        return {entry["name"]: entry["value"] for entry in environment if entry["name"].startswith("OTEL_")}

    assert spans({})["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel:4318"
    assert spans({})["OTEL_TRACES_SAMPLER_ARG"] == "0.1"
    own = [{"name": "OTEL_TRACES_SAMPLER", "value": "always_on"}]
    assert spans({"env": own})["OTEL_TRACES_SAMPLER"] == "always_on"


def test_the_administrators_observability_and_broker_hold_where_an_agent_says_nothing() -> None:
    defaults = DEFAULT.model_copy(
        update={
            "pubsub": Broker(component="everybodys"),
            "observability": Observability(tracing=Tracing(otlp="https://otel")),
        }
    )
    found = agent({"pubsub": {"broadcast": "all"}})
    steps = desired(found, resolve(found, defaults, TEXTS), defaults)
    made = {child.kind.kind: child.manifest for step in steps for child in step}

    assert made["Configuration"]["spec"]["tracing"]["otel"] == {"endpointAddress": "otel:443", "isSecure": True, "protocol": "http"}
    assert made["Subscription"]["spec"]["pubsubname"] == "everybodys"
