"""Whoever may create Agents in a namespace, and nothing else, gains nothing by it that a Pod there would not give.

All that are made by hand and a few drawn ones are part of every test run; `make test-hostile` draws many. HOSTILE_SEED=7 draws others.
"""

import base64
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from e2e.cluster.apiserver import ApiServer
from tests.operator.hostile.contents import problems
from tests.operator.hostile.generated import Case, generated
from tests.operator.hostile.matrix import made
from tests.operator.hostile.samples import BY_NAME, INLINE
from tests.operator.hostile.siege import Outcome, Siege
from tests.operator.live import ROOT, Api, Manifest, install_crds

DRAWN = int(os.environ.get("HOSTILE_DRAWN", "60"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
SECONDS = 180 + DRAWN
pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(2 * SECONDS)]
BY_THE_SERVER = 0.9


def tell(line: str) -> None:
    """For who runs them all."""
    sys.stdout.write(f"{line}\n")


@dataclass
class Story:
    """A siege and its end."""

    siege: Siege
    outcomes: list[Outcome]
    quiet: float
    children: dict[str, list[Manifest]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    crd = yaml.safe_load((ROOT / "crds/agents.holdfast.dev.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    malformed, hostile = generated(schema, SEED)
    orderly = [Case("inline, as it is", INLINE), Case("by name, as it is", BY_NAME)]
    cases = [*orderly, *made(), *malformed[: 2 * DRAWN // 3], *hostile[: DRAWN // 3]]
    with ApiServer() as server:
        api = Api(server)
        install_crds(api)
        siege = Siege(api, Path(tmp_path_factory.mktemp("siege")))
        try:
            quiet = siege.seconds_for_others()
            outcomes = siege.besiege(cases, seconds=SECONDS)
            yield Story(siege, outcomes, quiet, siege.children())
        finally:
            siege.operator.end()


def test_what_hostile_agents_are_made_from_is_in_order_itself(story: Story) -> None:
    said = {outcome.case.name: outcome.refusal or outcome.live["status"]["conditions"] for outcome in story.outcomes[:2]}

    assert [outcome.told for outcome in story.outcomes[:2]] == [False, False], said


def test_what_is_malformed_is_refused_mostly_by_the_api_server_and_else_by_a_condition(story: Story) -> None:
    malformed = [outcome for outcome in story.outcomes if outcome.case.malformed]
    taken = [outcome for outcome in malformed if outcome.refusal is None]
    alone = 1 - len(taken) / len(malformed)
    tell(f"{len(story.outcomes)} hostile Agents, {len(malformed)} malformed: {alone:.1%} refused by the API server alone, seed {SEED}")
    tell(f"the rest: {Counter(outcome.accepted for outcome in taken)} {sorted(outcome.case.name for outcome in taken)}")

    assert alone >= BY_THE_SERVER
    assert [outcome.case.name for outcome in taken if not outcome.told] == []


def test_a_refusal_names_the_field(story: Story) -> None:
    wordless = [
        (outcome.case.name, outcome.refusal)
        for outcome in story.outcomes
        if outcome.refusal is not None and not any(word in outcome.refusal for word in ("spec", "metadata", "name", "namespace"))
    ]
    assert wordless == []


def test_children_hold_what_the_agent_asked_for_and_what_a_pod_may_have(story: Story) -> None:
    taken = {outcome.live["metadata"]["name"]: outcome.live for outcome in story.outcomes if outcome.refusal is None}
    found = {name: list(problems(agent, story.children.get(name, []))) for name, agent in taken.items()}
    names = {outcome.live["metadata"]["name"]: outcome.case.name for outcome in story.outcomes if outcome.refusal is None}

    assert len([name for name in taken if story.children.get(name)]) > len(taken) / 2
    assert {names[name]: what for name, what in found.items() if what} == {}
    assert {name for name in story.children if not name.startswith("honest-")} <= set(taken)


def test_pods_of_hostile_agents_pass_pod_security_restricted(story: Story) -> None:
    deployments = [child for children in story.children.values() for child in children if child["kind"] == "Deployment"]
    said = [story.siege.pod_security(deployment) for deployment in deployments]

    assert len(deployments) > 10
    assert [text for text in said if text and "PodSecurity" in text] == []
    assert sum(text is None for text in said) > len(said) / 2


def test_the_attacker_has_no_new_right_and_nothing_else_was_touched(story: Story) -> None:
    assert story.siege.may() == story.siege.rights
    now, before = story.siege.versions(), story.siege.outside
    assert {name: now.get(name) for name in before} == before
    assert set(now) - set(before) == {"ConfigMap hostile/holdfast-team-travel"}


def test_no_secret_is_in_etcd_outside_secrets_nor_in_events_logs_and_metrics(story: Story) -> None:
    secrets, elsewhere = story.siege.secrets(), story.siege.elsewhere()
    hits = [
        key for key, content in elsewhere.items() for secret in secrets for text in (secret, base64.b64encode(secret)) if text in content
    ]

    # Every field that may name a Secret has named this one, in an Agent that was carried out.
    assert b"canary-own" in secrets
    assert len(secrets) > 3 * 10
    assert any(key.startswith("/registry/events/") for key in elsewhere)
    assert any(key.startswith("/registry/holdfast.dev/agents/") for key in elsewhere)
    assert hits == []


def test_the_operator_goes_on_and_is_there_for_others(story: Story) -> None:
    operator = story.siege.operator
    after = story.siege.seconds_for_others()
    tell(f"another's Agent: {story.quiet:.2f} s before, {after:.2f} s after")

    assert operator.popen.poll() is None
    assert operator.http("/healthz")[0] == 200
    assert "Traceback" not in operator.log.read_text()
    assert operator.metric('holdfast_reconciles_total{result="error"}') == 0
    # Seconds, since other work may have the machine; a stuck worker or a full queue costs minutes.
    assert after < story.quiet + 20
