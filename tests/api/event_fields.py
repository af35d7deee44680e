"""Events, triggers, teams, callers, time limits and observability: what is taken, and what is refused with which words."""

from typing import Any

CRON = "0 6 * * *"
BROKER = {"type": "pubsub.redis", "metadata": [{"name": "redisHost", "value": "r:6379"}]}


def at(cron: str, **more: Any) -> dict[str, Any]:
    return {"triggers": [{"name": "t", "task": "x", "schedule": {"cron": cron} | more}]}


TAKEN: list[dict[str, Any]] = [
    at(CRON),
    at("*/5 8-18/2 1,15 jan-MAR mon-fri"),
    at("59 23 31 12 7"),
    at("0  6 * * 0", timeZone="Europe/Zagreb", suspend=True, concurrencyPolicy="Replace", startingDeadline="5m"),
    at(CRON, timeZone="Etc/GMT+3"),
    at(CRON, timeZone=None),
    {"triggers": [{"name": "t", "topic": {"component": "orders", "name": "orders.new", "deadLetter": "orders/dead"}}]},
    {"triggers": [{"name": "t", "topic": {"name": "orders"}, "schedule": None, "task": "Book it."}]},
    {"pubsub": {}},
    {"pubsub": {"component": "broker", "type": None, "topic": "a.topic", "broadcast": "all", "publishResults": "a.results"}},
    {"pubsub": BROKER | {"topic": "a"}},
    {"access": {"callers": ["planner", "critic"]}},
    {"access": {"callers": []}},
    {"team": "travel", "capabilities": ["Finds flights"]},
    {"limits": {"maxDepth": 2}},
    {"resiliency": {"model": {"timeout": "60s", "circuitBreaker": {"consecutiveFailures": 3, "timeout": "1m"}}}},
    {"resiliency": {"tools": {"timeout": "2h", "retries": {"maxAttempts": 1}, "circuitBreaker": {}}, "state": {"timeout": "5s"}}},
    {"resiliency": {"model": None, "state": {"circuitBreaker": None}}},
    {"observability": {"tracing": {"samplingRate": "0.25", "otlp": "http://otel-collector.monitoring:4318"}, "logLevel": "debug"}},
    {"observability": {"tracing": {"otlp": "https://[fd00::1]:4318", "zipkin": "http://zipkin:9411/api/v2/spans"}, "metrics": False}},
    {"observability": {"apiLogging": True, "tracing": None}},
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"triggers": [{"name": "t", "task": "x"}]}, "exactly one of schedule and topic"),
    (at(CRON) | {"triggers": [{"name": "t", "task": "x", "schedule": {"cron": CRON}, "topic": {"name": "x"}}]}, "exactly one of schedule"),
    ({"triggers": [{"name": "t", "schedule": {"cron": CRON}}]}, "task is missing"),
    ({"triggers": [{"name": "T", "task": "x", "schedule": {"cron": CRON}}]}, "spec.triggers[0].name"),
    ({"triggers": [{"name": "t", "task": "x", "schedule": {"cron": CRON}}] * 2}, "Duplicate value"),
    (at("@daily * * *"), "five fields"),
    (at("0 6 * * * *"), "five fields"),
    (at("60 6 * * *"), "five fields"),
    (at("0 24 * * *"), "five fields"),
    (at("0 0 32 * *"), "five fields"),
    (at("0 0 * 13 *"), "five fields"),
    (at("0 0 * * 8"), "five fields"),
    (at("*/0 0 * * 1"), "five fields"),
    (at("0 0 * * mon;"), "five fields"),
    (at(CRON, timeZone="Mars/Base"), "IANA time zone"),
    (at(CRON, timeZone="Local"), "IANA time zone"),
    (at(CRON, timeZone="+02:00"), "timeZone"),
    (at(CRON, timeZone="../etc/passwd"), "timeZone"),
    (at(CRON, concurrencyPolicy="Queue"), "Unsupported value"),
    (at(CRON, startingDeadline="soon"), "startingDeadline"),
    ({"triggers": [{"name": "t", "topic": {"name": "my topic"}}]}, "spec.triggers[0].topic.name"),
    ({"triggers": [{"name": "t", "topic": {}}]}, "topic.name"),
    ({"pubsub": BROKER | {"component": "x"}}, "not both"),
    ({"pubsub": {"component": "x", "metadata": []}}, "belong to the Component"),
    ({"pubsub": {"metadata": []}}, "belong to the Component"),
    ({"pubsub": {"type": "state.redis"}}, "spec.pubsub.type"),
    ({"pubsub": {"topic": "a", "publishResults": "a"}}, "must differ"),
    ({"pubsub": {"topic": "a", "broadcast": "a"}}, "must differ"),
    ({"pubsub": {"broadcast": "a", "publishResults": "a"}}, "must differ"),
    ({"access": {"callers": ["other.namespace"]}}, "spec.access.callers[0]"),
    ({"access": {"callers": ["a", "a"]}}, "Duplicate value"),
    ({"access": {"callers": ["*"]}}, "spec.access.callers[0]"),
    ({"team": "Travel"}, "spec.team"),
    ({"team": "other/travel"}, "spec.team"),
    ({"limits": {"maxDepth": 0}}, "spec.limits.maxDepth"),
    ({"resiliency": {"model": {"timeout": "2h"}}}, "give at most 1h"),
    ({"resiliency": {"model": {"retries": {"maxAttempts": 3}}}}, "retries"),
    ({"resiliency": {"model": {"circuitBreaker": {"consecutiveFailures": 0}}}}, "consecutiveFailures"),
    ({"resiliency": {"tools": {"retries": {"initial": "2m"}}}}, "initial must not be longer"),
    ({"observability": {"tracing": {"samplingRate": "0.5"}}}, "somewhere to send"),
    ({"observability": {"tracing": {"samplingRate": "1.5", "otlp": "http://x:4318"}}}, "samplingRate"),
    ({"observability": {"tracing": {"samplingRate": 1, "otlp": "http://x:4318"}}}, "samplingRate"),
    ({"observability": {"tracing": {"otlp": "otel:4317"}}}, "spec.observability.tracing.otlp"),
    ({"observability": {"tracing": {"otlp": "http://x:4318/v1/traces"}}}, "spec.observability.tracing.otlp"),
    ({"observability": {"tracing": {"zipkin": "zipkin:9411"}}}, "spec.observability.tracing.zipkin"),
    ({"observability": {"logLevel": "loud"}}, "Unsupported value"),
]
