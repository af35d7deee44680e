"""Agent + defaults + ConfigMaps -> AgentConfig and Components."""

import pytest

from holdfast_api.config import AgentConfig, LimitsConfig
from holdfast_api.dapr import model_limits, resiliency_spec
from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import Refused, components_of, config_maps_of, resolve
from holdfast_api.v1alpha1 import Memory

DEFAULTS = AgentDefaults.model_validate(
    {"model": {"provider": "echo"}, "state": {"type": "state.redis", "metadata": [{"name": "redisHost", "value": "redis:6379"}]}}
)
CODE = {"code": {"tool.py": "def run() -> str:\n    return 'x'\n"}}
PYTHON_TOOL = {"name": "run", "python": {"configMapKeyRef": {"name": "code", "key": "tool.py"}, "function": "run"}}


def agent(**spec):
    return parse_agent({"metadata": {"name": "a"}, "spec": spec})


def resolved(defaults=DEFAULTS, config_maps=CODE, **spec):
    return resolve(agent(**spec), defaults, config_maps)


def test_role_goal_and_instructions_come_before_the_free_text():
    prompt = resolved(role="Clerk", goal="Book", instructions=["Ask.", "Wait."], systemPrompt="Free.").config.system_prompt

    assert prompt == "Your role: Clerk\n\nYour goal: Book\n\nInstructions:\n- Ask.\n- Wait.\n\nFree."


def test_an_agent_that_says_nothing_has_no_system_prompt():
    assert resolved().config.system_prompt is None


def test_the_prompt_of_a_config_map_is_copied_in():
    source = {"configMapKeyRef": {"name": "prompts", "key": "p"}}

    assert resolved(config_maps={"prompts": {"p": "Hello."}}, systemPromptFrom=source).config.system_prompt == "Hello."


def test_what_the_agent_says_wins_over_the_default():
    config = resolved(model={"provider": "openai", "name": "gpt-5-mini"}).config

    assert config.model.label == "openai/gpt-5-mini"
    assert resolved().config.model.label == "echo"


def test_the_component_of_a_model_is_named_after_its_content():
    one, same, other = (resolved(model={"provider": "openai", "name": name}).config.model.component for name in ("m", "m", "n"))

    assert one == same != other
    assert one.startswith("a-llm-")


def test_models_in_place_of_the_main_one_and_the_critic_have_components_and_keys_of_their_own():
    def model(name, key):
        return {"provider": "openai", "name": name, "apiKeySecretRef": {"name": "keys", "key": key}}

    critic = {"criteria": "Short.", "model": model("c", "three")}
    result = resolved(model=model("m", "one") | {"fallbacks": [model("f", "two"), {"component": "shared"}]}, evaluation=critic)

    config = result.config
    assert [each.label for each in config.models] == ["openai/m", "openai/f", "component/shared", "openai/c"]
    assert [each.secret for each in config.models] == ["keys/one", "keys/two", None, "keys/three"]
    made = {name for name in result.components if "-llm-" in name}
    assert made == {each.component for each in config.models} - {"shared"}
    assert len(made) == 3
    assert result.existing_components == ("shared",)
    assert [ref.key for ref in result.sidecar_secrets] == ["one", "two", "three"]


def test_models_that_are_the_same_share_a_component_and_the_longest_time_limit():
    main = {"provider": "echo", "name": "m"}
    result = resolved(model=main | {"fallbacks": [main | {"timeout": "9m"}]})

    (component,) = [name for name in result.components if "-llm-" in name]
    spec = resiliency_spec(result.config)
    assert model_limits(result.config) == {component: 540_000}
    assert spec["policies"]["timeouts"] == {"model": "540000ms"}


def test_each_model_has_its_own_time_limit():
    spec = resiliency_spec(resolved(model={"provider": "echo", "fallbacks": [{"component": "shared", "timeout": "5s"}]}).config)

    bound = spec["targets"]["components"]["shared"]["outbound"]
    assert spec["policies"]["timeouts"][bound["timeout"]] == "5000ms"
    assert bound["circuitBreaker"] in spec["policies"]["circuitBreakers"]


def test_a_careful_persons_limits_hold_where_an_agent_says_nothing():
    config = resolved(tools=[PYTHON_TOOL]).config

    assert config.limits == LimitsConfig(max_tool_calls=250, max_repeated_calls=8, max_concurrent_runs=50)
    assert (config.retention.completed_seconds, config.retention.failed_seconds) == (72 * 3600, 720 * 3600)
    assert (config.output, config.evaluation, config.retention.sessions_seconds) == (None, None, None)
    assert (config.tools[0].approval, config.tools[0].compensate, config.tools[0].retries.max_attempts) == (None, None, 5)


def test_an_approval_that_is_not_required_is_none():
    assert resolved(tools=[PYTHON_TOOL | {"approval": {"required": False}}]).config.tools[0].approval is None
    assert resolved(tools=[PYTHON_TOOL | {"approval": {}}]).config.tools[0].approval.on_timeout == "reject"


def test_the_default_store_of_documents_holds_for_an_agent_that_only_says_how_much_it_remembers():
    defaults = DEFAULTS.model_copy(update={"memory": Memory(component="documents", max_messages=7)})

    own = resolved(defaults=defaults, memory={"maxMessages": 10}).config
    assert (own.memory_component, own.memory.max_messages) == ("documents", 10)
    default = resolved(defaults=defaults).config
    assert (default.memory_component, default.memory.max_messages) == ("documents", 7)


def test_an_api_key_reaches_the_sidecar_by_its_environment_only():
    result = resolved(model={"provider": "openai", "name": "m", "apiKeySecretRef": {"name": "keys", "key": "k"}})
    (component,) = [spec for name, spec in result.components.items() if "-llm-" in name]

    (key,) = [entry for entry in component["metadata"] if entry["name"] == "key"]
    assert set(key) == {"name", "envRef"}
    assert [(ref.name, ref.key) for ref in result.sidecar_secrets] == [("keys", "k")]
    assert result.container_secrets == ()


def test_a_header_from_a_secret_reaches_the_container_by_its_environment_only():
    source = {"name": "Authorization", "prefix": "Bearer ", "secretKeyRef": {"name": "keys", "key": "k"}}
    result = resolved(tools=[{"name": "t", "http": {"url": "http://x", "headersFrom": [source]}}])

    (header,) = result.config.tools[0].http.headers_from
    assert header.env.startswith("HOLDFAST_SECRET_KEYS_K_")
    assert [(ref.name, ref.key) for ref in result.container_secrets] == [("keys", "k")]
    assert result.sidecar_secrets == ()


def test_a_model_that_cannot_start_does_not_stop_the_sidecar():
    assert all(spec["ignoreErrors"] for name, spec in resolved().components.items() if "-llm-" in name)


def test_a_store_that_we_make_holds_workflows_whatever_the_user_wrote():
    state = {"type": "state.redis", "metadata": [{"name": "actorStateStore", "value": "false"}]}

    metadata = resolved(state=state).components["a-state"]["metadata"]
    assert [entry["value"] for entry in metadata if entry["name"] == "actorStateStore"] == ["true"]


def test_a_store_that_we_make_can_be_shared_by_namespaces_unless_said_otherwise():
    own = {"type": "state.redis", "metadata": [{"name": "keyPrefix", "value": "name"}]}

    assert {"name": "keyPrefix", "value": "namespace"} in resolved(state={"type": "state.redis"}).components["a-state"]["metadata"]
    prefixes = [entry["value"] for entry in resolved(state=own).components["a-state"]["metadata"] if entry["name"] == "keyPrefix"]
    assert prefixes == ["name"]


def test_documents_live_beside_the_workflows_unless_said_otherwise():
    assert resolved().config.memory_component == "a-state"
    assert resolved(memory={"component": "m"}).config.memory_component == "m"


def test_components_that_are_named_and_not_made_must_exist():
    result = resolved(model={"component": "llm"}, state={"component": "store"}, memory={"component": "memory"})

    assert result.components == {}
    assert result.existing_components == ("llm", "memory", "store")


def test_the_revision_changes_with_the_text_of_a_tool_and_with_nothing_else():
    changed = {"code": {"tool.py": "def run() -> str:\n    return 'y'\n"}}
    first = resolved(tools=[PYTHON_TOOL]).config.revision

    assert resolved(tools=[PYTHON_TOOL], replicas=5).config.revision == first
    assert resolved(tools=[PYTHON_TOOL], config_maps=changed).config.revision != first


def test_a_document_survives_writing_and_reading():
    config = resolved(tools=[PYTHON_TOOL], role="Clerk").config
    read = AgentConfig.model_validate(config.document())

    assert (read, read.revision) == (config, config.revision)


def test_an_older_image_ignores_fields_of_a_newer_operator():
    document = resolved().config.document() | {"fieldOfTomorrow": 1}

    assert AgentConfig.model_validate(document).name == "a"


def test_the_config_maps_that_are_read_are_known_beforehand():
    found = config_maps_of(agent(tools=[PYTHON_TOOL], systemPromptFrom={"configMapKeyRef": {"name": "p", "key": "k"}}))

    assert found == {"code", "p"}


def test_the_components_that_must_be_there_are_known_beforehand():
    model = {"provider": "echo", "fallbacks": [{"component": "spare"}, {"provider": "echo"}]}
    spec = {"model": model, "evaluation": {"criteria": "x", "model": {"component": "critic"}}, "memory": {"maxMessages": 2}}
    defaults = DEFAULTS.model_copy(update={"memory": Memory(component="documents")})

    found = components_of(agent(**spec), defaults)

    assert found == {"spare", "critic", "documents"} == set(resolve(agent(**spec), defaults, {}).existing_components)


@pytest.mark.parametrize(
    ("defaults", "spec", "reason", "words"),
    [
        (AgentDefaults(state=DEFAULTS.state), {}, "ModelMissing", "spec.model is missing"),
        (AgentDefaults(model=DEFAULTS.model), {}, "StateMissing", "spec.state is missing"),
        (
            DEFAULTS,
            {"systemPromptFrom": {"configMapKeyRef": {"name": "no", "key": "k"}}},
            "ConfigMapNotFound",
            "ConfigMap 'no' does not exist",
        ),
        (
            DEFAULTS,
            {"systemPromptFrom": {"configMapKeyRef": {"name": "code", "key": "k"}}},
            "ConfigMapKeyNotFound",
            "no key 'k' (it has: tool.py)",
        ),
        (DEFAULTS, {"tools": [PYTHON_TOOL | {"description": "x" * 4000}] + [
            {"name": f"t{i}", "description": "x" * 4000, "http": {"url": "http://x", "inputSchema": {"description": "y" * 8000}}}
            for i in range(60)
        ]}, "ConfigTooLarge", "524288 are allowed"),
    ],
    ids=["model", "state", "config map", "key", "size"],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_with_the_fix(defaults, spec, reason, words):
    with pytest.raises(Refused) as caught:
        resolved(defaults=defaults, **spec)

    assert caught.value.reason == reason
    assert words in caught.value.message


def test_every_mistake_of_a_manifest_is_told_at_once():
    with pytest.raises(Refused) as caught:
        agent(instrucions=["x"], replicas=-1, model={"timeout": "soon"})

    assert "spec.instrucions: there is no such field" in caught.value.message
    assert "spec.replicas" in caught.value.message
    assert "spec.model.timeout" in caught.value.message
