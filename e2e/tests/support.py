"""What the cluster tests say in many places: a namespace, an Agent in it, a call of it that outlives its pod, and patience."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from e2e import caller, holdfast
from e2e.holdfast import kubectl

Manifest = dict[str, Any]
T = TypeVar("T")
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
TERMINAL = ("COMPLETED", "FAILED", "CANCELED")
AT_ONCE = ("--grace-period=0", "--force", "--wait=false")
"""How kubectl deletes a pod as a crash would end it."""
# Quietly signals PID 1 of the container it joins: SIGQUIT ends a Go program at once, without any of its goodbyes.
CRASH = "import os, signal; os.kill(1, signal.SIGQUIT)"


def eventually(probe: Callable[[], T | None], *, within: float, what: str, every: float = 0.3) -> T:
    """Ask until the answer is truthy.

    Raises:
        AssertionError: it never was; with `what` was waited for and the last answer.
    """
    deadline, found = time.monotonic() + within, None
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"waited {within:.0f} s until {what}; last seen: {found!r}")


def agent(name: str, **spec: object) -> Manifest:
    """An Agent with the model that repeats its input, in the default store."""
    return {
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": name},
        "spec": {"model": {"provider": "echo"}} | spec,
    }


def trip() -> str:
    """A task for the trip planner, in words that no other run has: the scripted model tells runs apart by them."""
    return f"Plan a weekend in Zagreb ({secrets.token_hex(3)})"


@dataclass(frozen=True)
class Namespace:
    """One namespace and the objects in it."""

    name: str

    def apply(self, *manifests: Manifest) -> None:
        """Apply manifests, as a user does."""
        kubectl("apply", "-n", self.name, "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def get(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the object is
        """An object or a list."""
        return holdfast.get("-n", self.name, *arguments)

    def run(self, *arguments: str, timeout: float = 60) -> str:
        """Run kubectl here."""
        return kubectl("-n", self.name, *arguments, timeout=timeout)

    def names(self, kinds: str, selector: str = "") -> set[str]:
        """`kind/name` of what is there."""
        return set(self.run("get", kinds, "-o", "name", *(["-l", selector] if selector else [])).split())

    def pods(self, of: str) -> list[Manifest]:
        """The pods of an Agent that are not on their way out."""
        found = self.get("pods", "-l", f"holdfast.dev/agent={of}")["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def ready(self, name: str, *, within: int = 120) -> None:
        """Wait until an Agent is Ready."""
        holdfast.wait_ready(self.name, name, seconds=within)

    def condition(self, name: str, kind: str) -> Manifest:
        """A condition of an Agent at its present generation; empty while there is none."""
        found = self.get("agent", name)
        of_kind = [each for each in found.get("status", {}).get("conditions", []) if each["type"] == kind]
        current = [each for each in of_kind if each.get("observedGeneration") == found["metadata"]["generation"]]
        return current[0] if current else {}

    def says(self, name: str, kind: str, reason: str, *, within: float = 90) -> str:
        """Wait until a condition is False for this reason; returns its message."""
        last: Manifest = {}

        def probe() -> str | None:
            nonlocal last
            last = self.condition(name, kind)
            return last.get("message") if (last.get("status"), last.get("reason")) == ("False", reason) else None

        try:
            return eventually(probe, within=within, what=f"{name} says {kind}=False {reason}")
        except AssertionError as error:
            raise AssertionError(f"{error}; {kind} is {last}") from None

    def children(self, of: str) -> set[str]:
        """Everything that Holdfast made for an Agent and that is still there."""
        kinds = "configmaps,serviceaccounts,services,secrets,deployments,replicasets,pods,components,configurations.dapr.io,resiliencies"
        return self.names(kinds, f"holdfast.dev/agent={of}")


@contextmanager
def new_namespace(prefix: str, *labels: str) -> Iterator[Namespace]:
    """A namespace of its own, gone afterwards."""
    name = f"{prefix}-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    try:
        if labels:
            kubectl("label", "namespace", name, *labels)
        yield Namespace(name)
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def crash_sidecar(namespace: Namespace, pod: str, image: str) -> None:
    """End daprd of a pod from a container beside it, which shares its processes and its user."""

    def restarts() -> int:
        statuses = namespace.get("pod", pod)["status"].get("initContainerStatuses", [])
        return sum(int(status["restartCount"]) for status in statuses if status["name"] == "daprd")

    before = restarts()
    command = ["debug", pod, f"--image={image}", "--target=daprd", "--profile=restricted", "--quiet", "--attach=false"]
    namespace.run(*command, "--", "python3", "-c", CRASH)
    eventually(lambda: restarts() > before, within=30, what="daprd has crashed")


class Caller(caller.Caller):
    """Begins runs and waits for their end."""

    def start(self, task: str, *, within: float = 60, **more: str) -> str:
        """Begin a run; sent again until it is taken, which is safe because the id is ours. Returns the id."""
        run = f"e2e-{secrets.token_hex(4)}"
        answer = eventually(lambda: self.attempt("/run", {"task": task, "id": run} | more), within=within, what="the agent takes a run")
        assert answer["instance_id"] == run
        return run

    def asked(self, run: str) -> Manifest:
        """Wait until a run asks for an approval; returns the question."""

        def probe() -> Manifest | None:
            found = self.attempt(f"/runs/{run}") or {}
            return next(iter(found.get("approvals", [])), None)

        return eventually(probe, within=60, what=f"run {run} asks for an approval")

    def tell(self, path: str, **body: object) -> Manifest:
        """POST something until it is taken: what changes a run may be sent again."""
        return eventually(lambda: self.attempt(path, body), within=60, what=f"the agent takes POST {path}")

    def ended(self, run: str, *, within: float = 120) -> Manifest:
        """Wait until a run has ended; returns its view."""

        def probe() -> Manifest | None:
            found = self.attempt(f"/runs/{run}")
            return found if found and found["status"] in TERMINAL else None

        return eventually(probe, within=within, what=f"run {run} ends")


@dataclass(frozen=True)
class Ledger:
    """What the scripted model and its tools were asked, read through the API server."""

    namespace: str

    def calls(self) -> list[Manifest]:
        """All calls."""
        return caller.ledger(self.namespace)

    def model(self, task: str) -> list[Manifest]:
        """Calls of the model for a task."""
        return of_model(self.calls(), task)

    def tool(self, run: str, name: str) -> list[Manifest]:
        """Calls of a tool in a run."""
        return of_tool(self.calls(), run, name)


def of_model(calls: list[Manifest], task: str) -> list[Manifest]:
    """Those calls of a ledger that asked the model about a task."""
    return [call for call in calls if call["kind"] == "model" and call["detail"]["task"] == task]


def of_tool(calls: list[Manifest], run: str, name: str) -> list[Manifest]:
    """Those calls of a ledger that asked a tool in a run; the key starts with the run's id."""
    return [call for call in calls if (call["kind"], call["name"]) == ("tool", name) and call["key"].startswith(f"{run}/")]
