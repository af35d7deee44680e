"""Every fault, one after another: the operator beside a real API server, with a proxy between the two.

    python -m tests.operator.faults                                    all plans
    python -m tests.operator.faults --only kill- --only 'EVENT '       those with one of these texts in them
    python -m tests.operator.faults --plan 'kill-during PATCH services/a 1'    one of them
    python -m tests.operator.faults --bugs                              are the oracles worth something? bugs in a copy of the operator

Ends with 1 if an end, a history or a stillness was not as in the undisturbed life.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from e2e.cluster.apiserver import ApiServer
from tests.operator.faults.campaign import carry_out, judge, plans, sample, told
from tests.operator.faults.case import Life
from tests.operator.faults.mutants import MUTANTS, noticed
from tests.operator.faults.plan import Plan
from tests.operator.live import Api, install_crds

BUG_SAMPLE = 10
ENOUGH = 0.95


def main() -> int:
    """Read the arguments, live, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="append", type=Plan.parse, default=[], help="this plan; may be given several times")
    parser.add_argument("--only", action="append", default=[], help="plans with this text in them; may be given several times")
    parser.add_argument("--sample", type=int, help="so many of the quick ones, drawn with --seed")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--at-once", type=int, default=8, help="lives side by side")
    parser.add_argument(
        "--bugs", nargs="?", const="", metavar="TEXT", help="live with one bug after another, those with this text in their name"
    )
    parser.add_argument("--list", action="store_true", help="only print the plans")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="holdfast-faults-"))
    with ApiServer() as server:
        api = Api(server)
        install_crds(api)
        return _campaign(api, folder, options)


def _campaign(api: Api, folder: Path, options: argparse.Namespace) -> int:
    reference = next(carry_out(api, folder, [None], at_once=1))
    if reference.problems:
        print("the undisturbed life is not in order:", *reference.problems, f"log: {reference.log}", sep="\n  ")
        return 1
    writes = sum(call.changed for call in reference.calls)
    print(f"undisturbed: {len(reference.calls)} requests, {writes} effective writes, {reference.seconds:.1f} s", flush=True)
    if options.bugs is not None:
        return _bugs(api, folder, reference, options)
    chosen = options.plan or plans(reference)
    if options.only:
        chosen = [plan for plan in chosen if any(text in str(plan) for text in options.only)]
    if options.sample:
        chosen = sample(chosen, options.sample, options.seed)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    return _verdict(list(_lives(api, folder, chosen, reference, options.at_once)), folder)


def _bugs(api: Api, folder: Path, reference: Life, options: argparse.Namespace) -> int:
    chosen = [mutant for mutant in MUTANTS if re.search(options.bugs, mutant.name)]
    drawn, count = sample(plans(reference), options.sample or BUG_SAMPLE, options.seed), 0
    for line in noticed(api, folder, chosen, drawn=drawn, reference=reference, at_once=options.at_once):
        print(line, flush=True)
        count += 1
    print(f"{count} of {len(chosen)} bugs were noticed")
    return 1 if count < ENOUGH * len(chosen) else 0


def _lives(api: Api, folder: Path, chosen: list[Plan], reference: Life, at_once: int) -> "list[tuple[Life, list[str]]]":
    found, began = [], time.monotonic()
    for number, life in enumerate(carry_out(api, folder, chosen, at_once=at_once), 1):
        problems = judge(life, reference)
        found.append((life, problems))
        if problems:
            print(told(life, problems), flush=True)
        if number % 50 == 0:
            print(f"{number} of {len(chosen)} after {time.monotonic() - began:.0f} s", flush=True)
    return found


def _verdict(lives: list[tuple[Life, list[str]]], folder: Path) -> int:
    kinds: Counter[str] = Counter()
    for life, problems in lives:
        kinds["failed" if problems else "passed" if life.fired else "never came to their fault"] += 1
    print(", ".join(f"{count} {what}" for what, count in kinds.items()), f"of {len(lives)} plans; logs are in {folder}")
    never = [str(life.plan) for life, problems in lives if not life.fired and not problems]
    if never:
        print("never came to their fault:", *never, sep="\n  ")
    return 1 if kinds["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
