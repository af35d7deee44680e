"""All plans that an undisturbed life suggests, lived through side by side, each compared with the undisturbed one."""

import concurrent.futures
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.operator.faults.case import STAGE_SECONDS, Case, Life, Loop
from tests.operator.faults.kept import KeptApi
from tests.operator.faults.plan import CONNECTS, EVENTS, KILLS, REFUSALS, Plan
from tests.operator.live import Api

COMMAND = "make test-faults PLAN="


def plans(reference: Life) -> list[Plan]:
    """One plan for each effective write and position of a kill, each request and answer, each class of event and what can happen to it."""
    found = []
    for call in reference.calls:
        if call.changed:
            found += [Plan(action, call.verb, call.target, call.nth) for action in KILLS]
        answers = REFUSALS if call.verb not in {"GET", "LIST"} else [answer for answer in REFUSALS if answer not in {"409", "422"}]
        found += [Plan(action, call.verb, call.target, call.nth) for action in answers if not call.target.startswith("/")]
    watched = sorted({kind.split("/")[0] for kind in reference.events})
    found += [Plan(action, "WATCH", plural) for plural in watched for action in CONNECTS]
    found += [Plan(action, "EVENT", kind) for kind in sorted(reference.events) if reference.events[kind] for action in EVENTS]
    return list(dict.fromkeys(found))


def sample(every: list[Plan], count: int, seed: int) -> list[Plan]:
    """A few plans of those that are quick, drawn with a seed: half of them kills."""
    chance = random.Random(seed)
    quick = [plan for plan in every if not plan.slow]
    kills, others = [plan for plan in quick if plan.kills], [plan for plan in quick if not plan.kills]
    return chance.sample(kills, min(len(kills), count // 2)) + chance.sample(others, min(len(others), count - count // 2))


def judge(life: Life, reference: Life) -> list[str]:
    """What is wrong with a life, beside the undisturbed one."""
    if life.unsettled:  # all that follows from it would be noise
        return life.problems
    names = sorted(life.end.keys() | reference.end.keys())
    pairs = [(name, reference.end.get(name), life.end.get(name)) for name in names]
    deeds = sorted(life.history.keys() | reference.history.keys())
    counts = [(deed, reference.history[deed], life.history[deed]) for deed in deeds]
    return [
        *life.problems,
        *(f"{name} ends otherwise: {_difference(wanted, found)}" for name, wanted, found in pairs if wanted != found),
        *_too_early(life, reference),
        *(f"warned of {reason} without a cause" for reason in sorted(life.warnings - reference.warnings) if not _refused(life.plan)),
        *(f"{deed}: {found} times, undisturbed {wanted}" for deed, wanted, found in counts if wanted != found),
    ]


def _refused(plan: Plan | None) -> bool:
    return plan is not None and plan.action == "422"


def _too_early(life: Life, reference: Life) -> list[str]:
    """Pods are only asked for when all that they need is there."""
    found = []
    for agent in ("a", "b"):
        target = f"deployments/{agent}"
        if target not in reference.made or target not in life.made:
            continue
        needed = [made for made in reference.made[: reference.made.index(target)] if re.search(rf"/{agent}(-|$)", made)]
        late = set(needed) - set(life.made[: life.made.index(target)])
        found += [f"{target} was made before {', '.join(sorted(late))}"] if late else []
    return found


def _difference(wanted: str | None, found: str | None) -> str:
    if wanted is None or found is None:
        return "missing" if found is None else "nobody wanted it"
    at = next((index for index, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]), min(len(wanted), len(found)))
    return f"...{found[max(at - 60, 0) : at + 60]}... instead of ...{wanted[max(at - 60, 0) : at + 60]}..."


def carry_out(
    api: Api,
    folder: Path,
    chosen: Iterable[Plan | None],
    *,
    at_once: int,
    seconds: float = STAGE_SECONDS,
    until: float = float("inf"),
) -> Iterator[Life]:
    """Live through plans side by side, each in a namespace of its own; as they end.

    Args:
        api: the API server.
        folder: for logs.
        chosen: the plans, None for the undisturbed life.
        at_once: how many side by side.
        seconds: how long a stage may take.
        until: Unix time after which no life begins.
    """
    pairs = [(plan, None) for plan in chosen]
    return carry_out_with(api, folder, pairs, at_once=at_once, seconds=seconds, wanted=lambda _: time.time() < until)


def carry_out_with(
    api: Api,
    folder: Path,
    chosen: Iterable[tuple[Plan | None, Path | None]],
    *,
    at_once: int,
    seconds: float,
    wanted: Callable[[Path | None], bool],
) -> Iterator[Life]:
    """The same with a package for each plan: the folder of another operator, None for the operator as it is.

    `wanted` is asked with the package right before a life begins; one that is not is left out.
    """
    kept = KeptApi(api)

    def live(plan: Plan | None, package: Path | None) -> Life | None:
        return Case(kept, loop, folder, plan, package=package, seconds=seconds).live() if wanted(package) else None

    with Loop() as loop, concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        waiting = [pool.submit(live, plan, package) for plan, package in chosen]
        try:
            for done in concurrent.futures.as_completed(waiting):
                if life := done.result():
                    yield life
        finally:  # whoever has seen enough waits only for those that live
            pool.shutdown(cancel_futures=True)


def told(plan: Plan | None, problems: list[str], log: Path | None) -> str:
    """A failure as it is printed: with the command that does it again."""
    listed = "\n  ".join(re.sub(r"\s+", " ", problem) for problem in problems)
    return f"{plan}\n  {listed}\n  log: {log}\n  again: {COMMAND}'{plan}'"
