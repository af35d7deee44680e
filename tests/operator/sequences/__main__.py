"""Random walks of an Agent's spec, for long: `python -m tests.operator.sequences --transitions 2000 --seed 1`.

Ends with 1 when a step was not as it should be, or a leaf of the schema was never tried.
"""

import argparse
import asyncio
import sys
import time
import uuid

import yaml

from e2e.cluster.apiserver import ApiServer
from holdfast_operator import kinds
from holdfast_operator.cluster import Cluster
from tests.operator.faults.kept import KeptApi
from tests.operator.live import ROOT, Api, World, credentials, install_crds
from tests.operator.sequences.walk import Report, Walker, schema_of

NAMESPACE = kinds.Kind("", "v1", "namespaces", "Namespace")
STEPS = 25
CRD = ROOT / "crds" / "agents.holdfast.dev.yaml"


def main() -> int:
    """Read the arguments, walk, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with ApiServer() as server:
        api = Api(server)
        install_crds(api)
        report, missing = asyncio.run(go(api, transitions=options.transitions, seed=options.seed, tell=True))
    print(*summary(report, missing, seed=options.seed, seconds=time.monotonic() - began), sep="\n")
    return 1 if report.problems or missing else 0


def summary(report: Report, missing: int, *, seed: int, seconds: float) -> list[str]:
    """What the walks have shown, in lines that can be put into a page as they are."""
    total, problems = report.outcomes.total(), len(report.problems)
    taken = sum(bool(ended["taken"]) for ended in report.leaves.values())
    never = sorted(leaf for leaf, ended in report.leaves.items() if not ended["taken"])
    idle = sorted(leaf for leaf, ended in report.leaves.items() if ended["taken"] and not report.effects[leaf])
    return [
        f"{total} transitions in {seconds / 60:.0f} min (seed {seed}), {seconds / max(total, 1):.2f} s each: {problems} problems",
        "",
        "| ended as | transitions |",
        "|---|---|",
        *(f"| {what} | {count} |" for what, count in report.outcomes.most_common()),
        "",
        f"{len(report.leaves)} leaves tried, {taken} with a value that was carried out, {missing} never tried",
        f"never carried out: {', '.join(never) or 'none'}",
        f"never changed a child: {', '.join(idle) or 'none'}",
    ]


async def go(api: Api, *, transitions: int, seed: int, tell: bool = False) -> tuple[Report, int]:
    """Walk; what came of it, and how many leaves were never tried."""
    cluster, kept, began, told = Cluster(credentials(api.server)), KeptApi(api), time.monotonic(), 0
    try:
        world = World(kept, cluster)
        await world.dapr.check()
        walker = Walker(world, schema_of(yaml.safe_load(CRD.read_text())), seed=seed)
        while (done := walker.report.outcomes.total()) < transitions:
            names = [f"walk-{uuid.uuid4().hex[:8]}" for _ in range(2)]
            for name in names:
                kept.create(NAMESPACE, None, {"metadata": {"name": name}})
            await walker.walk(*names, steps=min(STEPS, transitions - done))
            if tell:
                print(*walker.report.problems[told:], sep="\n", end="\n" if walker.report.problems[told:] else "")
                told = len(walker.report.problems)
                print(f"{done} of {transitions} after {time.monotonic() - began:.0f} s, {len(walker.report.problems)} problems", flush=True)
        return walker.report, walker.count - len(walker.report.leaves)
    finally:
        await cluster.close()


if __name__ == "__main__":
    sys.exit(main())
