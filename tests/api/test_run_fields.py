"""Fields that decide how runs go: what the API server itself, and Python, say to them."""

from typing import Any

import pytest

from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import Refused
from tests.api.test_crd import HTTP, MODEL, tool

pytestmark = pytest.mark.apiserver

SCHEMA = {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}


def tools(**of_each: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [{"name": name, "http": HTTP, **fields} for name, fields in of_each.items()]}


TAKEN: list[dict[str, Any]] = [
    tool(http=HTTP, retries={}, rateLimit=None, approval=None, compensate=None, delivery=None),
    tool(http=HTTP, retries={"maxAttempts": 1, "initial": "500ms", "max": "500ms"}),
    tool(http=HTTP, retries={"initial": "1m"}),
    tool(http=HTTP, rateLimit={"perMinute": 1}),
    tool(http=HTTP, delivery="atMostOnce"),
    tool(http=HTTP, approval={}),
    tool(http=HTTP, approval={"required": True, "timeout": "24h", "onTimeout": "approve"}),
    tool(http=HTTP, approval={"timeout": "48h"}) | {"limits": {"runTimeout": "48h"}},
    tool(http=HTTP, approval={}) | {"limits": {"runTimeout": "1h"}},
    tools(book={"compensate": "cancel"}, cancel={"compensate": None}),
    tools(book={"compensate": "cancel"}, reserve={"compensate": "cancel"}, cancel={"approval": {"required": False}}),
    tools(book={"compensate": "cancel", "approval": {}}, cancel={"delivery": "atMostOnce"}),
    {"model": MODEL | {"fallbacks": [{"component": "spare"}, {"provider": "ollama", "name": "m", "timeout": "5m"}], "contextTokens": 8192}},
    {"model": MODEL | {"fallbacks": [{"component": "spare", "provider": None}]}},
    {"model": MODEL | {"fallbacks": None, "contextTokens": None}},
    {"output": {"schema": SCHEMA}},
    {"output": {"schema": {"type": "array", "items": {"enum": [1, 2]}}, "maxRepairs": 0}},
    {"evaluation": {"criteria": "Names a price.", "model": {"provider": "echo"}, "maxRounds": 1}},
    {"evaluation": {"criteria": "Names a price.", "model": None}},
    {"memory": {"maxMessages": 2, "compaction": "truncate"}},
    {"memory": {}},
    {"limits": {"maxTokens": 200_000, "maxToolCalls": 100, "maxRepeatedCalls": 3, "maxConcurrentRuns": 8, "onExceeded": "answer"}},
    {"limits": {"maxTokens": None, "maxToolCalls": None, "onExceeded": None}},
    {"retention": {"completed": "1h", "failed": "720h", "sessions": "87600h"}},
    {"retention": {"sessions": None}},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    (tool(http=HTTP, retries={"maxAttempts": 0}), "retries.maxAttempts"),
    (tool(http=HTTP, retries={"initial": "2s", "max": "1s"}), "initial must not be longer than max"),
    (tool(http=HTTP, retries={"initial": "2m"}), "initial must not be longer than max"),
    (tool(http=HTTP, retries={"max": "500ms"}), "initial must not be longer than max"),
    (tool(http=HTTP, rateLimit={}), "rateLimit.perMinute"),
    (tool(http=HTTP, rateLimit={"perMinute": 0}), "rateLimit.perMinute"),
    (tool(http=HTTP, delivery="exactlyOnce"), "Unsupported value"),
    (tool(http=HTTP, approval={"onTimeout": "wait"}), "Unsupported value"),
    (tool(http=HTTP, approval={"required": "yes"}), "approval.required"),
    (tool(http=HTTP, approval={"timeout": "25h"}), "tool t: approval.timeout of a tool must not be longer than limits.runTimeout"),
    (tool(http=HTTP, approval={"timeout": "2h"}) | {"limits": {"runTimeout": "1h"}}, "must not be longer than limits.runTimeout"),
    (tools(book={"compensate": "cancl"}, cancel={}), "tool book: compensate must name another tool"),
    (tools(book={"compensate": "book"}), "must name another tool"),
    (tools(book={"compensate": "cancel"}, cancel={"compensate": "note"}, note={}), "tool cancel: a tool that another one names"),
    (
        tools(book={"compensate": "cancel"}, cancel={"compensate": "book"}),
        "tool book: a tool that another one names in compensate must have no compensate",
    ),
    (
        tools(book={"compensate": "cancel"}, cancel={"approval": {}}),
        "tool cancel: a tool that another one names in compensate cannot ask for approval",
    ),
    (tools(book={"compensate": "cancel"}, cancel={"approval": {"required": True}}), "cannot ask for approval"),
    ({"model": MODEL | {"fallbacks": [{"component": "x", "provider": "echo"}]}}, "exactly one of provider"),
    ({"model": MODEL | {"fallbacks": [{}]}}, "exactly one of provider"),
    ({"model": MODEL | {"fallbacks": [MODEL | {"fallbacks": []}]}}, "unknown field"),
    ({"model": MODEL | {"fallbacks": [MODEL | {"timeout": "2h"}]}}, "give at most 1h"),
    ({"model": MODEL | {"contextTokens": 1023}}, "spec.model.contextTokens"),
    ({"output": {}}, "spec.output.schema"),
    ({"output": {"schema": "object"}}, "spec.output.schema"),
    ({"output": {"schema": SCHEMA, "maxRepairs": 11}}, "spec.output.maxRepairs"),
    ({"evaluation": {"maxRounds": 1}}, "spec.evaluation.criteria"),
    ({"evaluation": {"criteria": ""}}, "spec.evaluation.criteria"),
    ({"evaluation": {"criteria": "x", "maxRounds": 0}}, "spec.evaluation.maxRounds"),
    ({"evaluation": {"criteria": "x", "model": {"provider": "openai"}}}, "say which model"),
    ({"memory": {"maxMessages": 1}}, "spec.memory.maxMessages"),
    ({"memory": {"compaction": "forget"}}, "Unsupported value"),
    ({"limits": {"maxTokens": 0}}, "spec.limits.maxTokens"),
    ({"limits": {"maxToolCalls": 0}}, "spec.limits.maxToolCalls"),
    ({"limits": {"maxRepeatedCalls": 0}}, "spec.limits.maxRepeatedCalls"),
    ({"limits": {"maxConcurrentRuns": 0}}, "spec.limits.maxConcurrentRuns"),
    ({"limits": {"onExceeded": "stop"}}, "Unsupported value"),
    ({"retention": {"completed": "0s"}}, "at most 87600h"),
    ({"retention": {"failed": "87601h"}}, "at most 87600h"),
    ({"retention": {"sessions": "for ever"}}, "spec.retention.sessions"),
    ({"limits": {"runTimeout": "999999999h"}}, "spec.limits.runTimeout"),
]


@pytest.mark.parametrize("spec", TAKEN, ids=lambda spec: str(spec)[:80])
def test_a_good_spec_is_taken(submit, spec):
    assert submit(spec)


@pytest.mark.parametrize(("spec", "words"), REFUSED, ids=[str(spec)[:80] for spec, _ in REFUSED])
def test_a_mistake_is_refused_with_its_field_and_the_fix(submit, refused, spec, words):
    with refused(words):
        submit(spec)


@pytest.mark.parametrize("spec", TAKEN, ids=lambda spec: str(spec)[:80])
def test_python_takes_what_the_server_takes(spec):
    parse_agent({"metadata": {"name": "a"}, "spec": spec})


@pytest.mark.parametrize(("spec", "words"), REFUSED, ids=[str(spec)[:80] for spec, _ in REFUSED])
def test_python_refuses_what_the_server_refuses(spec, words):
    with pytest.raises(Refused, match="spec") as told:
        parse_agent({"metadata": {"name": "a"}, "spec": spec})

    if words.startswith("tool "):  # which one it is about is said by both
        assert words in told.value.message


def largest_tools(count: int) -> list[dict[str, Any]]:
    """Tools with the longest names, that are told apart at the end only, and every field that a rule looks at."""
    more = {"retries": {"initial": "1s", "max": "59s"}, "approval": {"timeout": "24h"}, "rateLimit": {"perMinute": 100_000}}
    undo = {"name": "u" * 64, "http": HTTP}
    return [undo, *({"name": f"{'t' * 61}{i:03}", "http": HTTP, "compensate": "u" * 64, **more} for i in range(count - 1))]


BOUNDS: list[tuple[str, Any, Any]] = [
    ("tools", largest_tools(64), largest_tools(65)),
    ("model.fallbacks", [MODEL] * 4, [MODEL] * 5),
    ("evaluation.criteria", "x" * 16384, "x" * 16385),
    ("limits.maxIterations", 10_000, 10_001),
    ("limits.maxToolCalls", 100_000, 100_001),
    ("limits.maxRepeatedCalls", 1000, 1001),
    ("limits.maxConcurrentRuns", 10_000, 10_001),
    ("limits.maxTokens", 10**12, 10**12 + 1),
    ("memory.maxMessages", 10_000, 10_001),
    ("retention.failed", "87600h", "87600h1ms"),
]


def with_field(spec: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    name, _, rest = path.partition(".")
    return spec | {name: with_field(spec.get(name, {}), rest, value) if rest else value}


@pytest.mark.parametrize(("field", "largest", "over"), BOUNDS, ids=[field for field, *_ in BOUNDS])
def test_the_largest_value_is_taken_and_one_more_is_refused(submit, refused, field, largest, over):
    base = {"model": MODEL}
    assert submit(with_field(base, field, largest))
    with refused(f"spec.{field}"):
        submit(with_field(base, field, over))


def test_the_largest_of_everything_at_once_stays_within_the_cost_budget(submit):
    spec: dict[str, Any] = {"model": MODEL, "output": {"schema": SCHEMA}}
    for field, largest, _ in BOUNDS:
        spec = with_field(spec, field, largest)

    assert submit(spec)
