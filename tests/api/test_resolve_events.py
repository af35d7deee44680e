"""Events, remote tools, routes and time limits on their way into the AgentConfig."""

import pytest

from holdfast_api.config import AgentToolConfig, McpToolConfig, PubsubConfig, RetriesConfig, TopicConfig
from holdfast_api.dapr import api_spec, resiliency_spec
from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import Refused, components_of, resolve

DEFAULTS = AgentDefaults.model_validate({"model": {"provider": "echo"}, "state": {"type": "state.redis"}})
KEY = {"name": "keys", "key": "k"}
MCP = {"name": "maps", "mcp": {"url": "http://x", "allow": ["route"]}}


def agent(**spec):
    return parse_agent({"metadata": {"name": "a", "namespace": "ns"}, "spec": spec})


def resolved(defaults=DEFAULTS, **spec):
    return resolve(agent(**spec), defaults, {})


def test_an_agent_that_uses_none_of_it_has_the_document_that_it_always_had():
    new = {"callers", "pubsub", "triggers", "team", "routes", "capabilities"}
    document = resolved().config.document()

    assert new.isdisjoint(document)
    assert "maxDepth" not in document["limits"]
    assert "model" not in document["memory"]
    assert resolved(access={"callers": []}, triggers=[], resiliency={}, observability={}).config.revision == resolved().config.revision


def test_the_tools_of_a_server_and_other_agents_arrive_as_they_are():
    header = {"name": "K", "prefix": "Bearer ", "secretKeyRef": KEY}
    result = resolved(
        tools=[{"name": "maps", "mcp": MCP["mcp"] | {"headersFrom": [header]}}, {"name": "critic", "agent": {"name": "critic"}}]
    )

    maps, critic = result.config.tools
    assert isinstance(maps.mcp, McpToolConfig)
    assert (maps.mcp.url, maps.mcp.allow, maps.mcp.headers_from[0].prefix) == ("http://x", ("route",), "Bearer ")
    assert critic.agent == AgentToolConfig(name="critic")
    assert [(ref.name, ref.key) for ref in result.container_secrets] == [("keys", "k")]


def test_what_undoes_a_call_has_to_be_allowed_at_its_server():
    book = {"name": "book", "http": {"url": "http://x"}}

    assert resolved(tools=[book | {"compensate": "maps__route"}, MCP])
    with pytest.raises(Refused, match=r"mcp.allow of 'maps' lacks 'cancel'"):
        resolved(tools=[book | {"compensate": "maps__cancel"}, MCP])


def test_a_broker_that_we_make_belongs_to_this_agent_in_this_namespace():
    password = {"name": "redisPassword", "secretKeyRef": KEY}
    result = resolved(pubsub={"type": "pubsub.redis", "metadata": [password], "topic": "t"})

    spec = result.components["a-pubsub"]
    assert {"name": "consumerID", "value": "ns_a"} in spec["metadata"]
    assert spec["ignoreErrors"] is True
    assert [set(entry) for entry in spec["metadata"] if entry["name"] == "redisPassword"] == [{"name", "envRef"}]
    assert [ref.key for ref in result.sidecar_secrets] == ["k"]
    assert result.config.pubsub == PubsubConfig(component="a-pubsub", topic="t")


def test_a_consumer_group_of_the_users_own_stays():
    own = [{"name": "consumerId", "value": "mine"}]
    metadata = resolved(pubsub={"type": "pubsub.redis", "metadata": own}).components["a-pubsub"]["metadata"]

    assert metadata == own


def test_triggers_use_the_agents_broker_unless_they_name_their_own():
    triggers = [{"name": "one", "topic": {"name": "x"}}, {"name": "two", "topic": {"name": "y", "component": "other", "deadLetter": "z"}}]
    spec = {"pubsub": {"component": "broker"}, "triggers": triggers}

    assert [trigger.topic for trigger in resolved(**spec).config.triggers] == [
        TopicConfig(component="broker", name="x"),
        TopicConfig(component="other", name="y", dead_letter="z"),
    ]
    assert components_of(agent(**spec), DEFAULTS) == {"broker", "other"} == set(resolved(**spec).existing_components)


def test_the_administrators_broker_is_taken_by_those_who_need_one_and_no_others():
    defaults = AgentDefaults.model_validate(DEFAULTS.model_dump(by_alias=True, exclude_none=True) | {"pubsub": {"component": "everybodys"}})

    assert resolved(defaults=defaults).existing_components == ()
    assert resolved(defaults=defaults, pubsub={"broadcast": "x"}).config.pubsub == PubsubConfig(component="everybodys", broadcast="x")
    assert resolved(defaults=defaults, triggers=[{"name": "t", "topic": {"name": "x"}}]).existing_components == ("everybodys",)


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"pubsub": {"topic": "x"}}, "PubsubMissing", "chart's agents.pubsub"),
        ({"triggers": [{"name": "t", "topic": {"name": "x"}}]}, "PubsubMissing", "spec.triggers\\[0\\].topic \\(t\\) names no component"),
        ({"triggers": [{"name": "t", "task": "x", "schedule": {"cron": "0 0 31 2 *"}}]}, "InvalidSpec", "spec.triggers\\[0\\].schedule"),
        ({"triggers": [{"name": "t", "task": "x", "schedule": {"cron": "9-5 0 * * *"}}]}, "InvalidSpec", "9 comes after 5"),
    ],
    ids=["own broker", "trigger's broker", "never", "backwards"],
)
def test_what_the_api_server_cannot_see_is_refused_with_the_field(spec, reason, words):
    with pytest.raises(Refused, match=words) as caught:
        resolved(**spec)

    assert caught.value.reason == reason


def test_a_time_limit_of_resiliency_is_for_those_who_have_none_of_their_own():
    one = {"provider": "echo", "name": "one"}
    config = resolved(
        model=one | {"fallbacks": [{"provider": "echo", "name": "two", "timeout": "9s"}]},
        tools=[{"name": "a", "http": {"url": "http://x"}}, {"name": "b", "http": {"url": "http://x"}, "timeout": "1s", "retries": {}}],
        resiliency={"model": {"timeout": "50s"}, "tools": {"timeout": "5s", "retries": {"maxAttempts": 2}}},
    ).config

    assert [model.timeout_seconds for model in config.models] == [50, 9]
    assert [tool.timeout_seconds for tool in config.tools] == [5, 1]
    assert [tool.retries for tool in config.tools] == [RetriesConfig(max_attempts=2), RetriesConfig()]


def test_breakers_stand_before_models_stores_and_other_agents_as_asked():
    wanted = {
        "model": {"circuitBreaker": {"consecutiveFailures": 2}},
        "tools": {"circuitBreaker": {"timeout": "1m"}},
        "state": {"timeout": "3s"},
    }
    found = agent(tools=[{"name": "t", "agent": {"name": "critic"}}], resiliency=wanted, memory={"component": "docs"})
    config = resolve(found, DEFAULTS, {}).config
    spec = resiliency_spec(config, wanted=found.spec.resiliency)

    assert spec["policies"]["circuitBreakers"]["model"]["trip"] == "consecutiveFailures >= 2"
    assert spec["policies"]["circuitBreakers"]["agents"]["timeout"] == "1m"
    assert spec["targets"]["apps"] == {"critic": {"circuitBreaker": "agents"}}
    assert [spec["targets"]["components"][name] for name in ("docs", "a-state")] == [{"outbound": {"timeout": "state"}}] * 2
    assert spec["policies"]["timeouts"]["state"] == "3000ms"


def test_routes_and_the_model_of_memory_have_components_and_keys_of_their_own():
    other = {"provider": "openai", "name": "other", "apiKeySecretRef": KEY}
    result = resolved(
        model={"provider": "echo", "routes": [{"tools": ["maps"], "model": other}]}, tools=[MCP], memory={"model": {"component": "small"}}
    )

    (route,) = result.config.routes
    assert route.model.component in result.components
    assert result.config.memory.model.component == "small"
    assert [model.label for model in result.config.models] == ["echo", "openai/other", "component/small"]
    assert result.existing_components == ("small",)
    assert [ref.key for ref in result.sidecar_secrets] == ["k"]


def test_keys_of_a_model_that_has_several_come_from_secrets_one_by_one():
    model = {"provider": "bedrock", "name": "m", "options": {"region": "r"}, "optionsFrom": [{"name": "accessKey", "secretKeyRef": KEY}]}
    (spec,) = [spec for name, spec in resolved(model=model).components.items() if "-llm-" in name]

    assert {entry["name"]: set(entry) - {"name"} for entry in spec["metadata"]} == {
        "model": {"value"},
        "region": {"value"},
        "accessKey": {"envRef"},
    }


def test_an_agent_that_refuses_events_publishes_them_and_so_may_publish():
    topic = {"name": "t", "topic": {"component": "b", "name": "x", "deadLetter": "y"}}

    assert {"name": "publish", "version": "v1", "protocol": "grpc"} in api_spec(resolved(triggers=[topic]).config)["allowed"]
