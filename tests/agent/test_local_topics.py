"""What daprd is given for an Agent with triggers and topics on this machine."""

from dataclasses import replace

import pytest

from holdfast_agent.local.documents import read
from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.manifests import configuration, plan, unprompted
from tests.agent.test_examples import EXAMPLES


def _planned(tmp_path, documents):
    found = plan(documents, tmp_path / "state.db")
    by_kind = {kind: [one for one in found.resources if one["kind"] == kind] for kind in ("Component", "Subscription", "Resiliency")}
    return found, by_kind


def test_topics_have_the_same_subscriptions_as_in_a_cluster_on_a_broker_in_memory(tmp_path):
    found, made = _planned(tmp_path, read([EXAMPLES / "topics.yaml"]))
    assert {one["spec"]["topic"]: one["spec"]["routes"]["default"] for one in made["Subscription"]} == {
        "assistant.topic": "/events/topic",
        "agents.broadcast": "/events/broadcast",
        "orders.new": "/events/triggers/orders",
    }
    assert "pubsub.in-memory" in [one["spec"]["type"] for one in made["Component"]]
    assert made["Resiliency"][0]["spec"]["policies"]["retries"]["events"]["maxRetries"] == -1
    assert any("in-memory" in note for note in found.notes)
    assert {"name": "publish", "version": "v1", "protocol": "grpc"} in configuration(found.resolved.config)["api"]["allowed"]


def test_whoever_asks_for_one_run_gets_no_other(tmp_path):
    for name in ("topics.yaml", "nightly.yaml"):
        found, made = _planned(tmp_path, unprompted(read([EXAMPLES / name])))
        assert (made["Subscription"], found.resolved.config.triggers) == ([], ())


def test_a_broker_that_is_not_in_the_files_is_asked_for(tmp_path):
    documents = read([EXAMPLES / "topics.yaml"])
    spec = documents.agent.spec
    named = spec.model_copy(update={"pubsub": spec.pubsub.model_copy(update={"component": "shop-broker"})})
    with pytest.raises(LocalError, match=r"shop-broker.*not in the files"):
        plan(replace(documents, agent=documents.agent.model_copy(update={"spec": named})), tmp_path / "state.db")
