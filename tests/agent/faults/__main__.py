"""The long version: thousands of turns while something is killed every 5 to 40 seconds.

    python -m tests.agent.faults --turns 5000 --minutes 120 --seed 1

The same seed makes the same runs and the same plan of kills. Ends with a verdict, and with 1 if there was a problem.
"""

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.agent.faults.house import house
from tests.agent.faults.killer import Soak, strokes
from tests.agent.faults.world import World

REPORT_SECONDS = 30.0


def main() -> int:
    """Read the arguments, soak, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5000, help="model turns to have, at least")
    parser.add_argument("--minutes", type=float, default=120.0, help="begin no more runs after that")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the runs and the kills")
    parser.add_argument("--at-once", type=int, default=8, help="runs side by side")
    parser.add_argument("--longest", type=int, default=45, help="turns of the longest run")
    parser.add_argument("--least", type=float, default=5.0, help="seconds between kills, at least")
    parser.add_argument("--most", type=float, default=40.0, help="seconds between kills, at most")
    options = parser.parse_args()
    told = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in vars(options).items())
    print(f"to do the same again: python -m tests.agent.faults {told}", flush=True)
    print("the first kills:", *itertools.islice(strokes(options.seed, least=options.least, most=options.most), 5), sep="\n  ", flush=True)
    return asyncio.run(_soak(options))


async def _soak(options: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-soak-"))
    world = World(model_latency=0.2, tool_latency=0.1)
    async with house(folder, world) as here:
        soak = Soak(
            here,
            seed=options.seed,
            turns=options.turns,
            seconds=60 * options.minutes,
            at_once=options.at_once,
            longest=options.longest,
            least=options.least,
            most=options.most,
        )
        telling = asyncio.create_task(_tell(soak))
        try:
            verdict = await soak.carry_out()
        except* AssertionError as group:
            print(*group.exceptions, sep="\n")
            verdict = soak.verdict()
        telling.cancel()
    took = time.monotonic() - soak.began
    print(f"after {took / 60:.1f} minutes: {verdict}")
    if verdict.problems:
        print("all kills:", *soak.struck, sep="\n  ")
    print(f"logs are in {folder}")
    return 1 if verdict.problems else 0


async def _tell(soak: Soak) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        ended, calls = len(soak.views), soak.house.world.calls
        turns = len({(call.run, call.turn) for call in calls if call.kind == "model"})
        minutes = (time.monotonic() - soak.began) / 60
        print(f"{minutes:5.1f} min: {turns} turns, {ended} runs ended, {len(soak.house.kills)} kills, {len(calls)} calls", flush=True)


if __name__ == "__main__":
    sys.exit(main())
