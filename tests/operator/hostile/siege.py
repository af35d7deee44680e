"""Hostile Agents against a real API server and the operator, applied by somebody who may do nothing else than that, in one namespace."""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from holdfast_operator import kinds
from tests.operator.hostile.generated import Case
from tests.operator.hostile.samples import BY_NAME
from tests.operator.live import DEFAULTS, Api, Manifest, Process, eventually, free_port, restricted_kubeconfig

NAMESPACE = kinds.Kind("", "v1", "namespaces", "Namespace")
PRIORITY = kinds.Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
HOSTILE, STRANGER, RESTRICTED, OPERATOR = "hostile", "stranger", "restricted", "operator"
USER = "mallory"
AT_ONCE = 6
REFUSALS = {400, 403, 404, 409, 413, 422}
BY_NAME_PREFIX = "n"
RULES = [{"apiGroups": ["holdfast.dev"], "resources": ["agents"], "verbs": ["create", "get", "list", "update", "patch"]}]


@dataclass
class Outcome:
    """What became of one hostile Agent.

    Attributes:
        case: the Agent.
        refusal: the API server's words; None when it was taken.
        live: as it stands in the end.
    """

    case: Case
    refusal: str | None = None
    live: Manifest = field(default_factory=dict)

    @property
    def accepted(self) -> str | None:
        """Status of its condition Accepted."""
        return self._condition("Accepted")

    @property
    def told(self) -> bool:
        """Whether some condition says that all is not well."""
        return any(self._condition(kind) == "False" for kind in ("Accepted", "ReferencesResolved", "DaprConfigured"))

    def _condition(self, kind: str) -> str | None:
        return next((each["status"] for each in self.live.get("status", {}).get("conditions", ()) if each["type"] == kind), None)


class Siege:
    """A cluster with victims in it, the operator, and an attacker."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.api, self.folder = api, folder
        for name, labels in (
            (HOSTILE, {}),
            (STRANGER, {}),
            (OPERATOR, {}),
            (RESTRICTED, {"pod-security.kubernetes.io/enforce": "restricted"}),
        ):
            api.create(NAMESPACE, None, {"metadata": {"name": name, "labels": labels}})
        self._victims()
        self._attacker()
        self.rights = self.may()
        self.operator = self._start()
        self.outside = self.versions()

    def _victims(self) -> None:
        """What the samples refer to, and what must be left alone."""
        for namespace in (HOSTILE, STRANGER):
            for name in ("own", "victim", "shared-key"):
                self.api.create(kinds.SECRET, namespace, {"metadata": {"name": name}, "stringData": {"key": f"canary-{name}"}})
            self.api.create(
                kinds.CONFIG_MAP, namespace, {"metadata": {"name": "texts"}, "data": {"text": "def f() -> str:\n    return ''\n"}}
            )
            for name in ("default", "worker"):
                self.api.create(kinds.SERVICE_ACCOUNT, namespace, {"metadata": {"name": name}})
            for name in ("victim", "legacy-dapr"):
                spec = {"ports": [{"port": 80}], "selector": {"app": "victim"}}
                self.api.create(kinds.SERVICE, namespace, {"metadata": {"name": name}, "spec": spec})
            for name, kind in (("llm", "conversation.echo"), ("broker", "pubsub.redis")):
                self._component(namespace, name, kind)
        # Two actor stores for one app are refused, so only those see it that name it.
        self._component(HOSTILE, "store", "state.redis", actorStateStore="true", scopes=[f"{BY_NAME_PREFIX}{n}" for n in range(5000)])
        self.api.create(PRIORITY, None, {"metadata": {"name": BY_NAME["priorityClassName"]}, "value": 1})

    def _component(self, namespace: str, name: str, kind: str, *, scopes: Sequence[str] = (), **metadata: str) -> None:
        entries = [{"name": key, "value": value} for key, value in metadata.items()]
        spec = {"type": kind, "version": "v1", "metadata": entries}
        self.api.create(kinds.COMPONENT, namespace, {"metadata": {"name": name}, "spec": spec, "scopes": list(scopes)})

    def _attacker(self) -> None:
        group = "rbac.authorization.k8s.io"
        self.api.create(kinds.Kind(group, "v1", "roles", "Role"), HOSTILE, {"metadata": {"name": USER}, "rules": RULES})
        body = {
            "roleRef": {"apiGroup": group, "kind": "Role", "name": USER},
            "subjects": [{"kind": "User", "name": USER, "apiGroup": group}],
        }
        self.api.create(kinds.Kind(group, "v1", "rolebindings", "RoleBinding"), HOSTILE, {"metadata": {"name": USER}, **body})

    def _start(self) -> Process:
        kubeconfig = restricted_kubeconfig(self.api, OPERATOR, self.folder, cluster_wide=True)
        (self.folder / "defaults.yaml").write_text(yaml.safe_dump(DEFAULTS))
        port = free_port()
        ours = {
            "KUBECONFIG": str(kubeconfig),
            "HOLDFAST_DEFAULTS_FILE": str(self.folder / "defaults.yaml"),
            "HOLDFAST_HTTP_PORT": str(port),
            "HOLDFAST_POD_NAMESPACE": OPERATOR,
            "HOLDFAST_LOG_FORMAT": "text",
        }
        process = Process([sys.executable, "-m", "holdfast_operator"], dict(os.environ) | ours, self.folder / "operator.log", port)
        process.wait_ready()
        return process

    def may(self) -> list[list[str]]:
        """All that the attacker may do, in each namespace."""
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        found = []
        for namespace in (HOSTILE, STRANGER, OPERATOR, "kube-system"):
            body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
            status = self._as_attacker("POST", path, body)["status"]
            found.append(sorted(json.dumps(rule, sort_keys=True) for rule in (*status["resourceRules"], *status["nonResourceRules"])))
        return found

    def versions(self) -> dict[str, str]:
        """Versions of everything that no hostile Agent may touch."""
        found = {}
        for kind in (*kinds.CHILDREN, kinds.SECRET):
            for live in self.api.list(kind, None):
                metadata = live["metadata"]
                if "holdfast.dev/agent" not in metadata.get("labels", {}):
                    found[f"{kind.kind} {metadata['namespace']}/{metadata['name']}"] = metadata["resourceVersion"]
        return found

    def _as_attacker(self, method: str, path: str, body: Manifest) -> Manifest:
        return self.api.request(method, path, body, user=USER)

    def apply(self, case: Case, name: str, namespace: str = HOSTILE, *, keep: bool = True) -> Outcome:
        """Apply one Agent as `kubectl` does, which has unknown fields refused."""
        metadata = {"name": case.agent or name, **dict(case.metadata)}
        body = {"apiVersion": kinds.AGENT.api_version, "kind": "Agent", "metadata": metadata, "spec": case.spec}
        query = "?fieldValidation=Strict" + ("" if keep else "&dryRun=All")
        try:
            return Outcome(case, None, self._as_attacker("POST", kinds.AGENT.path(namespace) + query, body))
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            if error.code not in REFUSALS:
                raise
            return Outcome(case, json.loads(text)["message"] if text.startswith("{") else text)

    def besiege(self, cases: Iterable[Case], *, seconds: float) -> list[Outcome]:
        """Apply them all, and wait until the operator has been at each that was taken."""
        numbered = [(case, f"{BY_NAME_PREFIX if case.name.startswith('by name') else 'h'}{number}") for number, case in enumerate(cases)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(lambda each: self.apply(*each), numbered))
        taken = {outcome.live["metadata"]["name"]: outcome for outcome in found if outcome.refusal is None}

        def waiting() -> list[str]:
            for live in self.api.list(kinds.AGENT, HOSTILE):
                if live["metadata"]["name"] in taken:
                    taken[live["metadata"]["name"]].live = live
            return [name for name, outcome in taken.items() if not outcome.accepted]

        eventually(lambda: not waiting(), seconds=seconds)
        return found

    def children(self) -> dict[str, list[Manifest]]:
        """Every object with an Agent's label, in any namespace, by Agent."""
        found: dict[str, list[Manifest]] = {}
        for kind in (*kinds.CHILDREN, kinds.SECRET):
            for live in self.api.list(kind, None):
                if agent := live["metadata"].get("labels", {}).get("holdfast.dev/agent"):
                    found.setdefault(agent, []).append({"kind": kind.kind, "apiVersion": kind.api_version, **live})
        return found

    def secrets(self) -> set[bytes]:
        """Every value of every Secret."""
        values = [value for live in self.api.list(kinds.SECRET, None) for value in live.get("data", {}).values()]
        return {base64.b64decode(value) for value in values}

    def elsewhere(self) -> dict[str, bytes]:
        """All that etcd holds outside Secrets, and what the operator has said: keys and raw contents."""
        command = [str(word) for word in self.api.server.processes["etcd"].args]  # type: ignore[attr-defined,union-attr]
        url = command[command.index("--listen-client-urls") + 1]
        request = {"key": base64.b64encode(b"/").decode(), "range_end": base64.b64encode(b"0").decode()}
        with urllib.request.urlopen(f"{url}/v3/kv/range", data=json.dumps(request).encode(), timeout=60) as answer:
            pairs = json.loads(answer.read())["kvs"]
        found = {base64.b64decode(pair["key"]).decode(): base64.b64decode(pair["value"]) for pair in pairs}
        said = {"log": self.operator.log.read_bytes(), "metrics": self.operator.http("/metrics")[1].encode()}
        return said | {key: value for key, value in found.items() if not key.startswith("/registry/secrets/")}

    def pod_security(self, deployment: Manifest) -> str | None:
        """What the API server says to such a pod in a namespace with Pod Security `restricted`; None when it takes it."""
        template = deployment["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": "x"}, "spec": template["spec"]}
        try:
            self.api.request("POST", kinds.POD.path(RESTRICTED) + "?dryRun=All", pod)
        except urllib.error.HTTPError as error:
            return str(json.loads(error.read())["message"])
        return None

    def seconds_for_others(self) -> float:
        """How long somebody else's Agent waits for its last child."""
        name, began = f"honest-{time.monotonic_ns()}", time.monotonic()
        self.api.agent(STRANGER, name, {"replicas": 0})
        eventually(lambda: self.api.get(kinds.DEPLOYMENT, STRANGER, name), seconds=60)
        return time.monotonic() - began
