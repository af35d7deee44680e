"""What the local runner makes of YAML: the words for what is wrong with it, and what a right one comes to."""

import base64
from pathlib import Path

import pytest
import yaml

from holdfast_agent.local import environment, manifests
from holdfast_agent.local.display import Timeline
from holdfast_agent.local.documents import read
from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.workspace import AskedRun, Workspace, default_folder
from holdfast_api.v1alpha1 import SecretKeyRef

MODEL = {"provider": "openai", "name": "m", "apiKeySecretRef": {"name": "openai", "key": "api-key"}}


def _agent(name="trips", **spec):
    return {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": name}, "spec": {"model": MODEL, **spec}}


@pytest.fixture
def read_documents(tmp_path):
    def read_(*documents, **options):
        path = tmp_path / "agent.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return read([path], **options)

    return read_


def test_other_kinds_are_passed_over_and_lists_are_opened(read_documents):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": base64.b64encode(b"1").decode()}}
    secret["stringData"] = {"b": "2"}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [_agent(), config_map, {"apiVersion": "apps/v1", "kind": "Deployment"}]}
    documents = read_documents(listed, None, secret)
    assert documents.agent.metadata.name == "trips"
    assert documents.config_maps == {"c": {"k": "v"}}
    assert documents.secrets == {"s": {"a": "1", "b": "2"}}


def test_one_of_several_agents_is_chosen_by_name(read_documents):
    assert read_documents(_agent("a"), _agent("b"), name="b").agent.metadata.name == "b"
    with pytest.raises(LocalError, match=r"there are several Agents \(a, b\): choose one with --agent NAME"):
        read_documents(_agent("a"), _agent("b"))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"kind": "ConfigMap"}, "there is no Agent (apiVersion holdfast.dev/v1alpha1, kind Agent)"),
        ("text", "a document that is no Kubernetes object: 'text'"),
        (_agent(modle={}), "spec.modle: Extra inputs are not permitted"),
        (_agent(tools=[{"name": "a b"}]), "spec.tools[0].name: String should match pattern"),
        (_agent(tools=[{"name": "a"}]), "spec.tools[0]: give exactly one of http, python, mcp and agent"),
        (_agent(tools=[{"name": "a", "http": {"url": "http://x"}}] * 2), "spec.tools: 'a' is there twice"),
        (_agent("Trips"), "metadata.name must start with a letter"),
        (_agent("a" * 59), "must have at most 58 characters"),
        (_agent("trips-dapr"), "must not end with -dapr"),
        (_agent(model={"provider": "openai"}), "spec.model: name is missing"),
        (_agent(model={"provider": "openai", "name": "m", "component": "c"}), "spec.model: give exactly one of provider"),
        (_agent(model={"component": "c", "endpoint": "http://x"}), "belong to the Component"),
        (_agent(model={"provider": "azure", "name": "m"}), "azure needs the URL of the resource"),
        (
            _agent(systemPrompt="x", systemPromptFrom={"configMapKeyRef": {"name": "c", "key": "k"}}),
            "give systemPrompt or systemPromptFrom",
        ),
        (_agent(state={"type": "state.redis", "component": "c"}), "spec.state: give exactly one of component"),
        (_agent(limits={"runTimeout": "soon"}), "spec.limits.runTimeout: "),
        (
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "%"}},
            "Secret 's': data.a is no base64 of a text",
        ),
    ],
)
def test_what_the_api_server_would_refuse_is_refused_here_with_path_and_fix(read_documents, document, words):
    with pytest.raises(LocalError) as caught:
        read_documents(document)
    assert "agent.yaml" in str(caught.value)
    assert words in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(LocalError, match=r"broken\.yaml is no YAML"):
        read([tmp_path / "broken.yaml"])
    with pytest.raises(LocalError, match=r"missing\.yaml cannot be read"):
        read([tmp_path / "missing.yaml"])


def test_the_plan_is_that_of_a_cluster_on_a_file(read_documents, tmp_path):
    plan = manifests.plan(read_documents(_agent(state={"type": "state.redis"})), tmp_path / "state.db")
    model, state = (next(r for r in plan.resources if r["spec"].get("type", "").startswith(kind)) for kind in ("conversation.", "state."))
    metadata = {entry["name"]: entry.get("value") for entry in state["spec"]["metadata"]}
    assert (state["spec"]["type"], metadata["connectionString"]) == ("state.sqlite", str(tmp_path / "state.db"))
    assert metadata["actorStateStore"] == "true"
    resiliency = next(r for r in plan.resources if r["kind"] == "Resiliency")
    assert list(resiliency["spec"]["targets"]["components"]) == [model["metadata"]["name"]]
    assert plan.sidecar_secrets == (SecretKeyRef(name="openai", key="api-key"),)
    assert plan.notes == ("spec.state and spec.memory.component are not used here: everything is in one SQLite file",)


def test_who_calls_other_agents_is_told_that_none_is_here(read_documents, tmp_path):
    tools = [{"name": "judge", "agent": {"name": "critic"}}]
    notes = manifests.plan(read_documents(_agent(tools=tools, team="travel")), tmp_path / "state.db").notes
    assert "calls of critic fail and the model is told so" in notes[0]
    assert "team travel" in notes[1]


def test_a_component_of_the_users_own_takes_its_secrets_from_the_environment(read_documents, tmp_path):
    spec = {"type": "conversation.openai", "version": "v1", "metadata": [{"name": "key", "secretKeyRef": {"name": "k", "key": "v"}}]}
    component = {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": "llm"},
        "spec": spec,
        "auth": {"secretStore": "x"},
    }
    plan = manifests.plan(read_documents(_agent(model={"component": "llm"}), component), tmp_path / "state.db")
    own = next(r for r in plan.resources if r["metadata"]["name"] == "llm")
    assert "auth" not in own
    assert own["spec"]["metadata"][0]["envRef"].startswith("HOLDFAST_SECRET_K_V_")
    assert plan.sidecar_secrets == (SecretKeyRef(name="k", key="v"),)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"model": {"component": "llm"}}, "Component 'llm', which the Agent names, is not in the files"),
        ({"model": None}, "spec.model is missing: set it"),
        (
            {"tools": [{"name": "t", "python": {"configMapKeyRef": {"name": "c", "key": "k"}, "function": "f"}}]},
            "ConfigMap 'c' does not exist",
        ),
    ],
)
def test_an_agent_that_cannot_be_carried_out_is_refused(read_documents, tmp_path, spec, words):
    with pytest.raises(LocalError) as caught:
        manifests.plan(read_documents(_agent(**spec)), tmp_path / "state.db")
    assert words in str(caught.value)


def test_urls_of_all_models_are_redirected(read_documents):
    model = {"provider": "openai", "name": "m", "endpoint": "http://a/v1"}
    agent = read_documents(_agent(model=model | {"fallbacks": [model]}, evaluation={"criteria": "x", "model": model})).agent
    mapped = manifests.redirected(agent, endpoint="http://c", mappings={"http://a": "http://b"}).spec
    assert (mapped.model.endpoint, mapped.model.fallbacks[0].endpoint, mapped.evaluation.model.endpoint) == (
        "http://c",
        "http://b/v1",
        "http://b/v1",
    )


def test_how_much_is_remembered_holds_here_too_only_the_store_is_another(read_documents, tmp_path):
    documents = read_documents(_agent(model={"provider": "echo"}, memory={"component": "elsewhere", "maxMessages": 4}))
    config = manifests.plan(documents, tmp_path / "state.db").resolved.config
    assert (config.memory.max_messages, config.memory_component) == (4, config.state_component)


def test_urls_are_redirected(read_documents):
    tool = {"name": "t", "http": {"url": "http://seats.svc:80/hold/{id}"}}
    agent = read_documents(_agent(model=MODEL | {"endpoint": "http://llm.svc/v1"}, tools=[tool])).agent
    mapped = manifests.redirected(
        agent, endpoint=None, mappings={"http://seats.svc:80": "http://127.0.0.1:1", "http://llm.svc": "http://b"}
    )
    assert (mapped.spec.model.endpoint, mapped.spec.tools[0].http.url) == ("http://b/v1", "http://127.0.0.1:1/hold/{id}")
    assert manifests.redirected(agent, endpoint="http://c", mappings={}).spec.model.endpoint == "http://c"
    with pytest.raises(LocalError, match=r"--endpoint needs spec\.model\.provider"):
        manifests.redirected(read_documents(_agent(model={"component": "c"})).agent, endpoint="http://c", mappings={})


def test_variables_come_as_the_kubelet_would_set_them(read_documents):
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A) $$(A) $(UNKNOWN)"},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
        {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    env_from = [{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v", "DAPR_API_TOKEN": "stolen"}}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"x": "y"}}
    documents = read_documents(_agent(env=env, envFrom=env_from), secret, config_map)
    assert environment.container_environ(documents) == {
        "A": "1", "B": "1 $(A) $(UNKNOWN)", "C": "v", "E": "trips", "P_x": "y", "k": "v",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"env": [{"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            "spec.env[0] (C): key 'k' of Secret 's' is not",
        ),
        ({"env": [{"name": "C", "valueFrom": {"resourceFieldRef": {}}}]}, "spec.env[0] (C): valueFrom resourceFieldRef has no meaning"),
        ({"envFrom": [{"configMapRef": {"name": "c"}}]}, "spec.envFrom[0]: ConfigMap 'c' is not in the files"),
    ],
)
def test_a_variable_from_nowhere_is_refused(read_documents, spec, words):
    with pytest.raises(LocalError) as caught:
        environment.container_environ(read_documents(_agent(**spec)))
    assert words in str(caught.value)


def test_the_workspace_remembers_runs_and_finds_the_unfinished_one(tmp_path):
    workspace = Workspace(tmp_path / "w")
    assert (workspace.folder.stat().st_mode & 0o777) == 0o700
    assert workspace.unfinished() is None
    for run in (AskedRun("1", "a"), AskedRun("2", "b"), AskedRun("3", "a"), AskedRun("3", "a", ended=True)):
        workspace.remember(run)
    assert [run.id for run in workspace.runs()] == ["1", "2", "3"]
    assert workspace.unfinished() == AskedRun("2", "b")
    assert workspace.unfinished("a") == AskedRun("1", "a")


def test_a_damaged_record_of_runs_is_told(tmp_path):
    workspace = Workspace(tmp_path / "w")
    (tmp_path / "w" / "runs.json").write_text("{")
    with pytest.raises(LocalError, match="is damaged"):
        workspace.runs()


def test_the_folder_follows_the_xdg_convention():
    assert default_folder("a", {"XDG_STATE_HOME": "/x"}, Path("/home/u")) == Path("/x/holdfast/a")
    assert default_folder("a", {}, Path("/home/u")) == Path("/home/u/.local/state/holdfast/a")


def _step(turn, kind, status, **more):
    return {"turn": turn, "kind": kind, "name": kind, "key": f"r/{turn}/{kind}", "status": status, **more}


def test_a_step_is_shown_when_it_begins_and_when_it_ends_but_thinking_is_not(capsys):
    timeline = Timeline()
    asked = _step(1, "model", "completed", seconds=0.5, calls=["tool"], output="")
    assert timeline.news([_step(1, "model", "running")]) == []
    assert timeline.news([asked, _step(1, "tool", "running", arguments="{}")]) == [
        "  1  ✓  model  model  0.5s  → tool",
        "  1  …  tool   tool({})  running",
    ]
    retried = _step(1, "tool", "failed", arguments="{}", seconds=2.0, attempt=2, output="HTTP 404:\n no")
    assert timeline.news([asked, retried, _step(2, "model", "running")]) == ["  1  ✗  tool   tool({})  2.0s  attempt 2  → HTTP 404: no"]
    assert timeline.turn == 1
    timeline.news([_step(2, "model", "completed", seconds=1.0, output="end")])
    assert timeline.turn == 2


def test_a_failed_attempt_is_told_once():
    timeline = Timeline()
    run = {"retrying": {"key": "k", "failed_attempts": 2, "message": "HTTP 503", "next_attempt": "2026-11-21T10:20:30.000Z"}}
    assert timeline.trouble(run) == ["     ↻  attempt 2 failed: HTTP 503; the next is at 10:20:30 UTC"]
    assert timeline.trouble(run) == []
    assert timeline.trouble({}) == []


def test_a_call_that_only_waits_for_its_turn_is_not_said_to_have_failed():
    run = {"retrying": {"key": "k", "failed_attempts": 0, "message": "its rate", "next_attempt": "2026-11-21T10:20:30.000Z"}}
    assert Timeline().trouble(run) == ["     ↻  it waits: its rate; the next is at 10:20:30 UTC"]
