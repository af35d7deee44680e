"""What people read about a field is what it takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast_api.durations import DURATION_PATTERN

ROOT = Path(__file__).parents[2]


def durations(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if node.get("pattern") == DURATION_PATTERN:
            yield path, node
        for name, child in node.items():
            yield from durations(child, f"{path}.{name}")
    elif isinstance(node, list):
        for child in node:
            yield from durations(child, path)


@pytest.mark.parametrize("file", ["crds/agents.holdfast.dev.yaml", "crds/agent.schema.json"])
def test_every_duration_says_that_it_is_one_and_how_it_is_written(file: str) -> None:
    found = list(durations(yaml.safe_load((ROOT / file).read_text())))
    assert found
    assert [path for path, node in found if "A duration, such as 90s or 24h." not in node["description"]] == []


def test_the_reference_calls_a_duration_a_duration() -> None:
    rows = [line for line in (ROOT / "docs/reference.md").read_text().splitlines() if "A duration, such as" in line]
    assert rows
    assert all(row.split("|")[2].strip() == "duration" for row in rows)
