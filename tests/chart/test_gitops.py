"""The examples for Flux and Argo CD: of the right shape, and every name in them is one that exists."""

import json

import jsonschema
import pytest
import yaml

from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import resolve
from holdfast_api.v1alpha1.types import seconds
from holdfast_operator.desired import desired
from tests.operator.test_desired import DEFAULT

TEXT = {"type": "string", "minLength": 1}
DURATION = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h))+$"}
REFERENCE = {"type": "object", "required": ["kind", "name"]}


def fields(required, **properties):
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


RETRIED = fields(["name"], name={"enum": ["RetryOnFailure"]}, retryInterval=DURATION)
SPECS = {
    # Of each kind the fields that the examples use, as its CRD has them.
    "GitRepository": fields(
        ["interval", "url"], interval=DURATION, url={"type": "string", "pattern": "^(http|https|ssh)://"}, ref=fields([], branch=TEXT)
    ),
    "Kustomization": fields(
        ["interval", "sourceRef", "prune"],
        interval=DURATION,
        retryInterval=DURATION,
        timeout=DURATION,
        path=TEXT,
        prune={"type": "boolean"},
        wait={"type": "boolean"},
        sourceRef=REFERENCE,
        dependsOn={"type": "array", "items": fields(["name"], name=TEXT, namespace=TEXT)},
        healthChecks={
            "type": "array",
            "items": fields(["apiVersion", "kind", "name"], apiVersion=TEXT, kind=TEXT, name=TEXT, namespace=TEXT),
        },
    ),
    "HelmRelease": fields(
        ["interval", "chart"],
        interval=DURATION,
        timeout=DURATION,
        releaseName=TEXT,
        targetNamespace=TEXT,
        chart=fields(
            ["spec"],
            spec=fields(["chart", "sourceRef"], chart=TEXT, sourceRef=REFERENCE, reconcileStrategy={"enum": ["ChartVersion", "Revision"]}),
        ),
        install=fields(["strategy"], createNamespace={"type": "boolean"}, strategy=RETRIED),
        upgrade=fields(["strategy"], strategy=RETRIED),
        values={"type": "object"},
    ),
    "Application": fields(
        ["project", "source", "destination"],
        project=TEXT,
        source=fields(
            ["repoURL", "targetRevision", "path"],
            repoURL=TEXT,
            targetRevision=TEXT,
            path=TEXT,
            helm=fields([], valuesObject={"type": "object"}),
        ),
        destination=fields(["server"], server=TEXT, namespace=TEXT),
        ignoreDifferences={"type": "array", "items": fields(["group", "kind"], group=TEXT, kind=TEXT, jsonPointers={"type": "array"})},
        syncPolicy=fields(
            [],
            automated=fields([], prune={"type": "boolean"}, selfHeal={"type": "boolean"}),
            syncOptions={"type": "array", "items": {"type": "string", "pattern": r"^\w+=(true|false)$"}},
            retry=fields(["limit"], limit={"type": "integer"}, backoff=fields([], duration=DURATION, maxDuration=DURATION)),
        ),
    ),
}
VERSIONS = {
    "GitRepository": "source.toolkit.fluxcd.io/v1",
    "Kustomization": "kustomize.toolkit.fluxcd.io/v1",
    "HelmRelease": "helm.toolkit.fluxcd.io/v2",
    "Application": "argoproj.io/v1alpha1",
    "Agent": "holdfast.dev/v1alpha1",
    "Namespace": "v1",
}


def documents(folder):
    return [each for path in sorted(folder.rglob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]


@pytest.fixture(scope="module")
def examples(root):
    return documents(root / "examples/gitops")


def of(objects, kind):
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def test_every_object_has_the_shape_of_its_kind(examples):
    for each in examples:
        assert each["apiVersion"] == VERSIONS[each["kind"]]
        if each["kind"] in SPECS:
            jsonschema.validate(each["spec"], SPECS[each["kind"]])
    assert {each["kind"] for each in examples} == set(VERSIONS)


def test_the_values_are_values_of_the_chart(examples, chart):
    schema = json.loads((chart / "values.schema.json").read_text())
    values = [each["spec"]["values"] for each in of(examples, "HelmRelease").values()]
    values += [
        each["spec"]["source"]["helm"]["valuesObject"] for each in of(examples, "Application").values() if "helm" in each["spec"]["source"]
    ]

    assert len(values) == 2
    for each in values:
        jsonschema.validate(each, schema)


def test_flux_finds_what_each_object_names(examples, root):
    kustomizations, sources = of(examples, "Kustomization"), of(examples, "GitRepository")
    for each in kustomizations.values():
        spec = each["spec"]
        assert spec["sourceRef"]["name"] in sources
        assert all(needed["name"] in kustomizations for needed in spec.get("dependsOn", []))
        inside = documents(root / spec["path"])
        assert inside
        for check in spec.get("healthChecks", []):
            (found,) = of(inside, check["kind"]).values()
            assert (found["apiVersion"], found["metadata"]["name"], found["metadata"]["namespace"]) == (
                check["apiVersion"],
                check["name"],
                check["namespace"],
            )
    (release,) = of(examples, "HelmRelease").values()
    assert (root / release["spec"]["chart"]["spec"]["chart"] / "Chart.yaml").exists()
    assert release["spec"]["chart"]["spec"]["sourceRef"]["name"] in sources


def test_argo_cd_finds_the_paths(examples, root):
    for each in of(examples, "Application").values():
        assert (root / each["spec"]["source"]["path"]).is_dir()
    assert (root / of(examples, "Application")["holdfast"]["spec"]["source"]["path"] / "Chart.yaml").exists()


def test_agents_come_after_their_crd_and_taking_the_operator_away_takes_no_agent_away(examples):
    holdfast, agents = (of(examples, "Kustomization")[name]["spec"] for name in ("holdfast", "agents"))

    assert agents["dependsOn"] == [{"name": "holdfast"}]
    assert (holdfast["prune"], agents["prune"]) == (False, True)
    assert "prune" not in of(examples, "Application")["holdfast"]["spec"]["syncPolicy"]["automated"]


def test_flux_waits_for_agents_longer_than_a_rollout_takes_to_be_given_up(examples):
    spec = of(examples, "Kustomization")["agents"]["spec"]
    (agent,) = (parse_agent(each | {"metadata": each["metadata"] | {"uid": "u"}}) for each in of(examples, "Agent").values())
    (deployment,) = [
        child.manifest for step in desired(agent, resolve(agent, DEFAULT, {}), DEFAULT) for child in step if child.kind.kind == "Deployment"
    ]

    assert spec["wait"] is True
    assert seconds(spec["timeout"]) > deployment["spec"]["progressDeadlineSeconds"]
