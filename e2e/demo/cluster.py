"""The demo in a cluster: the agent's pod is deleted while a slow tool is at work."""

import json
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from e2e import holdfast
from e2e.caller import MODEL, PLANNER, SLOW_TOOL, Caller, ledger
from e2e.cluster.faults import Fault
from e2e.cluster.places import Places
from e2e.cluster.progress import say, step
from e2e.demo import proof
from e2e.holdfast import ROOT, kubectl
from holdfast_agent.local.display import Timeline

NAMESPACE = "holdfast-demo"
TASK = "Plan a weekend in Zagreb"
RUN_SECONDS, KILL_SECONDS = 240, 90


def show(here: Places) -> list[str]:
    """Run the demo; returns what is wrong with the proof, empty when it holds."""
    images = holdfast.provide(here)
    apply(images.agent)
    with ExitStack() as stack:
        agent = Caller(stack, NAMESPACE, PLANNER)
        earlier = len(ledger(NAMESPACE))
        body = {"task": TASK, "id": f"demo-{secrets.token_hex(4)}"}
        say(f"\n  POST /run {json.dumps(body)}")
        run = _until(lambda: agent.attempt("/run", body), 60, "the agent takes a run")["instance_id"]
        timeline = Timeline()
        at_kill = _kill_in_the_middle(agent, run, timeline, earlier)
        result = _watch(agent, run, timeline)
        calls = [one for one in ledger(NAMESPACE) if one["number"] > earlier]
    found = proof.rows(calls, at_kill)
    say(f"\n  answer: {result.get('result') or result.get('error')}\n")
    print(proof.table(found))
    return proof.verdict(found, answer=result.get("result"), interrupted=SLOW_TOOL)


def apply(image: str) -> None:
    """Apply the examples into a namespace of their own and wait until the agent is ready."""
    with step("apply the trip planner and its scripted model"):
        kubectl("create", "namespace", NAMESPACE) if NAMESPACE not in _namespaces() else None
        manifest = (ROOT / "examples/scripted-model.yaml").read_text().replace("holdfast-agent:0.1.0", image)
        kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=manifest)
        kubectl("apply", "-n", NAMESPACE, "-f", str(ROOT / "examples/trip-planner.yaml"))
        kubectl("rollout", "status", "-n", NAMESPACE, f"deployment/{MODEL}", "--timeout=120s", timeout=130)
    with step(f"wait until Agent {PLANNER} is Ready"):
        holdfast.wait_ready(NAMESPACE, PLANNER, seconds=180)


def _namespaces() -> list[str]:
    return [item["metadata"]["name"] for item in holdfast.get("namespaces")["items"]]


def _kill_in_the_middle(agent: Caller, run: str, timeline: Timeline, earlier: int) -> int:
    """Wait until the slow tool is at work, delete the pod; returns the number of the last call before."""
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        _show_steps(agent, run, timeline)
        calls = ledger(NAMESPACE)
        if any(one["name"] == SLOW_TOOL and one["number"] > earlier and not one.get("finished") for one in calls):
            pod = kubectl("get", "pods", "-n", NAMESPACE, "-l", f"holdfast.dev/agent={PLANNER}", "-o", "name").split()[0]
            say(f"\n  >>>  kubectl delete {pod} --grace-period=1      ({SLOW_TOOL} is at work)\n")
            kubectl("delete", "-n", NAMESPACE, pod, "--grace-period=1", "--wait=false")
            return int(calls[-1]["number"])
        time.sleep(0.3)
    raise Fault(
        f"the run did not come to {SLOW_TOOL} in {KILL_SECONDS} s", fix=f"kubectl -n {NAMESPACE} logs deployment/{PLANNER} -c agent"
    )


def _watch(agent: Caller, run: str, timeline: Timeline) -> dict[str, Any]:
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        _show_steps(agent, run, timeline)
        found: dict[str, Any] = agent.attempt(f"/runs/{run}") or {}
        if found.get("status") in ("COMPLETED", "FAILED"):
            _show_steps(agent, run, timeline)
            return found
        time.sleep(0.3)
    raise Fault(f"run {run} has not ended after {RUN_SECONDS} s", fix=f"kubectl -n {NAMESPACE} logs deployment/{PLANNER} -c agent")


def _show_steps(agent: Caller, run: str, timeline: Timeline) -> None:
    for news in timeline.news((agent.attempt(f"/runs/{run}/steps") or {"steps": []})["steps"]):
        say(f"    {news}")


def _until(attempt: Callable[[], Any], seconds: float, what: str) -> Any:  # noqa: ANN401 - whatever the attempt gives
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = attempt()
        if found is not None:
            return found
        time.sleep(0.5)
    raise Fault(f"waited {seconds:.0f} s until {what}", fix=f"kubectl -n {NAMESPACE} get agents,pods")


CLAIM = "the pod died in the middle, the answer came, nothing that had finished was done again"
NEXT = f"""
Go on by hand:
  eval "$(python3 -m e2e.cluster env)"                    # kubectl for this cluster
  kubectl -n {NAMESPACE} get agents
  kubectl -n {NAMESPACE} port-forward service/{PLANNER} 8001 &
  TOKEN=$(kubectl -n {NAMESPACE} get secret {PLANNER}-app-token -o jsonpath='{{.data.token}}' | base64 -d)
  curl -X POST 'localhost:8001/run?wait=60s' -H "Authorization: Bearer $TOKEN" -d '{{"task": "{TASK}"}}'
  make cluster-down                                       # end all of it
"""
