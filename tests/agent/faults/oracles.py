"""What must be true whatever was killed. Pure: judged from the world's ledger, the moments of the kills, and the runs' ends."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.agent.faults import world
from tests.agent.faults.world import CARELESS, ONCE, UNDONE, Call, Plan

STUCK_SECONDS = 60.0
SETTLE_SECONDS = 30.0
"""How long after a kill its consequences may show: a scheduler that was killed takes 25 s until it hands out work again."""

RECOVERY_SECONDS = {"agent": 5.0, "daprd": 15.0, "redis": 5.0, "scheduler": 25.0}
"""How long after a killed part is back a run may stand still for it: daprd may lock itself up until the agent ends it
(`holdfast_agent.starved`), and a scheduler waits for the lease of the one that was killed."""

TRAVEL_SECONDS = 1.5
"""How long a request or its answer may be on its way between the world and the store, on a busy machine: 1.08 s were seen, with 30
processes waiting for two cores. The sidecar passes on what it has got from an agent that is dead by then.
"""

_STATUS = {"answer": ("COMPLETED",), "failure": ("FAILED",), "cancel": ("CANCELED",)}


@dataclass(frozen=True)
class Kill:
    """One kill -9: of what, and when (monotonic clock) it was done and the part was started again."""

    part: str
    at: float
    back: float


@dataclass
class Verdict:
    """What was found. `problems` must be empty; the rest is told with it."""

    runs: int = 0
    turns: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    model_repeats: int = 0
    tool_repeats: int = 0
    careless_twice: int = 0
    longest_silence: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        killed = ", ".join(f"{part} {count}" for part, count in sorted(self.kills.items())) or "nothing"
        found = "\n  ".join(["PROBLEMS:", *self.problems]) if self.problems else "no problem"
        return (
            f"{self.runs} runs, {self.turns} turns; killed: {killed}; model calls repeated: {self.model_repeats}; tools asked again: "
            f"{self.tool_repeats}, of which careless ones did it again: {self.careless_twice}; longest silence of a run: "
            f"{self.longest_silence:.1f} s; {found}"
        )


def judge(calls: Sequence[Call], kills: Sequence[Kill], plans: Mapping[str, Plan], views: Mapping[str, dict[str, Any]]) -> Verdict:
    """The verdict over all runs.

    Args:
        calls: the world's ledger.
        kills: in order.
        plans: run -> what it was to do.
        views: run -> how the agent shows it in the end.
    """
    verdict = Verdict(runs=len(plans), turns=sum(len(plan.turns) + 1 for plan in plans.values()))
    verdict.kills.update(kill.part for kill in kills)
    by_run: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_run[call.run].append(call)
    for run, plan in plans.items():
        verdict.problems += _end(run, plan, views.get(run))
        verdict.problems += _effects(run, plan, by_run[run], killed=bool(kills))
        verdict.problems += _undone(run, plan, by_run[run])
        _repeats(run, by_run[run], kills, verdict)
        _silence(by_run[run], kills, verdict)
    verdict.problems += [f"a call of an unknown run: {call}" for run in by_run.keys() - plans.keys() for call in by_run[run]]
    return verdict


def _end(run: str, plan: Plan, view: dict[str, Any] | None) -> list[str]:
    if view is None:
        return [f"{run} was lost"]
    if view["status"] in _STATUS[plan.ends] and (plan.ends != "answer" or view.get("result") == world.answer(run)):
        return []
    return [f"{run} was to end with {plan.ends} and ended as {view['status']}: {view.get('error') or view.get('result')}"]


def _effects(run: str, plan: Plan, calls: Iterable[Call], *, killed: bool) -> list[str]:
    """Each effect that the model asked for happened under its own key; a careful tool's just once, because the key was the same.

    What may be asked for once only may be missing after a kill: then nobody knows whether it happened, and the model is told so.
    """
    effects = Counter((call.name, call.key) for call in calls if call.kind == "tool" and call.effect)
    wanted = {(name, f"{run}/{turn}/{number}") for turn, names in enumerate(plan.turns, 1) for number, name in enumerate(names)}
    missing = [] if plan.ends == "cancel" else [pair for pair in wanted - effects.keys() if not (killed and pair[0] in ONCE)]
    found = [f"{name} of {key} never happened" for name, key in missing]
    found += [f"{name} happened as {key}, which nobody asked for" for name, key in effects.keys() - wanted]
    patient = [name for name in CARELESS if name not in ONCE]
    return found + [f"{name} of {key} happened {n} times" for (name, key), n in effects.items() if n > 1 and name not in patient]


def _undone(run: str, plan: Plan, calls: Sequence[Call]) -> list[str]:
    """What a run did that did not end well is undone: each once, newest first. A run that ended well undoes nothing."""
    done = {call.key: UNDONE[call.name] for call in calls if call.kind == "tool" and call.effect and call.name in UNDONE}
    undone = [(call.key.removesuffix("/undo"), call.name) for call in calls if call.kind == "undo" and call.effect]
    wanted = [] if plan.ends == "answer" else sorted(done.items(), key=lambda item: _place(item[0]), reverse=True)
    return [] if undone == wanted else [f"{run} was to undo {wanted} and undid {undone}"]


def _place(key: str) -> tuple[int, int]:
    _, turn, call = key.split("/")
    return int(turn), int(call)


def _repeats(run: str, calls: Iterable[Call], kills: Sequence[Kill], verdict: Verdict) -> None:
    """Nothing is asked twice without a kill that explains it, and the model only once for a kill."""
    before: dict[tuple[str, str], Call] = {}
    charged: Counter[Kill] = Counter()
    for call in calls:
        earlier = before.get((call.name, call.key))
        before[call.name, call.key] = call
        if earlier is None:
            continue
        blamed = _blamed(earlier, call, kills)
        if blamed is None:
            near = ", ".join(f"{kill.part} {kill.at - earlier.at:+.2f} s" for kill in kills if abs(kill.at - earlier.at) < STUCK_SECONDS)
            verdict.problems.append(
                f"{call.name} {call.key} of {run} turn {call.turn} was asked again {call.at - earlier.at:.1f} s later, "
                f"and no kill explains it (killed around the first: {near or 'nothing'})"
            )
        elif call.kind == "model":
            verdict.model_repeats += 1
            charged[blamed] += 1
        else:
            verdict.tool_repeats += 1
            verdict.careless_twice += call.effect
    verdict.problems += [f"{run}: {n} model calls repeated for one kill of {kill.part}" for kill, n in charged.items() if n > 1]


def _blamed(earlier: Call, again: Call, kills: Sequence[Kill]) -> Kill | None:
    """The last kill that lies between both calls and could have met the earlier one before its result was kept.

    It could if it came before the answer had left, or soon after; or while another kill's consequences kept the result from being stored.
    A request may still arrive although who sent it has just been killed: the sidecar passes on what it has got.
    """
    between = [kill for kill in kills if earlier.at - TRAVEL_SECONDS <= kill.at <= again.at]
    if not between:
        return None
    left = earlier.left if earlier.left is not None else again.at
    troubled = any(kill.at <= left <= kill.back + SETTLE_SECONDS for kill in kills)
    return between[-1] if troubled or between[0].at <= left + TRAVEL_SECONDS else None


def _silence(calls: Sequence[Call], kills: Sequence[Kill], verdict: Verdict) -> None:
    """No run stands still for a minute, beside the time in which a part was away or recovered. However many kills there were meanwhile,
    each excuses its own recovery and nothing more.
    """
    for earlier, later in itertools.pairwise(calls):
        began = earlier.left if earlier.left is not None else earlier.at
        verdict.longest_silence = max(verdict.longest_silence, later.at - began)
        still = _unexcused(began, later.at, kills)
        if still > STUCK_SECONDS:
            verdict.problems.append(f"{later.run} stood still for {still:.0f} s before {later.name} {later.key}")


def _unexcused(began: float, ended: float, kills: Iterable[Kill]) -> float:
    """Seconds of a silence in which all parts were there and had recovered."""
    still, reached = 0.0, began
    for kill in sorted(kills, key=lambda kill: kill.at):
        if kill.at > reached:
            still += max(0.0, min(kill.at, ended) - reached)
        reached = max(reached, kill.back + RECOVERY_SECONDS[kill.part])
    return still + max(0.0, ended - reached)
