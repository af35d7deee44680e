"""Every fault, one after another: the operator beside a real API server, with a proxy between the two.

    python -m tests.operator.faults                                    all plans
    python -m tests.operator.faults --minutes 60                       as many as begin in an hour, of every kind
    python -m tests.operator.faults --only kill- --only 'EVENT '       those with one of these texts in them
    python -m tests.operator.faults --plan 'kill-during PATCH services/a 1'    one of them
    python -m tests.operator.faults --bugs                              are the oracles worth something? bugs in a copy of the operator
    python -m tests.operator.faults --bugs 'swallowed|requeue'          those with this pattern in their name

Ends with 1 if an end, a history or a stillness was not as in the undisturbed life.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from e2e.cluster.apiserver import ApiServer
from tests.operator.faults.campaign import carry_out, plans, sample, told
from tests.operator.faults.case import Life
from tests.operator.faults.mutants import MUTANTS, noticed
from tests.operator.faults.plan import Plan
from tests.operator.faults.summary import summary
from tests.operator.faults.workers import Outcome, live_all, spread
from tests.operator.live import Api, install_crds

BUG_SAMPLE = 10
ENOUGH = 0.95
_TELL = 25


def main() -> int:
    """Read the arguments, live, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="append", type=Plan.parse, default=[], help="this plan; may be given several times")
    parser.add_argument("--only", action="append", default=[], help="plans with this text in them; may be given several times")
    parser.add_argument("--sample", type=int, help="so many of the quick ones, drawn with --seed")
    parser.add_argument("--seed", type=int, default=1, help="of the sample, and of the order")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="after these no further plan is begun; what is left out is told"
    )
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 2), help="processes, each with an API server of its own")
    parser.add_argument("--at-once", type=int, default=8, help="lives side by side in each process")
    parser.add_argument(
        "--bugs", nargs="?", const="", metavar="PATTERN", help="live with one bug after another, those with this pattern in their name"
    )
    parser.add_argument("--list", action="store_true", help="only print the plans")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="holdfast-faults-"))
    with ApiServer() as server:
        api = Api(server)
        install_crds(api)
        reference = next(carry_out(api, folder, [None], at_once=1))
        if reference.problems:
            print("the undisturbed life is not in order:", *reference.problems, f"log: {reference.log}", sep="\n  ")
            return 1
        writes = sum(call.changed for call in reference.calls)
        print(f"undisturbed: {len(reference.calls)} requests, {writes} effective writes, {reference.seconds:.1f} s", flush=True)
        if options.bugs is not None:
            return _bugs(api, folder, reference, options)
    chosen = _chosen(reference, options)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    return _live(chosen, reference, folder, options)


def _bugs(api: Api, folder: Path, reference: Life, options: argparse.Namespace) -> int:
    """Live with bugs, and print a verdict on each; 1 when too few were noticed."""
    chosen = [mutant for mutant in MUTANTS if re.search(options.bugs, mutant.name)]
    if not chosen:
        print(f"no bug has {options.bugs!r} in its name; there are:", *(mutant.name for mutant in MUTANTS), sep="\n  ")
        return 1
    known, began = {str(plan) for plan in plans(reference)}, time.monotonic()
    if stale := [f"{mutant.name}: {plan}" for mutant in chosen for plan in mutant.plans if str(Plan.parse(plan)) not in known]:
        print("these plans strike nothing in the undisturbed life, so they would show nothing:", *stale, sep="\n  ")
        return 1
    unnoticed = {mutant.name for mutant in chosen}
    drawn = sample(plans(reference), options.sample or BUG_SAMPLE, options.seed)
    for name, life, problem in noticed(api, folder, chosen, drawn=drawn, reference=reference, at_once=options.at_once):
        unnoticed.discard(name)
        head = f"{len(chosen) - len(unnoticed)} of {len(chosen)} after {time.monotonic() - began:.0f} s"
        print(f"{head}: {name}: {life.plan or 'undisturbed'}: {problem[:200]}", flush=True)
    share = 1 - len(unnoticed) / len(chosen)
    minutes = (time.monotonic() - began) / 60
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} bugs were noticed ({share:.0%}) in {minutes:.0f} min (seed {options.seed})")
    for name in sorted(unnoticed):
        print(f"nobody noticed: {name}")
    return 1 if share < ENOUGH else 0


def _chosen(reference: Life, options: argparse.Namespace) -> list[Plan]:
    if options.plan:
        return list(options.plan)
    chosen = [plan for plan in plans(reference) if not options.only or any(text in str(plan) for text in options.only)]
    if options.sample:
        chosen = sample(chosen, options.sample, options.seed)
    return spread(chosen, options.seed)


def _live(chosen: list[Plan], reference: Life, folder: Path, options: argparse.Namespace) -> int:
    began, found = time.monotonic(), list[Outcome]()
    workers = max(min(options.workers, len(chosen)), 1)
    lives = live_all(chosen, reference, folder, workers=workers, at_once=options.at_once, until=time.time() + options.minutes * 60)
    for outcome in lives:
        found.append(outcome)
        if outcome.problems:
            print(told(outcome.plan, outcome.problems, outcome.log), flush=True)
        if len(found) % _TELL == 0:
            failed = sum(bool(one.problems) for one in found)
            print(f"{len(found)} of {len(chosen)} after {time.monotonic() - began:.0f} s, {failed} failed", flush=True)
    print(*summary(chosen, found, seed=options.seed, seconds=time.monotonic() - began), f"logs are in {folder}", sep="\n")
    return 1 if any(outcome.problems for outcome in found) else 0


if __name__ == "__main__":
    sys.exit(main())
