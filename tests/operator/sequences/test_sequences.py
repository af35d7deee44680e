"""A drawn walk in each test run; `make test-sequences` walks through every field of the schema. On a real API server."""

import os
import random

import pytest
import yaml

from tests.operator.live import Api
from tests.operator.sequences.__main__ import CRD, go
from tests.operator.sequences.values import fits, leaves, placed, plausible, removed
from tests.operator.sequences.walk import schema_of

TRANSITIONS = 30
SCHEMA = schema_of(yaml.safe_load(CRD.read_text()))


def test_every_string_that_is_drawn_for_a_field_is_one_that_its_schema_allows() -> None:
    chance = random.Random(1)
    strings = [leaf for leaf in leaves(SCHEMA) if leaf.schema.get("type") == "string" and "pattern" in leaf.schema]

    wrong = {
        str(leaf): word for leaf in strings for _ in range(20) if not fits(leaf.schema, word := plausible(leaf.schema, chance, leaf.path))
    }

    assert len(strings) > 20
    assert wrong == {}


def test_a_value_is_put_where_it_belongs_with_what_is_required_beside_it() -> None:
    for leaf in leaves(SCHEMA):
        spec = placed({}, SCHEMA, leaf.path, plausible(leaf.schema, random.Random(2), leaf.path), random.Random(2))
        assert leaf.path[0] in spec
        assert removed(spec, leaf.path[:1]) == {}


@pytest.mark.apiserver
@pytest.mark.timeout(300)
async def test_whatever_an_agent_becomes_its_children_follow_and_what_cannot_be_is_said(api: Api) -> None:
    report, _ = await go(api, transitions=TRANSITIONS, seed=int(os.environ.get("SEQUENCES_SEED", "1")))

    assert report.problems == []
    assert report.outcomes.total() >= TRANSITIONS
