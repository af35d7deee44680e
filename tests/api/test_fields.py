"""What the API server, and Python like it, take and refuse of the fields in `event_fields` and `model_fields`."""

import pytest

from holdfast_api.manifest import parse_agent
from holdfast_api.resolve import Refused
from tests.api import event_fields, model_fields
from tests.api.model_fields import HTTP, OPENAI

pytestmark = pytest.mark.apiserver
TAKEN = event_fields.TAKEN + model_fields.TAKEN
REFUSED = event_fields.REFUSED + model_fields.REFUSED


@pytest.mark.parametrize("spec", TAKEN, ids=str)
def test_what_makes_sense_is_taken(submit, spec):
    assert submit(spec)
    parse_agent({"metadata": {"name": "a"}, "spec": spec})


@pytest.mark.parametrize(("spec", "words"), REFUSED, ids=[f"{spec}"[:90] for spec, _ in REFUSED])
def test_a_mistake_is_refused_by_the_server_and_by_python(submit, refused, spec, words):
    with refused(words):
        submit(spec)
    with pytest.raises(Refused, match="spec"):
        parse_agent({"metadata": {"name": "a"}, "spec": spec})


def test_the_longest_lists_are_taken_together_and_one_more_is_refused(submit, refused):
    trigger = {"task": "x" * 1000, "schedule": {"cron": "0,1,2,3,4,5 " * 1 + "1-2,3-4 1,2,3 jan,feb mon,tue", "timeZone": "Europe/Zagreb"}}
    most = {
        "triggers": [trigger | {"name": f"t{i}"} for i in range(32)],
        "access": {"callers": [f"caller-{i}" for i in range(64)]},
        "capabilities": ["x" * 1024] * 32,
        "pubsub": {"topic": "t" * 249},
    }

    assert submit(most)
    for field, more in (
        ("triggers", [*most["triggers"], trigger | {"name": "more"}]),
        ("access", {"callers": [*most["access"]["callers"], "more"]}),
        ("capabilities", [*most["capabilities"], "more"]),
        ("pubsub", {"topic": "t" * 250}),
    ):
        with refused(f"spec.{field}"):
            submit(most | {field: more})


def test_the_longest_lists_of_tools_and_routes_stay_within_the_cost_budget(submit):
    most = [{"name": f"tool{i}", "mcp": {"url": "http://x", "allow": [f"{'n' * 120}{j}" for j in range(16)]}} for i in range(64)]
    routes = [{"tools": [f"tool{i}__{'n' * 180}" for i in range(64)], "model": OPENAI} for _ in range(8)]
    undone = [{"name": f"u{i}", "http": HTTP, "compensate": "tool9__x"} for i in range(9, 64)] + most[:9] + [most[9]]

    assert submit({"tools": most, "model": OPENAI | {"routes": routes, "fallbacks": [OPENAI] * 4}})
    assert submit({"tools": [*undone[:63], most[9]]})
