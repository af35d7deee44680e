"""How the operator tests speak to an API server, and the operator in two shapes.

`World` is the operator without Kopf, in this process: exact about requests, and quick. `Process` is the program itself.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import kopf
import yaml

from e2e.cluster import shell, tools
from e2e.cluster.apiserver import ApiServer
from e2e.cluster.places import places
from holdfast_api.defaults import AgentDefaults
from holdfast_operator import kinds, rbac
from holdfast_operator.cluster import Cluster
from holdfast_operator.credentials import Credentials
from holdfast_operator.dapr import DaprApi
from holdfast_operator.intake import Intake
from holdfast_operator.inventory import Inventory
from holdfast_operator.memory import Memory
from holdfast_operator.reconcile import Reconciler
from holdfast_operator.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
_BUSY_TRIES = 30
DEFAULTS = {
    "image": "holdfast-agent:test",
    "model": {"provider": "echo"},
    "state": {"type": "state.redis", "metadata": [{"name": "redisHost", "value": "redis:6379"}]},
}
Manifest = dict[str, Any]


class Api:
    """A few lines of Kubernetes client that share nothing with the operator's."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        context = ssl.create_default_context(cafile=str(server.folder / "certs" / "apiserver.crt"))
        handler = urllib.request.HTTPSHandler(context=context)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)

    def request(
        self, method: str, path: str, body: Manifest | None = None, *, content: str = "application/json", user: str = ""
    ) -> Manifest:
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": content}
        if user:
            headers["Impersonate-User"] = user
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.server.url + path, data=data, headers=headers, method=method)
        for again in reversed(range(_BUSY_TRIES)):
            try:
                with self._opener.open(request, timeout=20) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                # A CRD's storage that starts is busy with that, also after the API server was killed.
                if error.code != HTTPStatus.TOO_MANY_REQUESTS or method != "GET" or not again:
                    raise
                time.sleep(1)
        raise AssertionError

    def get(self, kind: kinds.Kind, namespace: str, name: str) -> Manifest | None:
        try:
            return self.request("GET", kind.path(namespace, name))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind: kinds.Kind, namespace: str | None) -> list[Manifest]:
        return self.request("GET", kind.path(namespace))["items"]

    def create(self, kind: kinds.Kind, namespace: str | None, manifest: Manifest) -> Manifest:
        return self.request("POST", kind.path(namespace), {"apiVersion": kind.api_version, "kind": kind.kind, **manifest})

    def patch(self, kind: kinds.Kind, namespace: str | None, name: str, patch: Manifest, *, status: bool = False) -> Manifest:
        path = kind.path(namespace, name) + ("/status" if status else "")
        return self.request("PATCH", path, patch, content="application/merge-patch+json")

    def delete(self, kind: kinds.Kind, namespace: str | None, name: str) -> None:
        self.request("DELETE", kind.path(namespace, name), {"propagationPolicy": "Background", "gracePeriodSeconds": 0})

    def agent(self, namespace: str, name: str, spec: Manifest | None = None) -> Manifest:
        return self.create(kinds.AGENT, namespace, {"metadata": {"name": name}, "spec": spec or {}})

    def condition(self, namespace: str, name: str, kind: str = "Ready") -> Manifest:
        live = self.get(kinds.AGENT, namespace, name) or {}
        found = [entry for entry in live.get("status", {}).get("conditions", []) if entry["type"] == kind]
        return found[0] if found else {"status": None, "reason": None, "message": ""}

    def roll_out(self, namespace: str, name: str) -> None:
        """Say what the Deployment controller says when a rollout is complete; there is no controller here."""
        live = self.get(kinds.DEPLOYMENT, namespace, name)
        count = live["spec"]["replicas"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count)
        self.patch(
            kinds.DEPLOYMENT, namespace, name, {"status": {"observedGeneration": live["metadata"]["generation"], **counts}}, status=True
        )


def eventually(check: Callable[[], Any], *, seconds: float = 15.0) -> Any:
    """Ask again and again until the answer is truthy; the last answer is in the error."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s; last answer: {answer!r}"
        time.sleep(0.05)


CRD = kinds.Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")


def install_crds(api: Api, *, dapr: bool = True, ours: bool = True) -> None:
    files = [ROOT / "crds/agents.holdfast.dev.yaml"] if ours else []
    files += sorted((tools.folder(places(), "dapr") / "chart/crds").glob("*.yaml")) if dapr else []
    for file in files:
        for manifest in yaml.safe_load_all(file.read_text()):
            if manifest:
                api.create(CRD, None, manifest)
    wanted = (kinds.AGENT, *kinds.CHILDREN) if dapr else (kinds.AGENT,)
    eventually(lambda: all(_served(api, kind.path(None)) for kind in wanted), seconds=30)


def _served(api: Api, path: str) -> bool:
    try:
        return bool(api.request("GET", path))
    except urllib.error.HTTPError as error:
        if error.code in {404, 429, 503}:
            return False
        raise


def credentials(server: ApiServer) -> Credentials:
    authority = str(server.folder / "certs" / "apiserver.crt")
    return Credentials(lambda: kopf.ConnectionInfo(server=server.url, ca_path=authority, token=server.token))


class World:
    """The operator without Kopf: tell it what happened, let it look, count what it asked for."""

    def __init__(self, api: Api, cluster: Cluster, *, defaults: Manifest | None = None, now: Callable[[], float] = time.time) -> None:
        self.api, self.cluster = api, cluster
        self.requests: Counter[tuple[str, str]] = Counter()
        cluster.observer = lambda verb, plural, status: self.requests.update([(verb, plural)])
        self.settings = Settings(defaults=AgentDefaults.model_validate(defaults or DEFAULTS))
        self.now = now
        self.restart()

    def _time(self) -> float:
        return self.now()

    def restart(self) -> None:
        """Forget everything, as a new process would."""
        self.due: set[kinds.Key] = set()
        self.memory = Memory()
        self.dapr = DaprApi(self.cluster, namespace="dapr-system")
        self.reconciler = Reconciler(cluster=self.cluster, memory=self.memory, settings=self.settings, dapr=self.dapr, clock=self._time)
        self.intake = Intake(memory=self.memory, dapr=self.dapr, due=lambda key, _delay: self.due.add(key), forget=self.due.discard)

    async def take_stock(self, namespace: str, *, presence: bool = False) -> None:
        inventory = Inventory(
            cluster=self.cluster,
            memory=self.memory,
            intake=self.intake,
            dapr=self.dapr,
            namespaces=(namespace,),
            secrets=self.settings.watch_secrets,
        )
        await self.dapr.check()
        await inventory.take(presence=presence)
        self.requests.clear()

    def hear(self, kind: kinds.Kind, namespace: str, name: str, event: str = "MODIFIED") -> None:
        """Deliver the event of an object as it is now."""
        live = self.api.get(kind, namespace, name)
        if kind == kinds.AGENT:
            self.intake.agent(event, live)
        elif kind == kinds.POD:
            self.intake.pod(event, live)
        else:
            self.intake.child(kind, event, live)

    def end(self, namespace: str, name: str) -> None:
        """Delete an Agent, and deliver the event of that, which has a version of its own."""
        live = self.api.get(kinds.AGENT, namespace, name)
        self.api.delete(kinds.AGENT, namespace, name)
        version = self.api.request("GET", kinds.AGENT.path(namespace))["metadata"]["resourceVersion"]
        self.intake.agent("DELETED", {**live, "metadata": live["metadata"] | {"resourceVersion": version}})

    async def look(self, namespace: str, name: str) -> tuple[float | None, Counter[tuple[str, str]]]:
        """Look at an Agent once: when to look again, and what was asked of the API server."""
        self.requests.clear()
        self.due.discard((namespace, name))
        again = await self.reconciler((namespace, name))
        return again, Counter(self.requests)

    def writes(self) -> int:
        return sum(count for (verb, _), count in self.requests.items() if verb != "GET")


def role_rules(*tables: rbac.Rules) -> list[Manifest]:
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
        for table in tables
        for (group, resource), verbs in table.items()
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """The operator as a program."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path, port: int) -> None:
        self.log, self.port = log, port
        with log.open("ab") as out:
            # A group of its own, and nothing outlives the test session, not even one that is killed.
            self.popen = subprocess.Popen(
                command,
                env=environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=shell.die_with_parent(),  # noqa: PLW1509 - only async-signal-safe calls in it
            )

    def http(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self) -> None:
        eventually(lambda: self.popen.poll() is not None or self.http("/readyz")[0] == 200, seconds=30)
        assert self.popen.poll() is None, self.log.read_text()

    def metric(self, line: str) -> float:
        lines = [entry for entry in self.http("/metrics")[1].splitlines() if entry.startswith(line)]
        return sum(float(entry.rsplit(" ", 1)[1]) for entry in lines)

    def send(self, number: int) -> None:
        os.killpg(self.popen.pid, number)

    def end(self, number: int = signal.SIGTERM, *, seconds: float = 15.0) -> int:
        if self.popen.poll() is None:
            self.send(number)
        return self.popen.wait(seconds)


def restricted_kubeconfig(api: Api, namespace: str, folder: Path, *, cluster_wide: bool = False, secrets: bool = False) -> Path:
    """A ServiceAccount with exactly the documented rights, in one namespace or in all, and the kubeconfig for it."""
    path = folder / f"kubeconfig-{namespace}"
    if path.exists():
        return path
    api.create(kinds.SERVICE_ACCOUNT, namespace, {"metadata": {"name": "operator"}})
    watched = rbac.WATCHED | (rbac.SECRETS if secrets else {})
    if cluster_wide:
        grant(api, namespace, None, role_rules(watched))
        grant(api, namespace, namespace, role_rules(rbac.OWN_NAMESPACE))
    else:
        grant(api, namespace, namespace, role_rules(watched, rbac.OWN_NAMESPACE))
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = api.request("POST", kinds.SERVICE_ACCOUNT.path(namespace, "operator") + "/token", request)["status"]["token"]
    config = yaml.safe_load(api.server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path.write_text(yaml.safe_dump(config))
    return path


def grant(api: Api, account_namespace: str, namespace: str | None, rules: list[Manifest]) -> None:
    """Give the ServiceAccount `operator` these rights in a namespace, or in the cluster."""
    group, word = "rbac.authorization.k8s.io", "" if namespace else "Cluster"
    name = f"operator-{account_namespace}"
    role = kinds.Kind(group, "v1", f"{word.lower()}roles", f"{word}Role")
    binding = kinds.Kind(group, "v1", f"{word.lower()}rolebindings", f"{word}RoleBinding")
    api.create(role, namespace, {"metadata": {"name": name}, "rules": rules})
    body = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": role.kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": account_namespace}],
    }
    api.create(binding, namespace, body)
