"""A drawn handful of faults in each test run; `make test-faults` has them all. On a real API server, with the operator as a process."""

import os
from pathlib import Path

import pytest

from tests.operator.faults.campaign import carry_out, judge, plans, sample, told
from tests.operator.faults.case import Life
from tests.operator.faults.mutants import MUTANTS, changed
from tests.operator.faults.plan import Plan
from tests.operator.faults.summary import summary
from tests.operator.faults.workers import Outcome, spread
from tests.operator.live import Api

COUNT = 10
AT_ONCE = 10
SECONDS = 90.0


def test_a_plan_reads_what_it_prints() -> None:
    for plan in (
        Plan("kill-during", "PATCH", "deployments/a", 2),
        Plan("gone", "EVENT", "services/DELETED"),
        Plan("410", "WATCH", "agents"),
    ):
        assert Plan.parse(str(plan)) == plan


@pytest.mark.parametrize("text", ["", "kill-during PATCH", "drop PATCH services/a 1", "kill-before EVENT services/ADDED"])
def test_a_plan_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="plan"):
        Plan.parse(text)


def test_when_time_is_short_every_kind_has_had_its_turn_and_what_was_left_out_is_told() -> None:
    every = [Plan("409", "PATCH", f"services/{number}") for number in range(9)] + [Plan("drop", "EVENT", "services/ADDED")]

    chosen = spread(every, seed=1)

    assert {plan.action for plan in chosen[:2]} == {"409", "drop"}
    assert sorted(map(str, chosen)) == sorted(map(str, every))
    assert spread(every, seed=2) != chosen == spread(every, seed=1)
    lived = [Outcome(chosen[0], [], fired=True, seconds=3.0, log=None), Outcome(chosen[1], ["x"], fired=True, seconds=9.0, log=None)]
    told = "\n".join(summary(chosen, lived, seed=1, seconds=60.0))
    assert "2 of 10 plans lived through in 1 min (seed 1): 1 passed, 1 failed, 0 never came to their fault, 8 left out" in told
    assert "| `409 PATCH` | 9 | 1 |" in told
    assert told.count(f"  {chosen[9]}") == 1


def test_an_oracle_tells_of_another_end_and_of_another_history() -> None:
    reference, life = Life(None, end={"Service/a": "x", "Secret/a": "x"}), Life(None, end={"Service/a": "y"})
    reference.history["made services/a"] = 1
    life.history.update({"made services/a": 2, "deleted services/a": 1})

    assert len(judge(life, reference)) == 4
    assert judge(reference, reference) == []


def test_every_bug_can_be_put_into_the_operator_as_it_is(tmp_path: Path) -> None:
    for number, mutant in enumerate(MUTANTS):
        folder = changed(mutant, tmp_path / str(number))
        assert compile((folder / "holdfast_operator" / mutant.file).read_text(), mutant.file, "exec"), mutant.name


@pytest.mark.apiserver
@pytest.mark.timeout(300)
def test_whatever_fails_the_end_and_the_history_are_the_same(api: Api, tmp_path: Path) -> None:
    seed = int(os.environ.get("FAULTS_SEED", "1"))
    reference = next(carry_out(api, tmp_path, [None], at_once=1, seconds=SECONDS))
    assert reference.problems == []
    chosen = sample(plans(reference), COUNT, seed)

    lives = [(life, judge(life, reference)) for life in carry_out(api, tmp_path, chosen, at_once=AT_ONCE, seconds=SECONDS)]

    failures = [told(life.plan, problems, life.log) for life, problems in lives if problems]
    assert not failures, "\n".join(failures)
    assert sum(life.fired for life, _ in lives) >= COUNT - 2
