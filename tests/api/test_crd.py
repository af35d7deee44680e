"""What the API server itself says to an Agent, before any operator sees it."""

from typing import Any

import pytest
from kubernetes import client

from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import Refused

pytestmark = pytest.mark.apiserver

MODEL = {"provider": "openai", "name": "gpt-5-mini"}
HTTP = {"url": "http://example.test/x"}
PYTHON = {"configMapKeyRef": {"name": "code", "key": "tool.py"}, "function": "run"}
SECRET = {"name": "keys", "key": "token"}


def tool(**kinds: Any) -> dict[str, Any]:
    return {"tools": [{"name": "t", **kinds}]}


def test_ten_lines_are_enough_and_nothing_but_replicas_is_written_into_them(submit):
    spec = {"model": MODEL, "systemPrompt": "You are helpful."}

    assert submit(spec)["spec"] == spec | {"replicas": 1}


def test_an_agent_never_visited_does_not_look_ready(api_client):
    agents = client.CustomObjectsApi(api_client)
    where = ("holdfast.dev", "v1alpha1", "default", "agents")
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "fresh"}, "spec": {}}
    agents.create_namespaced_custom_object(*where, body)

    stored = agents.get_namespaced_custom_object(*where, "fresh")
    agents.delete_namespaced_custom_object(*where, "fresh")

    assert stored["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize("name", ["a", "a1", "trip-planner", "x" * 58])
def test_a_good_name_is_taken(submit, name):
    assert submit({}, name=name)


@pytest.mark.parametrize(
    ("name", "word"),
    [("1a", "start with a letter"), ("a.b", "only lower-case"), ("x" * 59, "at most 58"), ("critic-dapr", "must not end with -dapr")],
)
def test_a_name_that_dapr_or_a_service_could_not_bear_is_refused(submit, refused, name, word):
    with refused(word):
        submit({}, name=name)


TAKEN: list[dict[str, Any]] = [
    {},
    {"model": MODEL},
    {"model": {"provider": "echo"}},
    {"model": {"component": "shared-llm", "temperature": 0.5}},
    {"model": MODEL | {"component": None}},
    {"model": {"provider": "azure", "name": "gpt", "endpoint": "https://x.example.test", "options": {"apiVersion": "2025-01-01"}}},
    {"systemPrompt": "x", "systemPromptFrom": None},
    {"systemPrompt": None, "systemPromptFrom": {"configMapKeyRef": {"name": "p", "key": "k"}}},
    tool(http=HTTP),
    tool(http=HTTP, python=None),
    tool(http=None, python=PYTHON),
    tool(http=HTTP | {"inputSchema": {"type": "object", "properties": {"x": {"type": "string", "format": "any"}}}}),
    tool(http=HTTP | {"headersFrom": [{"name": "Authorization", "prefix": "Bearer ", "secretKeyRef": SECRET}]}),
    {"state": {"component": "store"}},
    {"state": {"type": "state.redis", "metadata": [{"name": "redisHost", "value": "r:6379"}, {"name": "pw", "secretKeyRef": SECRET}]}},
    {"state": {"component": "store", "type": None}},
    {"memory": {"component": "store"}},
    {"limits": {"maxIterations": 1, "runTimeout": "1h30m"}},
    {"access": {"auth": "none"}},
    {"suspend": True, "replicas": 0},
    {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "100m"}}},
    {"env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": SECRET}}]},
    {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}], "volumeMounts": [{"name": "v", "mountPath": "/data"}]},
    {"tolerations": [{"operator": "Exists"}], "nodeSelector": {"a/b": "c"}, "podLabels": {"team": "x"}},
    {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}},
    {"dapr": {"sidecarResources": {"limits": {"memory": "256Mi"}}}},
]


@pytest.mark.parametrize("spec", TAKEN, ids=str)
def test_a_good_spec_is_taken(submit, spec):
    assert submit(spec)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"instrucions": ["x"]}, 'unknown field "spec.instrucions"'),
    ({"model": {}}, "exactly one of provider"),
    ({"model": {"provider": None, "component": None}}, "exactly one of provider"),
    ({"model": MODEL | {"component": "x"}}, "exactly one of provider"),
    ({"model": {"provider": "openai"}}, "say which model"),
    ({"model": {"provider": "opnai", "name": "x"}}, "Unsupported value"),
    ({"model": {"component": "x", "endpoint": "http://x"}}, "belong to the Component"),
    ({"model": {"provider": "azure", "name": "x"}}, "endpoint is missing"),
    ({"model": MODEL | {"endpoint": "gateway:80"}}, "spec.model.endpoint"),
    ({"model": MODEL | {"temperature": 2.5}}, "spec.model.temperature"),
    ({"model": MODEL | {"timeout": "0s"}}, "longer than zero"),
    ({"model": MODEL | {"timeout": "2 minutes"}}, "spec.model.timeout"),
    ({"model": MODEL | {"apiKeySecretRef": {"name": "x"}}}, "apiKeySecretRef.key"),
    ({"model": MODEL | {"apiKeySecretRef": {"name": "../other/x", "key": "k"}}}, "apiKeySecretRef.name"),
    ({"systemPrompt": "x", "systemPromptFrom": {"configMapKeyRef": {"name": "p", "key": "k"}}}, "not both"),
    (tool(), "exactly one of http, python, mcp and agent"),
    (tool(http=None, python=None), "exactly one of http, python, mcp and agent"),
    (tool(http=HTTP, python=PYTHON), "exactly one of http, python, mcp and agent"),
    (tool(http={"url": "ftp://x"}), "spec.tools[0].http.url"),
    (tool(http=HTTP | {"method": "FETCH"}), "Unsupported value"),
    (tool(http=HTTP | {"inputSchema": {"type": "array"}}), "inputSchema.type"),
    (tool(python=PYTHON | {"function": "os.system"}), "python.function"),
    ({"tools": [{"name": "t", "http": HTTP}, {"name": "t", "python": PYTHON}]}, "Duplicate value"),
    ({"tools": [{"name": "my tool", "http": HTTP}]}, "spec.tools[0].name"),
    ({"model": {"provider": "echo", "timeout": "61m"}}, "give at most 1h"),
    ({"state": {}}, "exactly one of component"),
    ({"state": {"component": "x", "type": "state.redis"}}, "exactly one of component"),
    ({"state": {"component": "x", "metadata": []}}, "belong to the Component"),
    ({"state": {"type": "pubsub.redis"}}, "spec.state.type"),
    ({"state": {"type": "state.redis", "metadata": [{"name": "redisHost"}]}}, "exactly one of value and secretKeyRef"),
    ({"limits": {"maxIterations": 0}}, "spec.limits.maxIterations"),
    ({"limits": {"runTimeout": "forever"}}, "spec.limits.runTimeout"),
    ({"access": {"auth": "open"}}, "Unsupported value"),
    ({"replicas": -1}, "spec.replicas"),
    ({"replicas": "2"}, "spec.replicas"),
    ({"suspend": "yes"}, "spec.suspend"),
    ({"env": [{"name": "DAPR_API_TOKEN", "value": "x"}]}, "are set by Holdfast"),
    ({"podAnnotations": {"dapr.io/app-id": "other"}}, "are Holdfast's"),
    ({"podLabels": {"holdfast.dev/agent": "other"}}, "are Holdfast's"),
    ({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "unknown field"),
    ({"volumes": [{"name": "holdfast-config", "emptyDir": {}}]}, "are Holdfast's"),
    ({"volumes": [{"name": "holdfast-team", "emptyDir": {}}]}, "are Holdfast's"),
    ({"volumeMounts": [{"name": "holdfast-team", "mountPath": "/data"}]}, "are Holdfast's"),
    ({"volumeMounts": [{"name": "v", "mountPath": "/etc/holdfast"}]}, "are Holdfast's"),
]


@pytest.mark.parametrize(("spec", "words"), REFUSED, ids=[f"{spec}"[:80] for spec, _ in REFUSED])
def test_a_mistake_is_refused_with_its_field_and_the_fix(submit, refused, spec, words):
    with refused(words):
        submit(spec)


@pytest.mark.parametrize("spec", TAKEN, ids=str)
def test_python_takes_what_the_server_takes(spec):
    parse_agent({"metadata": {"name": "a"}, "spec": spec})


SHAPES_OF_CORE_V1 = [{"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}]
"""Only the server judges these: in Python the pod fields are plain data."""


@pytest.mark.parametrize("spec", [spec for spec, _ in REFUSED if spec not in SHAPES_OF_CORE_V1], ids=lambda spec: str(spec)[:80])
def test_python_refuses_what_the_server_refuses(spec):
    with pytest.raises(Refused, match="spec"):
        parse_agent({"metadata": {"name": "a"}, "spec": spec})


@pytest.mark.parametrize("name", ["1a", "a.b", "x" * 59, "critic-dapr"])
def test_python_refuses_the_names_that_the_server_refuses(name):
    with pytest.raises(Refused, match=r"metadata\.name"):
        parse_agent({"metadata": {"name": name}, "spec": {}})


def test_spec_itself_is_required(submit, refused):
    with refused("spec: Required value"):
        submit(None)


BOUNDS: list[tuple[str, Any, Any]] = [
    ("systemPrompt", "x" * 131072, "x" * 131073),
    ("role", "x" * 1024, "x" * 1025),
    ("instructions", ["x"] * 64, ["x"] * 65),
    ("tools", [{"name": f"t{i}", "http": HTTP} for i in range(64)], [{"name": f"t{i}", "http": HTTP} for i in range(65)]),
    ("env", [{"name": f"E{i}", "value": "x" * 4096} for i in range(128)], [{"name": f"E{i}"} for i in range(129)]),
    ("podLabels", {f"example.test/{i}": "x" for i in range(32)}, {f"example.test/{i}": "x" for i in range(33)}),
    (
        "volumes",
        [{"name": f"v{i}", "emptyDir": {}} for i in range(32)],
        [{"name": f"v{i}", "emptyDir": {}} for i in range(33)],
    ),
    ("replicas", 1000, 1001),
]


@pytest.mark.parametrize(("field", "largest", "over"), BOUNDS, ids=[field for field, *_ in BOUNDS])
def test_the_largest_value_is_taken_and_one_more_is_refused(submit, refused, field, largest, over):
    assert submit({field: largest})
    with refused(f"spec.{field}"):
        submit({field: over})


def test_the_largest_of_everything_at_once_stays_within_the_cost_budget(submit):
    assert submit({field: largest for field, largest, _ in BOUNDS} | {"model": MODEL})


@pytest.fixture
def stored(api_client):
    """An Agent that really exists, to be changed."""
    agents = client.CustomObjectsApi(api_client)
    where = ("holdfast.dev", "v1alpha1", "default", "agents")
    spec = {"state": {"type": "state.redis", "metadata": [{"name": "redisHost", "value": "r:6379"}]}, "memory": {"component": "m"}}
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "kept"}, "spec": spec}
    agents.create_namespaced_custom_object(*where, body)

    def patch(change: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = agents.patch_namespaced_custom_object(*where, "kept", {"spec": change})
        return result

    yield patch
    agents.delete_namespaced_custom_object(*where, "kept")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": {"version": "v2"}}, "state cannot be changed"),
        ({"state": None}, "state cannot be changed"),
        ({"memory": {"component": "n"}}, "memory.component cannot be changed"),
        ({"memory": {"component": None}}, "memory.component cannot be changed"),
        ({"memory": None}, "memory.component cannot be changed"),
    ],
    ids=str,
)
def test_the_stores_of_an_agent_cannot_be_swapped_under_its_runs(stored, change, words):
    with pytest.raises(client.ApiException, match=words):
        stored(change)


@pytest.mark.parametrize("change", [{"state": {"component": "s"}}, {"memory": {"component": "m"}}], ids=str)
def test_a_store_that_was_left_out_can_be_written_down_once(api_client, change):
    agents = client.CustomObjectsApi(api_client)
    where = ("holdfast.dev", "v1alpha1", "default", "agents")
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "later"}, "spec": {}}
    agents.create_namespaced_custom_object(*where, body)
    try:
        agents.patch_namespaced_custom_object(*where, "later", {"spec": change})
        with pytest.raises(client.ApiException, match="cannot be changed"):
            agents.patch_namespaced_custom_object(*where, "later", {"spec": dict.fromkeys(change)})
    finally:
        agents.delete_namespaced_custom_object(*where, "later")


def test_how_much_is_remembered_can_be_changed_and_the_store_stays(stored):
    memory = stored({"memory": {"maxMessages": 10, "compaction": "truncate"}})["spec"]["memory"]

    assert memory == {"component": "m", "maxMessages": 10, "compaction": "truncate"}


def test_everything_else_can_be_changed(stored):
    assert stored({"role": "Clerk", "replicas": 3})["spec"]["replicas"] == 3


def test_an_autoscaler_finds_and_sets_the_scale(api_client):
    agents = client.CustomObjectsApi(api_client)
    where = ("holdfast.dev", "v1alpha1", "default", "agents")
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": "scaled"}, "spec": {}}
    agents.create_namespaced_custom_object(*where, body)
    try:
        before = agents.get_namespaced_custom_object_scale(*where, "scaled")["spec"]["replicas"]
        agents.patch_namespaced_custom_object_scale(*where, "scaled", {"spec": {"replicas": 4}})
        after = agents.get_namespaced_custom_object(*where, "scaled")["spec"]["replicas"]
    finally:
        agents.delete_namespaced_custom_object(*where, "scaled")

    assert (before, after) == (1, 4)
