"""docs/features.md names tests and examples that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS = [line for line in (ROOT / "docs/features.md").read_text().splitlines() if line.startswith("| ") and not line.startswith("| feature")]


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:60] for row in ROWS])
def test_a_feature_names_its_example_and_its_test(row):
    _, _, others, example, test, _ = row.split("|")
    assert re.fullmatch(r"—|[DKATR]( [DKATR])*", others.strip())
    for name in re.findall(r"`([^`]+)`", example):
        assert (ROOT / "examples" / name).exists()
    [named] = re.findall(r"`([^`]+)`", test)
    path, _, function = named.partition("::")
    assert re.search(rf"^(async )?def {function or 'test_'}", (ROOT / path).read_text(), re.MULTILINE)
