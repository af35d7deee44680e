"""What a campaign has shown, in lines that can be put into a page as they are."""

import statistics
from collections import Counter
from collections.abc import Sequence

from tests.operator.faults.plan import Plan
from tests.operator.faults.workers import Outcome, kind_of


def summary(chosen: Sequence[Plan], found: Sequence[Outcome], *, seed: int, seconds: float) -> list[str]:
    """A table of the kinds, the durations, and everything that was left out or failed, by name."""
    lived = {outcome.plan for outcome in found}
    left = [plan for plan in chosen if plan not in lived]
    verdicts = Counter(_verdict(outcome) for outcome in found)
    head = (
        f"{len(found)} of {len(chosen)} plans lived through in {seconds / 60:.0f} min (seed {seed}): "
        f"{verdicts['passed']} passed, {verdicts['failed']} failed, {verdicts['never met']} never came to their fault, {len(left)} left out"
    )
    return [
        head,
        *_durations(found),
        "",
        "| kind | plans | lived | passed | failed | never met |",
        "|---|---|---|---|---|---|",
        *_rows(chosen, found),
        "",
        *_listed("failed", [outcome.plan for outcome in found if outcome.problems]),
        *_listed("never came to their fault", [outcome.plan for outcome in found if _verdict(outcome) == "never met"]),
        *_listed("left out", left),
    ]


def _verdict(outcome: Outcome) -> str:
    return "failed" if outcome.problems else "passed" if outcome.fired else "never met"


def _durations(found: Sequence[Outcome]) -> list[str]:
    if not found:
        return []
    seconds = sorted(outcome.seconds for outcome in found)
    slowest = max(found, key=lambda outcome: outcome.seconds)
    late = seconds[int(len(seconds) * 0.95)]
    return [f"a life took {statistics.median(seconds):.0f} s (median), {late:.0f} s (p95), at most {seconds[-1]:.0f} s: {slowest.plan}"]


def _rows(chosen: Sequence[Plan], found: Sequence[Outcome]) -> list[str]:
    planned = Counter(kind_of(plan) for plan in chosen)
    lived = Counter(kind_of(outcome.plan) for outcome in found)
    ended = Counter((kind_of(outcome.plan), _verdict(outcome)) for outcome in found)
    return [
        f"| `{kind}` | {planned[kind]} | {lived[kind]} | {ended[kind, 'passed']} | {ended[kind, 'failed']} | {ended[kind, 'never met']} |"
        for kind in sorted(planned)
    ]


def _listed(what: str, plans: Sequence[Plan]) -> list[str]:
    return [f"{what}:", *(f"  {plan}" for plan in sorted(plans, key=str))] if plans else []
