"""The autoscaler of the cluster scales an Agent by its own metric, as examples/hpa.yaml says it."""

import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from e2e.caller import PLANNER, SLOW_TOOL
from e2e.holdfast import ROOT
from e2e.tests import metrics_api
from e2e.tests.support import Caller, Ledger, Manifest, Namespace, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]
RUNNING = re.compile(r'^holdfast_runs_active\{state="running"\} (\S+)$', re.MULTILINE)
# A run of the example takes a quarter of a minute: begun so often, some are always at work.
PAUSE = 4.0


def example() -> Manifest:
    """The example, for one run a pod and two pods: what it says of 20 and 8 would ask much of this machine."""
    found: Manifest = yaml.safe_load((ROOT / "examples/hpa.yaml").read_text())
    found["spec"]["maxReplicas"] = 2
    found["spec"]["metrics"][0]["external"]["target"]["averageValue"] = "1"
    return found


class Load:
    """Runs, begun one after another while somebody looks."""

    def __init__(self, agent: Caller) -> None:
        self.agent, self.runs, self._last = agent, list[str](), 0.0

    def begin(self) -> None:
        """Begin another run."""
        self._last = time.monotonic()
        self.runs.append(self.agent.start(f"Plan a weekend in Zagreb ({secrets.token_hex(3)})"))

    def keep_up(self) -> None:
        """Begin another run if it is time."""
        if time.monotonic() - self._last > PAUSE:
            self.begin()


def test_the_autoscaler_adds_a_pod_for_runs_at_work_through_the_agent_and_nobody_undoes_it(
    travel: Namespace, planner: Caller, caller: Callable[[Namespace, str], Caller], ledger: Ledger, tmp_path: Path
) -> None:
    hpa, scraped, load = example(), caller(travel, PLANNER), Load(planner)
    metric = hpa["spec"]["metrics"][0]["external"]["metric"]["name"]
    told: list[float] = []

    def read() -> float | None:
        found = RUNNING.search(scraped.metrics() or "")
        told.extend([float(found.group(1))] if found else [])
        return told[-1] if found else None

    def replicas() -> int:
        return int(travel.get("agent", PLANNER)["spec"]["replicas"])

    def scaled() -> bool:
        load.keep_up()
        return replicas() > 1

    def settled() -> bool:
        status = travel.get("hpa", PLANNER)["status"]
        return (status["desiredReplicas"], status["currentReplicas"]) == (2, 2)

    assert replicas() == 1
    try:
        with metrics_api.served(travel, metric, PLANNER, read, tmp_path):
            travel.apply(hpa)
            # A pod looks at all open runs when it connects, and then once a minute: a new one spares the test that minute.
            began = time.monotonic()
            for _ in range(3):
                load.begin()
            travel.run("delete", "pod", "-l", f"holdfast.dev/agent={PLANNER}", "--wait=false")
            eventually(scaled, within=200, what=f"the autoscaler asks for two; it was told {told}")
            print(f"measured: first run -> two pods asked for {time.monotonic() - began:.1f} s")
            travel.ready(PLANNER)
            eventually(lambda: len(travel.pods(PLANNER)) == 2, within=60, what="there are two pods")

            writers = travel.get("agent", PLANNER, "--show-managed-fields")["metadata"]["managedFields"]
            assert ("kube-controller-manager", "scale") in {(each["manager"], each.get("subresource")) for each in writers}
            # Whoever applies the manifest again, which says nothing of replicas, changes nothing; nor does the operator.
            travel.run("apply", "-f", str(ROOT / "examples/trip-planner.yaml"))
            for run in load.runs:
                ended = planner.ended(run)
                assert (ended["status"], len({call["key"] for call in ledger.tool(run, SLOW_TOOL)})) == ("COMPLETED", 1), ended
            eventually(settled, within=60, what="the autoscaler has looked again and is content")
            assert replicas() == 2
            assert travel.get("deployment", PLANNER)["status"]["readyReplicas"] == 2
            reasons = {event["reason"] for event in travel.get("events")["items"] if event["involvedObject"]["name"] == PLANNER}
            assert "SuccessfulRescale" in reasons
            assert not reasons & {"DriftRepaired", "DriftRepairedAgain"}
    finally:
        travel.run("delete", "hpa", PLANNER, "--ignore-not-found")
        travel.run("scale", f"agent/{PLANNER}", "--replicas=1")
        eventually(lambda: len(travel.pods(PLANNER)) == 1, within=90, what="one pod is left")
        travel.ready(PLANNER)
