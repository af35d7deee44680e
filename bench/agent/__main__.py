"""How fast and how cheap the agent is, beside dapr-agents 1.0.9 and beside the smallest worker that Dapr allows, in the same run.

    python -m bench.agent [--profile quick|full] [--only NAME ...] [--out FILE]

Contenders take turns, in an order that rotates with each repetition; each time with a fresh store and sidecar. Prints a table and writes
all figures as JSON. Ratios are of medians over the repetitions. See docs/benchmarks.md for what is compared and what is not.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.agent.contenders import OURS, Contender, contenders, import_seconds, library_python
from bench.agent.drive import Driver, Load
from bench.agent.report import table
from bench.agent.stack import FSYNC, stack
from e2e.cluster.places import places

QUICK = [Load(20, 1), Load(64, 8), Load(96, 32), Load(32, 32, latency=1.0), Load(24, 8, turns=5)]
FULL = [
    Load(tasks, at_once, latency=latency, turns=turns)
    for latency, turns, sizes in ((0.0, 1, (40, 200, 320)), (0.0, 5, (15, 64, 96)), (1.0, 1, (4, 16, 64)), (1.0, 5, (1, 8, 32)))
    for at_once, tasks in zip((1, 8, 32), sizes, strict=True)
]
PROFILES = {"quick": (QUICK, 1), "full": (FULL, 5)}
GROWTH_TURNS = {"quick": 100, "full": 199}
Figures = dict[str, Any]


def main() -> int:
    """Read the arguments, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="quick", help="quick: minutes; full: about an hour and a half")
    parser.add_argument("--only", nargs="*", help="contenders to measure; all when left out")
    parser.add_argument("--repeat", type=int, help="repetitions; the profile's when left out")
    parser.add_argument("--out", type=Path, default=places().state / "reports" / "bench-agent.json", help="where the figures go")
    options = parser.parse_args()
    everybody = contenders(library_python(places().state / "bench" / "dapr-agents"))
    unknown = set(options.only or ()) - {one.name for one in everybody}
    if unknown:
        print(f"no contender {', '.join(sorted(unknown))}; there are: {', '.join(one.name for one in everybody)}")
        return 2
    chosen = [one for one in everybody if not options.only or one.name in options.only]
    found = asyncio.run(_all(chosen, options.profile, options.repeat or PROFILES[options.profile][1]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1))
    print(table(found))
    print(f"all figures: {options.out}")
    return 0


async def _all(chosen: list[Contender], profile: str, repeat: int) -> Figures:
    loads = PROFILES[profile][0]
    found: Figures = {"profile": profile, "cores": os.cpu_count(), "contenders": {one.name: [] for one in chosen}}
    for repetition in range(repeat):
        turned = repetition % len(chosen)
        for one in chosen[turned:] + chosen[:turned]:
            _say(f"{one.name}, {repetition + 1} of {repeat}")
            found["contenders"][one.name].append(await _one(one, loads, FSYNC[0], growth=GROWTH_TURNS[profile]))
        for one in chosen:
            if one.name in (OURS, "floor-async", "dapr-agents-lean"):
                _say(f"{one.name} with fsync {FSYNC[1]}")
                figures = await _one(one, [load for load in loads if load.name == Load(1, 8).name], FSYNC[1])
                found.setdefault("fsync", {}).setdefault(one.name, []).append(figures)
    return found


async def _one(contender: Contender, loads: list[Load], fsync: str, *, growth: int | None = None) -> Figures:
    """Everything about one contender with a store and a sidecar of its own."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    try:
        figures: Figures = {"fsync": fsync, "import_s": round(import_seconds(contender), 3)}
        async with stack(contender, folder / contender.name, fsync=fsync) as made:
            driver = Driver(made)
            figures |= {"ready_s": round(made.ready_seconds, 3), "rss_idle_mib": round(made.rss(), 1), "loads": {}}
            for load in loads:
                figures["loads"][load.name] = await driver.measure(load)
            if growth and contender.name in (OURS, "floor-async", "dapr-agents-lean"):
                figures["growth"] = await driver.growth(growth)
            if growth and contender.name == OURS:
                figures["history_bytes"] = await driver.history()
            figures["rss_end_mib"] = round(made.rss(), 1)
            await driver.close()
        return figures
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(text: str) -> None:
    print(f"[load {os.getloadavg()[0]:.1f}] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
