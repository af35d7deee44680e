"""One life of two Agents under one fault: the operator as a process, a namespace and a proxy of its own, and what is judged at the end."""

import asyncio
import os
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import yaml

from holdfast_api import conditions, names
from holdfast_operator import kinds
from holdfast_operator.inventory import JITTER, SECOND_SECONDS
from tests.operator.end_state import state
from tests.operator.faults.plan import Plan
from tests.operator.faults.proxy import WRITES, Call, Proxy
from tests.operator.live import DEFAULTS, Api, Process, free_port, restricted_kubeconfig

NAMESPACE = kinds.Kind("", "v1", "namespaces", "Namespace")
QUIET_SECONDS = 0.6
STILL_SECONDS = 2.5
STAGE_SECONDS = 300.0
SLOW_SECONDS = 90.0
RESYNC_SECONDS = 3
_NEWS = 2
_LOOK_SECONDS = 5.0


class NotSettledError(Exception):
    """A stage was not reached in its time."""


class Loop:
    """An event loop in a thread, for the proxies of all cases."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@dataclass
class Life:
    """What came of a case.

    Attributes:
        plan: the fault, None for the undisturbed life.
        package: folder of the operator with a bug, None for the operator as it is.
        end: the objects at the end, in words that are alike for every life.
        history: how often each object was made and deleted by the operator.
        made: objects in the order in which they were made first.
        warnings: reasons of the Events that warn somebody.
        calls: the requests.
        events: watched events by kind and type.
        problems: what was wrong with this life alone.
        fired: whether the fault happened.
        unsettled: whether it was given up before its end.
        seconds: how long it took.
    """

    plan: Plan | None
    package: Path | None = None
    end: dict[str, Any] = field(default_factory=dict)
    history: Counter[str] = field(default_factory=Counter)
    made: list[str] = field(default_factory=list)
    warnings: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    fired: bool = False
    unsettled: bool = False
    seconds: float = 0.0
    log: Path | None = None


class Case:
    """Lives through one plan."""

    def __init__(self, api: Api, loop: Loop, folder: Path, plan: Plan | None, *, package: Path | None, seconds: float) -> None:
        """Prepare.

        Args:
            api: the API server.
            loop: where the proxy runs.
            folder: for kubeconfig and logs.
            plan: the fault.
            package: folder with another `holdfast_operator`, for seeded bugs.
            seconds: how long a stage may take.
        """
        self._api, self._loop, self._plan, self._package = api, loop, plan, package
        self.namespace = f"f-{uuid.uuid4().hex[:8]}"
        self._folder = folder / self.namespace
        self._folder.mkdir(parents=True)
        self._proxy = Proxy(api.server, plan, self._kill)
        self._process: Process | None = None
        self._made = time.monotonic()
        self._killed = False
        self._ended: list[int] = []
        self._stranger = ""
        self._early: list[str] = []
        self._seconds = seconds + (SLOW_SECONDS if plan and plan.slow else 0)

    def live(self) -> Life:
        """Everything from the first Agent to the verdict on this life alone."""
        began, life = time.monotonic(), Life(self._plan, self._package, log=self._folder / "operator.log")
        settled = float("inf")
        self._api.create(NAMESPACE, None, {"metadata": {"name": self.namespace}})
        self._loop.run(self._proxy.start())
        try:
            self._prepare()
            self._start()
            for stage in (self._make, self._change, self._lose, self._change_late, self._drift, self._remove):
                stage()
            settled = time.monotonic()
            time.sleep(STILL_SECONDS)
        except (NotSettledError, OSError) as error:
            life.unsettled = True
            life.problems.append(f"{type(error).__name__}: {error}")
        finally:
            if self._process:
                self._process.end(signal.SIGKILL)
            self._loop.run(self._proxy.stop())
        life.end, life.calls, life.events = state(self._api, self.namespace), self._proxy.calls, self._proxy.events
        life.fired, life.seconds = self._proxy.fired or self._plan is None, time.monotonic() - began
        for call in self._proxy.writes():
            if (call.verb == "DELETE" or call.status == 201) and not call.target.startswith("events/"):
                life.history[f"{'deleted' if call.verb == 'DELETE' else 'made'} {call.target}"] += 1
        life.made = list(dict.fromkeys(call.target for call in self._proxy.writes() if call.status == HTTPStatus.CREATED))
        events = self._api.list(kinds.EVENT, self.namespace)
        ours = [event for event in events if event.get("source") == {"component": names.FIELD_MANAGER}]  # the API server warns, too
        life.warnings = {event["reason"] for event in ours if event["type"] == "Warning"}
        stranger = self._api.get(kinds.SERVICE, self.namespace, "c")
        if not life.unsettled and (stranger is None or stranger["metadata"]["resourceVersion"] != self._stranger):
            life.problems.append("a stranger's Service was touched")
        life.problems += self._early + self._written_since(settled) + self._oddities(life.log.read_text())
        return life

    def _oddities(self, log: str) -> list[str]:
        """What no fault excuses. Kopf's own tracebacks are not counted: when it ends, the operator starts anew."""
        perhaps_old = sorted({f"{call.verb} {call.target}" for call in self._proxy.calls if call.perhaps_old})
        # A write that changes nothing costs as much as one that does. After a fault, some are the way to find out what came of it.
        patched = [call for call in self._proxy.calls if call.verb == "PATCH" and not call.target.startswith("events/")]
        idle = [call for call in patched if call.status == HTTPStatus.OK and not call.changed]
        return [
            *(f"{call.verb} {call.target} changed nothing" for call in idle if self._plan is None),
            *(["an error in Holdfast, see the log"] if "an error in Holdfast" in log else []),
            *(
                ["an Event was not written, though nothing was in its way"]
                if self._plan is None and "an Event was not written" in log
                else []
            ),
            *(f"the operator ended by itself with code {code}" for code in self._ended),
            *(f"{request} asked for what may be an old state" for request in perhaps_old),
        ]

    # The stages: each does something to the Agents and waits until all is as it should be.

    def _make(self) -> None:
        self._api.create(kinds.CONFIG_MAP, self.namespace, {"metadata": {"name": "prompt"}, "data": {"text": "one"}})
        prompt = {"configMapKeyRef": {"name": "prompt", "key": "text"}}
        self._api.agent(self.namespace, "a", {"model": {"provider": "openai", "name": "m"}, "replicas": 2, "systemPromptFrom": prompt})
        self._api.agent(self.namespace, "b", {"memory": {}})
        stranger = {"metadata": {"name": "c", "labels": {"mine": "yes"}}, "spec": {"ports": [{"port": 80}]}}
        self._stranger = self._api.create(kinds.SERVICE, self.namespace, stranger)["metadata"]["resourceVersion"]
        self._api.agent(self.namespace, "c")
        self._settle("make", lambda: self._api.condition(self.namespace, "c")["reason"] == conditions.CHILD_NAME_TAKEN)
        self._made = time.monotonic()

    def _change(self) -> None:
        before = self._revision("a")
        change = {"model": {"name": "m2"}, "replicas": 1, "serviceAccountName": "another"}
        self._api.patch(kinds.AGENT, self.namespace, "a", {"spec": change})
        # Nothing rolls out but what `_ready` rolls out, so until then the old pods need what they have.
        self._until("roll out", {"quiet": self._quiet, "a rollout": self._rolling_out})
        if self._gone(kinds.SERVICE_ACCOUNT, "a"):
            self._early.append("a child was removed before the rollout was complete")
        unwanted = (kinds.DISRUPTION_BUDGET, kinds.SERVICE_ACCOUNT)
        self._settle("change", lambda: self._revision("a") != before and all(self._gone(kind, "a") for kind in unwanted))
        before = self._revision("a")
        self._api.patch(kinds.CONFIG_MAP, self.namespace, "prompt", {"data": {"text": "two"}})
        self._settle("change the prompt", lambda: self._revision("a") != before)

    def _lose(self) -> None:
        if self._package:
            # A bug is to be seen by itself: the second look at what is there, soon after the start, would find what is lost now.
            time.sleep(max(self._made + SECOND_SECONDS * (1 + JITTER) + _LOOK_SECONDS - time.monotonic(), 0.0))
        lost = ((kinds.SERVICE, "a"), (kinds.CONFIGURATION, "a"), (kinds.SERVICE_ACCOUNT, "b"))
        for kind, name in lost:
            self._api.delete(kind, self.namespace, name)
        self._settle("lose", lambda: not any(self._gone(kind, name) for kind, name in lost))

    def _change_late(self) -> None:
        """What only the watch of Agents can tell: nothing else happens to this one."""
        self._api.patch(kinds.AGENT, self.namespace, "b", {"spec": {"podAnnotations": {"late": "yes"}}})
        self._settle("change late", self._annotated)

    def _annotated(self) -> bool:
        template = self._api.get(kinds.DEPLOYMENT, self.namespace, "b")["spec"]["template"]
        return template["metadata"]["annotations"].get("late") == "yes"

    def _drift(self) -> None:
        self._api.patch(kinds.DEPLOYMENT, self.namespace, "a", {"spec": {"progressDeadlineSeconds": 7}})
        self._api.patch(kinds.SERVICE, self.namespace, "b", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}})
        self._settle("drift", self._repaired)

    def _repaired(self) -> bool:
        deployment, service = (self._api.get(kind, self.namespace, name) for kind, name in ((kinds.DEPLOYMENT, "a"), (kinds.SERVICE, "b")))
        label = service["metadata"]["labels"]["app.kubernetes.io/managed-by"]
        return deployment["spec"]["progressDeadlineSeconds"] != 7 and label != "me"

    def _remove(self) -> None:
        for name in ("b", "c"):
            self._api.delete(kinds.AGENT, self.namespace, name)
        self._settle("remove", lambda: self._gone(kinds.AGENT, "b"))

    def _gone(self, kind: kinds.Kind, name: str) -> bool:
        return self._api.get(kind, self.namespace, name) is None

    def _revision(self, name: str) -> str:
        return self._api.get(kinds.AGENT, self.namespace, name)["status"].get("revision", "")

    def _rolling_out(self) -> bool:
        return self._api.get(kinds.DEPLOYMENT, self.namespace, "a")["spec"]["replicas"] == 1

    def _settle(self, stage: str, reached: Callable[[], bool]) -> None:
        """Wait until the Agents are ready, the stage is reached and nothing is written any more."""
        # From the cheapest question to the dearest, since many lives ask side by side.
        self._until(stage, {"quiet": self._quiet, "the operator ready": self._up, "the Agents ready": self._ready, "reached": reached})

    def _until(self, stage: str, questions: dict[str, Callable[[], bool]]) -> None:
        deadline = time.monotonic() + self._seconds
        while True:
            self._revive()
            missing = next((name for name, ask in questions.items() if not ask()), None)
            # Completing a rollout in `_ready` may have begun something.
            if missing is None and self._quiet():
                return
            if time.monotonic() > deadline:
                raise NotSettledError(f"stage {stage!r}: not {missing} within {self._seconds:.0f} s")
            time.sleep(0.15)

    def _quiet(self) -> bool:
        return time.monotonic() - self._proxy.last_write() > QUIET_SECONDS

    def _up(self) -> bool:
        return self._process is not None and self._process.popen.poll() is None and self._process.http("/readyz")[0] == 200

    def _ready(self) -> bool:
        """Whether every Agent says that it is ready; the rollouts are completed on the way."""
        for agent in self._api.list(kinds.AGENT, self.namespace):
            name = agent["metadata"]["name"]
            if name == "c":
                continue
            if self._gone(kinds.DEPLOYMENT, name):
                return False
            self._api.roll_out(self.namespace, name)
            status = agent.get("status", {})
            ready = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status.get("conditions", ()))
            if not ready or status.get("observedGeneration") != agent["metadata"]["generation"]:
                return False
        return True

    def _written_since(self, settled: float) -> list[str]:
        """What was written once all was settled; asked when the proxy has ended, so that every call has its answer."""
        # A Secret that is there is asked for again for some minutes: that POST is how the operator looks, since it may not read.
        late = [
            call for call in self._proxy.calls if call.at > settled and call.verb in WRITES and (call.verb, call.status) != ("POST", 409)
        ]
        # The last news of a stage, which is counted with two requests, may come when all else is done.
        news = [call for call in late if call.target.startswith("events/")]
        late = [call for call in late if call not in news or len(news) > _NEWS]
        return [f"written after all was settled: {', '.join(f'{call.verb} {call.target}' for call in late)}"] if late else []

    # The operator.

    def _prepare(self) -> None:
        direct = restricted_kubeconfig(self._api, self.namespace, self._folder)
        config = yaml.safe_load(direct.read_text())
        config["clusters"][0]["cluster"] = {"server": self._proxy.url}
        (self._folder / "kubeconfig").write_text(yaml.safe_dump(config))
        (self._folder / "defaults.yaml").write_text(yaml.safe_dump(DEFAULTS))

    def _start(self) -> None:
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")} | {
            "KUBECONFIG": str(self._folder / "kubeconfig"),
            "HOLDFAST_NAMESPACES": self.namespace,
            "HOLDFAST_DEFAULTS_FILE": str(self._folder / "defaults.yaml"),
            "HOLDFAST_HTTP_PORT": str(port),
            "HOLDFAST_POD_NAMESPACE": self.namespace,
            "HOLDFAST_LOG_FORMAT": "text",
        }
        if self._plan and self._plan.slow:
            environment["HOLDFAST_RESYNC"] = f"{RESYNC_SECONDS}s"
        if self._package:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(self._package), environment.get("PYTHONPATH", ""))))
        self._process = Process([sys.executable, "-m", "holdfast_operator"], environment, self._folder / "operator.log", port)

    def _kill(self) -> None:
        """From the proxy: the operator is gone before anything else happens."""
        if self._process and self._process.popen.poll() is None:
            self._killed = True
            self._process.send(signal.SIGKILL)

    def _revive(self) -> None:
        """What the kubelet does."""
        code = self._process.popen.poll() if self._process else None
        if code is not None:
            self._ended += [] if self._killed or self._port_taken() else [code]
            self._killed = False
            self._start()

    def _port_taken(self) -> bool:
        """Whether it could not listen: among so many lives somebody else may be faster at a port that was free a moment ago."""
        assert self._process is not None
        return f"port {self._process.port}: " in self._process.log.read_text()
