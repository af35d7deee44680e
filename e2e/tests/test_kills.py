"""Whatever dies at whatever moment in a cluster: every run answers, nothing that was finished is paid for again.

`make test-kills KILLS=24 SEED=1`; the same seed makes the same kills with the same pauses between them. Callers ask for one trip after
the other meanwhile, and the scripted model, which nobody kills, keeps a ledger of what it and the slow tool were asked. In the end the
ledger is compared with the moments of the kills. Single kills at chosen moments are in `test_durable_runs`; many more on one machine
without Kubernetes are `make soak`.
"""

import os
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from e2e import holdfast
from e2e.caller import PLANNER
from e2e.cluster import cluster, shell
from e2e.cluster.daprinstall import NAMESPACE as DAPR
from e2e.cluster.faults import Fault
from e2e.cluster.places import places
from e2e.holdfast import kubectl
from e2e.tests.support import AT_ONCE, TERMINAL, Caller, Ledger, Manifest, Namespace, crash_sidecar, eventually, trip
from e2e.tests.verdict import GONE, Kill, Trip, problems

pytestmark = [pytest.mark.kills, pytest.mark.timeout(7200)]
CALLERS = 3
LEAST, MOST = 5.0, 25.0
CONTROL_PLANE = ("kube-apiserver", "etcd")
"""Killed once each: the kubelet starts them again after ever longer pauses, minutes at the third time, and nothing else starts then."""
PATIENCE = 300.0
"""Seconds that a run may take: kills come on top of each other, and a scheduler's successor waits 25 s for its lease."""
Ways = dict[str, tuple[Callable[[], None], bool]]


@dataclass(frozen=True)
class Killer:
    """Everything that an Agent stands on, and how it dies."""

    travel: Namespace
    image: str

    def ways(self) -> Ways:
        """By name: how it is done, and whether it cuts off what is under way."""

        def dies(namespace: str, label: str) -> Callable[[], None]:
            return lambda: _delete(namespace, label)

        found: Ways = {
            "pod asked to end": (lambda: self._pod("--wait=false"), False),
            "pod": (lambda: self._pod(*AT_ONCE), True),
            "sidecar": (lambda: crash_sidecar(self.travel, self._name(), self.image), True),
            "revision rolled out": (self._change, False),
            "Redis": (dies(holdfast.NAMESPACE, "app.kubernetes.io/component=redis"), True),
            "operator": (dies(holdfast.NAMESPACE, "app.kubernetes.io/component=operator"), False),
            "scheduler": (dies(DAPR, "app=dapr-scheduler-server"), True),
            "placement": (dies(DAPR, "app=dapr-placement-server"), True),
            "sentry": (dies(DAPR, "app=dapr-sentry"), False),
            "injector": (dies(DAPR, "app=dapr-sidecar-injector"), False),
            "Dapr's operator": (dies(DAPR, "app=dapr-operator"), False),
        }
        if not cluster.is_current():
            found |= {program: (_on_node(program), False) for program in CONTROL_PLANE}
        return found

    def kill(self, what: str) -> Kill | None:
        """Do it; None when there was nothing to be killed just then."""
        do, cuts = self.ways()[what]
        since = time.time()
        try:
            do()
        except (Fault, AssertionError, IndexError) as reason:
            print(f"  {what}: not just then ({str(reason)[:100]})", flush=True)
            return None
        return Kill(what, since, time.time() + GONE, cuts)

    def _name(self) -> str:
        return str(self.travel.pods(PLANNER)[0]["metadata"]["name"])

    def _pod(self, *how: str) -> None:
        self.travel.run("delete", "pod", self._name(), *how)

    def _change(self) -> None:
        """Other instructions: a run that has begun keeps its own, or else its questions would be new ones to the ledger."""
        words = f"Hold the seat that is best at {time.time():.0f}."
        self.travel.run("patch", "agent", PLANNER, "--type=merge", f'-p={{"spec":{{"instructions":["{words}"]}}}}')


def _delete(namespace: str, label: str) -> None:
    """The one that has been there for the longest time, so that each of several has its turn."""
    names = kubectl("get", "pods", "-n", namespace, "-l", label, "-o", "name", "--sort-by=.metadata.creationTimestamp").split()
    kubectl("delete", "-n", namespace, names[0], *AT_ONCE)


def _on_node(program: str) -> Callable[[], None]:
    """Kill a program of the control plane, which is out of reach for kubectl; the kubelet starts it again."""

    def kill() -> None:
        argv = ["docker", "exec", f"{places().name}-control-plane", "pkill", "-KILL", "-x", program]
        if shell.answer(argv, env=holdfast.environment())[0]:
            raise Fault(f"no {program} runs")

    return kill


@dataclass
class Callers:
    """People who ask for one trip after the other."""

    travel: Namespace
    trips: list[Trip] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    troubles: list[str] = field(default_factory=list)

    def ask(self) -> None:
        """One of them, until told to stop; the last trip is waited for."""
        try:
            with ExitStack() as stack:
                caller = Caller(stack, self.travel.name, PLANNER)
                while not self.stop.is_set():
                    made = Trip(trip())
                    self.trips.append(made)
                    made.run = caller.start(made.task, within=PATIENCE)
                    made.view = caller.ended(made.run, within=PATIENCE)
                    made.took = time.monotonic() - made.began
        except Exception as trouble:  # noqa: BLE001 - whatever a caller meets is told in the end
            self.troubles.append(f"{type(trouble).__name__}: {trouble}")


def test_whatever_dies_in_the_cluster_every_run_answers_and_nothing_finished_is_asked_again(
    planner: Caller, ledger: Ledger, travel: Namespace, images: holdfast.Images
) -> None:
    wanted, seed = int(os.environ.get("KILLS", "24")), int(os.environ.get("SEED", "1"))
    killer, callers, kills = Killer(travel, images.agent), Callers(travel), list[Kill]()
    drawn, ways = random.Random(seed), list(killer.ways())
    threads = [threading.Thread(target=callers.ask, daemon=True) for _ in range(CALLERS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        for number in range(wanted):
            time.sleep(drawn.uniform(LEAST, MOST))
            what = drawn.choice(ways)
            if what in CONTROL_PLANE:
                ways.remove(what)
            done = killer.kill(what)
            kills += [done] if done else []
            ended = sum(bool(one.took) for one in callers.trips)
            print(f"{(time.monotonic() - began) / 60:5.1f} min: {number + 1} of {wanted}: {what}; {ended} trips ended", flush=True)
    finally:
        callers.stop.set()
    for thread in threads:
        thread.join(2 * PATIENCE + 30)
    calls = eventually(ledger.calls, within=60, what="the ledger is read")
    travel.ready(PLANNER)

    print("measured:", summary(seed, callers.trips, calls, kills, seconds=time.monotonic() - began))
    assert [*callers.troubles, *problems(callers.trips, calls, kills)] == []
    assert kills
    assert len(callers.trips) >= CALLERS


def summary(seed: int, trips: list[Trip], calls: list[Manifest], kills: list[Kill], *, seconds: float) -> str:
    """One line for docs/benchmarks.md."""
    took = [one.took for one in trips if one.view.get("status") in TERMINAL] or [0.0]
    killed = ", ".join(f"{what} {count}" for what, count in sorted(Counter(kill.what for kill in kills).items()))
    again = Counter(call["kind"] for call in calls if call["attempt"] > 1)
    return (
        f"seed {seed}, {len(kills)} kills ({killed}) under {len(trips)} runs in {seconds / 60:.1f} min; asked again: "
        f"model {again['model']}, tool {again['tool']}; "
        f"a run took {min(took):.0f} to {max(took):.0f} s, median {statistics.median(took):.0f} s"
    )
