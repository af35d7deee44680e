"""Many plans on all cores: worker processes, each with an API server of its own, and a bound on the time.

One process alone is short of nothing but its own interpreter: its proxies and its questions share one lock, while cores are idle.
"""

import multiprocessing
import os
import queue
import random
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.apiserver import ApiServer
from tests.operator.faults.campaign import carry_out, judge
from tests.operator.faults.case import Life
from tests.operator.faults.plan import Plan
from tests.operator.live import Api, install_crds

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """What came of one plan.

    Attributes:
        plan: the fault.
        problems: what was wrong; empty when nothing was.
        fired: whether the fault happened.
        seconds: how long the life took.
        log: of the operator.
    """

    plan: Plan
    problems: list[str]
    fired: bool
    seconds: float
    log: Path | None


def kind_of(plan: Plan) -> str:
    """What plans have in common that only differ in where they strike, such as `kill-during PATCH` or `drop EVENT`."""
    return f"{plan.action} {plan.verb}"


def spread(every: Sequence[Plan], seed: int) -> list[Plan]:
    """All plans, one of each kind before any second one: however early it ends, no kind was left to the last. Drawn with a seed."""
    chance, kinds = random.Random(seed), defaultdict(list)
    for plan in every:
        kinds[kind_of(plan)].append(plan)
    rounds = [(number, place, plan) for place, same in enumerate(kinds.values()) for number, plan in enumerate(_shuffled(same, chance))]
    return [plan for _, _, plan in sorted(rounds, key=lambda one: one[:2])]


def _shuffled(plans: list[Plan], chance: random.Random) -> list[Plan]:
    return chance.sample(plans, len(plans))


def live_all(chosen: Sequence[Plan], reference: Life, folder: Path, *, workers: int, at_once: int, until: float) -> Iterator[Outcome]:
    """Live through plans in worker processes; as they end.

    Args:
        chosen: the plans, in the order in which they begin.
        reference: the undisturbed life.
        folder: for logs.
        workers: processes, each with an API server.
        at_once: lives side by side in each of them.
        until: Unix time after which none begins.

    Raises:
        RuntimeError: a worker has ended before its time; it has told why.
    """
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[Outcome | int] = context.Queue()
    shares = [_Share(number, chosen[number::workers], reference, folder, at_once, until) for number in range(workers)]
    processes = [context.Process(target=_work, args=(share, told), daemon=True) for share in shares]
    for process in processes:
        process.start()
    working = set(range(workers))
    try:
        while working:
            try:
                one = told.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if dead := [number for number in working if processes[number].exitcode not in {None, 0}]:
                    raise RuntimeError(f"worker {dead[0]} ended with {processes[dead[0]].exitcode}, see above") from None
                continue
            if isinstance(one, int):
                working.discard(one)
            else:
                yield one
    finally:
        for process in processes:
            if working:  # somebody has seen enough, or a worker has died: each ends its API server by itself
                process.terminate()
            process.join()


@dataclass(frozen=True)
class _Share:
    """What one worker is to do; see `live_all`."""

    number: int
    chosen: Sequence[Plan]
    reference: Life
    folder: Path
    at_once: int
    until: float


def _work(share: _Share, told: "multiprocessing.Queue[Outcome | int]") -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with ApiServer() as server:
        api = Api(server)
        install_crds(api)
        for life in carry_out(api, share.folder, share.chosen, at_once=share.at_once, until=share.until):
            assert life.plan is not None
            told.put(Outcome(life.plan, judge(life, share.reference), life.fired, life.seconds, life.log))
    told.put(share.number)


def _end_with_parent() -> None:
    """Also when that was killed: all that a worker has started dies with the worker."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
