"""What the documentation says of conditions and metrics is what the code has."""

import re
from pathlib import Path

from holdfast_api import conditions
from holdfast_operator.dapr import POLL_SECONDS
from holdfast_operator.settings import Settings
from tests.operator.promql import known, unknown

DOCS = Path(__file__).resolve().parents[2] / "docs"
TYPES = {conditions.READY, *conditions.SUMMARISED, conditions.RECONCILING, conditions.STALLED}
REASONS = {value for value in vars(conditions).values() if isinstance(value, str) and re.fullmatch(r"[A-Z][A-Za-z]+", value)} - TYPES
_OF_A_SAMPLE = re.compile(r"_(bucket|sum|count|created)$")


def table(page: str, heading: str) -> list[list[str]]:
    """Rows of the first table under a heading: cells."""
    section = (DOCS / page).read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.removeprefix("|").removesuffix("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_reason_is_documented_and_none_that_does_not_exist() -> None:
    rows = table("conditions.md", "Reasons")

    assert set().union(*(words(row[0]) for row in rows)) == REASONS
    assert all(row[1] in {"all", "any"} or words(row[1]) <= TYPES for row in rows)
    assert all(len(row) == 4 and row[2] for row in rows)


def test_every_metric_is_documented_with_its_labels_and_none_that_does_not_exist() -> None:
    rows = {name: words(row[1]) for row in table("operator.md", "Metrics") for name in words(row[0])}
    has = {}
    for name, labels in known().items():
        has.setdefault(_OF_A_SAMPLE.sub("", name), set()).update(labels - {"job", "instance", "pod", "namespace", "le"})

    assert {name for name in rows if name.startswith("holdfast_")} == {name for name in has if name.startswith("holdfast_")}
    assert set(rows) <= set(has)
    for name, labels in rows.items():
        assert labels - {"True", "False", "Unknown"} == has[name], name


def test_every_question_in_the_documentation_asks_for_metrics_that_exist() -> None:
    (block,) = re.findall(r"```promql\n(.*?)```", (DOCS / "operator.md").read_text(), re.DOTALL)
    questions = [line.split(" #")[0] for line in block.splitlines()]

    assert len(questions) >= 8
    assert {question: unknown(question) for question in questions if unknown(question)} == {}


def test_times_in_the_documentation_are_those_of_the_code() -> None:
    text = (DOCS / "operator.md").read_text()

    assert (POLL_SECONDS, "every three seconds" in text) == (3.0, True)
    assert (Settings().lease_seconds, "(10 seconds)" in text) == (10.0, True)
