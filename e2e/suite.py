"""`make test`: every stage in order, from the cheapest to the dearest, and one summary at the end.

    checks      formatting, lint, types
    unit        pure functions and processes that need nothing else
    apiserver   a real kube-apiserver and etcd
    dapr        real Dapr processes, Redis, PostgreSQL and SQLite
    cluster     a real cluster with Dapr and Holdfast in it
    lifecycle   a cluster of its own, every part of which is killed; only when asked for
    kills       many random kills in a cluster under runs that never pause (KILLS=24 SEED=1); only when asked for

A stage first sets up what it needs (programs are built into the cache once). A failing stage does not hide the later ones. The cluster is
ended again when this run has started it, unless KEEP=1.

Stages of real processes kill them on purpose and meet the races of Dapr, Redis and the machine. There up to `FEW` failures are asked once
more, each alone. One that then passes does not fail the run and is named in the summary as flaky: it is a defect to be found, of the
product or of the test.

    python -m e2e.suite [STAGE...]
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field, replace
from pathlib import Path

from e2e.cluster.places import places

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
FEW = 4
NEEDS_SOMETHING = "apiserver or dapr or cluster or lifecycle or kills"


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        prepare: commands that set up what it needs.
        commands: what is run when there is no `select`.
        select: pytest's `-m` expression.
        paths: where its tests are.
        workers: processes to run the tests in, each with servers of its own; they mostly wait, so more than there are cores.
        again: whether few failures are asked once more.
        live: whether what its tests print is shown while they run: minutes are long without a word.
        bare: whether it is kept from the programs in the cache, so that what needs one fails here as it would on a fresh machine.
    """

    prepare: tuple[tuple[str, ...], ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    select: str = ""
    paths: tuple[str, ...] = ("tests",)
    workers: int = 0
    again: bool = False
    live: bool = False
    bare: bool = False


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
    "unit": Stage(select=f"not ({NEEDS_SOMETHING})", workers=2, bare=True),
    "apiserver": Stage(
        prepare=(_cluster("tools", "kubernetes"), _cluster("tools", "dapr"), _cluster("tools", "client")),
        select="apiserver and not cluster",
        again=True,
    ),
    "dapr": Stage(
        prepare=(_cluster("programs", "redis-server", "postgres"), _cluster("tools", "dapr", "collector")),
        select="dapr and not apiserver and not cluster",
        workers=3,
        again=True,
    ),
    "cluster": Stage(prepare=(_cluster("up"),), select="cluster", paths=("e2e",), again=True),
    "lifecycle": Stage(prepare=(_cluster("tools", "cluster"),), select="lifecycle"),
    "kills": Stage(prepare=(_cluster("up"),), select="kills", paths=("e2e",), live=True),
}
EVERY_TIME = ("checks", "unit", "apiserver", "dapr", "cluster")


def main(names: list[str]) -> int:
    """Run the named stages, or those of every time; returns the exit code."""
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        print(f"no stage {', '.join(unknown)}; there are: {', '.join(STAGES)}")
        return 2
    chosen = names or list(EVERY_TIME)
    begins_one = any(_cluster("up") in STAGES[name].prepare for name in chosen)
    started_cluster = begins_one and os.environ.get("CLUSTER") != "current" and not places().kubeconfig.exists()
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
    side_by_side = ("-n", str(stage.workers), "--dist", "loadfile") if stage.workers else ()
    first = _report(name, stage, *side_by_side)
    if stage.again and first and 0 < len(first.broken) <= FEW:
        print(f"\nonce more, alone: {', '.join(first.broken)}", flush=True)
        second = _report(f"{name}-again", stage, "--last-failed", "--last-failed-no-failures=none")
        first = first.after(second) if second else first
    if first is None:
        outcome.failed += 1
        outcome.notes.append("pytest ended before it could report")
        return
    outcome.passed, outcome.failed = outcome.passed + first.passed, outcome.failed + len(first.broken) + first.skipped
    outcome.notes += [f"flaky, passed when it was run alone: {test}" for test in first.flaky]
    if first.code and not first.broken:
        outcome.failed += 1
        outcome.notes.append("no test ran" if first.passed == 0 else f"pytest ended with {first.code}")
    if first.skipped:
        outcome.notes.append(f"{first.skipped} skipped: a test that does not run proves nothing")


@dataclass(frozen=True)
class Report:
    """What pytest says of one session: names of tests are `module::test`."""

    code: int
    passed: int
    skipped: int
    broken: tuple[str, ...]
    flaky: tuple[str, ...] = ()

    @classmethod
    def read(cls, code: int, path: Path) -> "Report":
        """From JUnit's XML."""
        cases = list(ET.parse(path).getroot().iter("testcase"))
        broken = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
        skipped = [case for case in cases if case.find("skipped") is not None]
        names = dict.fromkeys(f"{case.get('classname')}::{case.get('name')}" for case in broken)
        return cls(code, len(cases) - len(broken) - len(skipped), len(skipped), tuple(names))

    def after(self, second: "Report") -> "Report":
        """This, once what had failed was asked once more. A test that was not asked stays as it was."""
        if second.passed + len(second.broken) != len(self.broken):
            return self
        flaky = tuple(test for test in self.broken if test not in second.broken)
        return replace(self, code=second.code, passed=self.passed + len(flaky), broken=second.broken, flaky=flaky)


def _report(name: str, stage: Stage, *options: str) -> Report | None:
    path = places().state / "reports" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    shown = ("--capture=no",) if stage.live else ()
    command = (PYTHON, "-m", "pytest", "-q", "--durations=5", f"--junitxml={path}", *shown, *options, "-m", stage.select, *stage.paths)
    environ = os.environ | ({"HOLDFAST_CACHE": str(path.parent / "no-cache")} if stage.bare else {})
    code = subprocess.run(command, cwd=ROOT, check=False, env=environ).returncode
    return Report.read(code, path) if path.exists() else None


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
