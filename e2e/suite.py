"""`make test`: every stage in order, from the cheapest to the dearest, and one summary at the end.

    checks      formatting, lint, types
    unit        pure functions and processes that need nothing else
    apiserver   a real kube-apiserver and etcd
    dapr        real Dapr processes, Redis, PostgreSQL and SQLite
    cluster     a real cluster with Dapr and Holdfast in it
    lifecycle   a cluster of its own, every part of which is killed; only when asked for

A stage first sets up what it needs (programs are built into the cache once). A failing stage does not hide the later ones. The cluster is
ended again when this run has started it, unless KEEP=1.

    python -m e2e.suite [STAGE...]
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster.places import places

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
NEEDS_SOMETHING = "apiserver or dapr or cluster or lifecycle"


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        prepare: commands that set up what it needs.
        commands: what is run when there is no `select`.
        select: pytest's `-m` expression.
        paths: where its tests are.
        workers: processes to run the tests in, each with servers of its own; they mostly wait, so more than there are cores.
    """

    prepare: tuple[tuple[str, ...], ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    select: str = ""
    paths: tuple[str, ...] = ("tests",)
    workers: int = 0


@dataclass
class Outcome:
    """What came of one stage."""

    passed: int = 0
    failed: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def _cluster(*verb: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "e2e.cluster", *verb)


def _tool(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(Path(PYTHON).with_name(name)), *arguments)


STAGES = {
    "checks": Stage(commands=(_tool("ruff", "format", "--check", "."), _tool("ruff", "check", "."), _tool("mypy"))),
    "unit": Stage(select=f"not ({NEEDS_SOMETHING})", workers=2),
    "apiserver": Stage(
        prepare=(_cluster("tools", "kubernetes"), _cluster("tools", "dapr"), _cluster("tools", "client")),
        select="apiserver and not cluster",
    ),
    "dapr": Stage(
        prepare=(_cluster("programs", "redis-server", "postgres"), _cluster("tools", "dapr")),
        select="dapr and not apiserver and not cluster",
        workers=3,
    ),
    "cluster": Stage(prepare=(_cluster("up"),), select="cluster", paths=("e2e",)),
    "lifecycle": Stage(prepare=(_cluster("tools", "cluster"),), select="lifecycle"),
}
EVERY_TIME = ("checks", "unit", "apiserver", "dapr", "cluster")


def main(names: list[str]) -> int:
    """Run the named stages, or those of every time; returns the exit code."""
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        print(f"no stage {', '.join(unknown)}; there are: {', '.join(STAGES)}")
        return 2
    chosen = names or list(EVERY_TIME)
    started_cluster = "cluster" in chosen and os.environ.get("CLUSTER") != "current" and not places().kubeconfig.exists()
    outcomes = {}
    try:
        for name in chosen:
            print(f"\n=== {name} ===", flush=True)
            outcomes[name] = run(name, STAGES[name])
    finally:
        if started_cluster and os.environ.get("KEEP") != "1":
            print("\n=== ending the cluster that this run started (KEEP=1 keeps it) ===", flush=True)
            subprocess.run(_cluster("down"), cwd=ROOT, check=False)
    return summarise(outcomes)


def run(name: str, stage: Stage) -> Outcome:
    """One stage: prepare, then commands or pytest."""
    outcome, started = Outcome(), time.monotonic()
    for command in stage.prepare:
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            outcome.failed += 1
            outcome.notes.append(f"not set up: {' '.join(command[1:])} failed; the reason is above")
            break
    else:
        for command in stage.commands:
            code = subprocess.run(command, cwd=ROOT, check=False).returncode
            outcome.passed, outcome.failed = outcome.passed + (code == 0), outcome.failed + (code != 0)
            if code:
                outcome.notes.append(f"{Path(command[0]).name} {' '.join(command[1:])} failed")
        if stage.select:
            _pytest(name, stage, outcome)
    outcome.seconds = time.monotonic() - started
    return outcome


def _pytest(name: str, stage: Stage, outcome: Outcome) -> None:
    report = places().state / "reports" / f"{name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    side_by_side = ("-n", str(stage.workers), "--dist", "loadfile") if stage.workers else ()
    command = (PYTHON, "-m", "pytest", "-q", "--durations=5", f"--junitxml={report}", *side_by_side, "-m", stage.select, *stage.paths)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if not report.exists():
        outcome.failed += 1
        outcome.notes.append(f"pytest ended with {code} before it could report")
        return
    suites = list(ET.parse(report).getroot().iter("testsuite"))
    total, broken, skipped = _sum(suites, "tests"), _sum(suites, "failures") + _sum(suites, "errors"), _sum(suites, "skipped")
    outcome.passed, outcome.failed = outcome.passed + total - broken - skipped, outcome.failed + broken
    if code and not broken:
        outcome.failed += 1
        outcome.notes.append("no test ran" if total == 0 else f"pytest ended with {code}")
    if skipped:
        outcome.failed += skipped
        outcome.notes.append(f"{skipped} skipped: a test that does not run proves nothing")


def _sum(suites: Iterable[ET.Element], attribute: str) -> int:
    return sum(int(suite.get(attribute, "0")) for suite in suites)


def summarise(outcomes: dict[str, Outcome]) -> int:
    """Print the table; returns 0 when nothing failed."""
    print(f"\n{'stage':<12}{'passed':>8}{'failed':>8}{'seconds':>10}")
    for name, one in outcomes.items():
        print(f"{name:<12}{one.passed:>8}{one.failed:>8}{one.seconds:>10.0f}")
        for note in one.notes:
            print(f"{'':<12}{note}")
    failed = sum(one.failed for one in outcomes.values())
    passed = sum(one.passed for one in outcomes.values())
    print(f"\n{passed} passed, {failed} failed")
    print(
        "next: make demo"
        if not failed
        else "next: run one stage again with `make test-STAGE`, or one test with .venv/bin/pytest PATH -k NAME"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
