"""Hostile Agents made by hand: one for each way that is known to hurt users of operators. `malformed` are those that have to be refused."""

from typing import Any

from tests.operator.hostile.generated import Case
from tests.operator.hostile.samples import MODEL, SECRET

_POD_FIELDS: dict[str, Any] = {
    "hostNetwork": True,
    "hostPID": True,
    "hostIPC": True,
    "hostUsers": True,
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["x"]}],
    "nodeName": "control-plane",
    "runtimeClassName": "privileged",
    "securityContext": {"runAsUser": 0},
    "podSecurityContext": {"runAsNonRoot": False},
    "initContainers": [{"name": "x", "image": "x"}],
    "ephemeralContainers": [{"name": "x", "image": "x"}],
    "containers": [{"name": "x", "image": "x"}],
    "sidecars": [{"name": "x", "image": "x"}],
    "automountServiceAccountToken": True,
    "shareProcessNamespace": True,
    "setHostnameAsFQDN": True,
    "schedulerName": "mine",
    "dnsPolicy": "None",
    "overhead": {"cpu": "1"},
    "priority": 2000001000,
    "preemptionPolicy": "PreemptLowerPriority",
    "podTemplate": {"spec": {"hostNetwork": True}},
    "template": {"spec": {"hostNetwork": True}},
    "deployment": {"spec": {}},
    "command": ["sh"],
    "args": ["-c", "id"],
    "ports": [{"hostPort": 80, "containerPort": 80}],
    "lifecycle": {"postStart": {"exec": {"command": ["id"]}}},
    "resourceClaims": [{"name": "x"}],
    "extraObjects": [{"kind": "Pod"}],
    "namespace": "other",
    "status": {"conditions": []},
}
_VOLUMES: dict[str, Any] = {
    "hostPath": {"path": "/"},
    "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]},
    "csi": {"driver": "x"},
    "nfs": {"server": "x", "path": "/"},
    "downwardAPI": {"items": []},
    "ephemeral": {"volumeClaimTemplate": {"spec": {}}},
    "image": {"reference": "x"},
    "gitRepo": {"repository": "x"},
    "iscsi": {"targetPortal": "x", "iqn": "x", "lun": 0},
}
_ANNOTATIONS = (
    "sidecar-image",
    "env",
    "env-from-secret",
    "volume-mounts",
    "volume-mounts-rw",
    "unix-domain-socket-path",
    "sidecar-listen-addresses",
    "component-container",
    "inject-pluggable-components",
    "app-id",
    "config",
    "app-token-secret",
    "api-token-secret",
    "placement-host-address",
    "scheduler-host-address",
    "enable-debug",
    "enabled",
    "disable-builtin-k8s-secret-store",
    "enable-profiling",
    "app-ssl",
)
_PATHS = (
    "/etc/holdfast",
    "//etc/holdfast",
    "/etc/./holdfast",
    "/etc//holdfast/",
    "/etc/x/../holdfast",
    "/etc",
    "etc/holdfast",
    "/",
    "/etc/",
)
_NAMES = ("x-dapr", "A", "a.b", "a_b", "0a", "a" * 59, "-a", "a/b", "..", "a\u00e4")
_REFERENCES = ("other/victim", "../victim", "victim ", "Victim", "victim:key", "victim,other", "a" * 254, "")


def made() -> list[Case]:
    """All of them."""
    return [*_pods(), *_children(), *_references(), *_places(), *_values(), *_metadata()]


def _pods() -> list[Case]:
    unknown = [Case(f"pod field {name}", {name: value}, malformed=True) for name, value in _POD_FIELDS.items()]
    volumes = [Case(f"volume {name}", {"volumes": [{"name": "v", name: value}]}, malformed=True) for name, value in _VOLUMES.items()]
    bad = {"name": "v", "mountPath": "/data"}
    return [
        *unknown,
        *volumes,
        Case("volume of two kinds", {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]}, malformed=True),
        Case("volume of no kind", {"volumes": [{"name": "v"}], "volumeMounts": [bad]}),
        Case("volume twice", {"volumes": [{"name": "v", "emptyDir": {}}] * 2}, malformed=True),
        Case("our volume", {"volumes": [{"name": "holdfast-config", "emptyDir": {}}]}, malformed=True),
        Case("our volume mounted", {"volumeMounts": [{"name": "holdfast-config", "mountPath": "/data"}]}, malformed=True),
        Case("mount of an unknown volume", {"volumeMounts": [bad]}, malformed=True),
        Case("mount at our temporary files", _mounted("/tmp"), malformed=True),
        Case("bidirectional mount", _mounted("/data", mountPropagation="Bidirectional"), malformed=True),
        Case("subPath out of the volume", _mounted("/data", subPath="../x"), malformed=True),
        *(Case(f"mount at {path}", _mounted(path), malformed=True) for path in _PATHS),
    ]


def _mounted(path: str, **more: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", "configMap": {"name": "texts"}}], "volumeMounts": [{"name": "v", "mountPath": path, **more}]}


def _children() -> list[Case]:
    own = ("holdfast.dev/agent", "holdfast.dev/revision", "app.kubernetes.io/name", "app.kubernetes.io/instance", "dapr.io/enabled")
    names = ("DAPR_API_TOKEN", "DAPR_HTTP_ENDPOINT", "HOLDFAST_CONFIG", "HOLDFAST_POD", "HOLDFAST_X", "APP_API_TOKEN")
    hidden = {"name": "texts"}
    return [
        *(Case(f"annotation {key}", {"podAnnotations": {f"dapr.io/{key}": "true"}}, malformed=True) for key in _ANNOTATIONS),
        *(Case(f"annotation {key}", {"podAnnotations": {key: "x"}}, malformed=True) for key in own),
        *(Case(f"label {key}", {"podLabels": {key: "x"}}, malformed=True) for key in own),
        Case("an annotation with a line break", {"podAnnotations": {"a\ndapr.io/enabled": "x"}}, malformed=True),
        Case("a label that is none", {"podLabels": {"a b": "x y"}}, malformed=True),
        *(Case(f"variable {name}", {"env": [{"name": name, "value": "x"}]}, malformed=True) for name in names),
        Case("a variable twice", {"env": [{"name": "A", "value": "x"}] * 2}, malformed=True),
        Case("a variable made of ours", {"env": [{"name": "A", "value": "$(APP_API_TOKEN)"}]}),
        *(
            Case(f"variables that begin with {prefix}", {"envFrom": [{"prefix": prefix, "configMapRef": hidden}]}, malformed=True)
            for prefix in ("DAPR_", "HOLDFAST_", "DAPR_API_")
        ),
        Case(
            "a variable from another container",
            {"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "x"}}}]},
            malformed=True,
        ),
        Case("options that replace the key", {"model": {**MODEL, "options": {"key": "x"}}}, malformed=True),
        Case("options that replace the endpoint", {"model": {**MODEL, "options": {"Endpoint": "https://evil.example"}}}, malformed=True),
        Case("options that replace the model", {"model": {**MODEL, "options": {"model": "x"}}}, malformed=True),
        Case("metadata that makes it no actor store", _state(name="actorStateStore", value="false")),
        Case("the same in other letters", _state(name="ACTORSTATESTORE", value="false")),
        Case("metadata in two spellings", _state(name="RedisHost", value="evil:6379"), malformed=True),
        Case("keys of every namespace", _state(name="keyPrefix", value="none")),
        *(
            Case(f"a store that is {kind}", {"state": {"type": kind}}, malformed=True)
            for kind in ("bindings.localstorage", "secretstores.local.file", "conversation.echo", "pubsub.redis", "State.redis", "state")
        ),
        Case("a broker that is a binding", {"pubsub": {"type": "bindings.http"}}, malformed=True),
        Case("a broker that is a store", {"pubsub": {"type": "state.redis"}}, malformed=True),
    ]


def _state(**entry: Any) -> dict[str, Any]:
    return {"state": {"type": "state.redis", "metadata": [{"name": "redisHost", "value": "redis:6379"}, entry]}}


def _references() -> list[Case]:
    found = []
    for name in _REFERENCES:
        found += [
            Case(f"the Secret {name!r}", {"model": {**MODEL, "apiKeySecretRef": {"name": name, "key": "k"}}}, malformed=True),
            Case(f"the ConfigMap {name!r}", {"systemPromptFrom": {"configMapKeyRef": {"name": name, "key": "k"}}}, malformed=True),
            Case(f"the Component {name!r}", {"state": {"component": name}}, malformed=True),
        ]
    at = {"apiKeySecretRef": {**SECRET, "namespace": "other"}}
    return [
        *found,
        Case("a Secret of another namespace", {"model": {**MODEL, **at}}, malformed=True),
        Case("a prompt of another namespace", {"systemPromptFrom": {"configMapKeyRef": {**SECRET, "namespace": "o"}}}, malformed=True),
        Case("a prompt from a Secret", {"systemPromptFrom": {"secretKeyRef": SECRET}}, malformed=True),
        Case(
            "a key that splits the annotation",
            {"model": {**MODEL, "apiKeySecretRef": {"name": "own", "key": "k,A=victim:k"}}},
            malformed=True,
        ),
        Case("another's Secret in its own namespace", {"model": {**MODEL, "apiKeySecretRef": {"name": "victim", "key": "key"}}}),
        Case("another's Secret as a volume", {"volumes": [{"name": "v", "secret": {"secretName": "victim"}}]}),
        Case("an agent of another namespace", {"tools": [{"name": "t", "agent": {"name": "other/x"}}]}, malformed=True),
        Case("an agent as an app of another namespace", {"tools": [{"name": "t", "agent": {"name": "x.other"}}]}, malformed=True),
        Case("a caller that is a pattern", {"access": {"callers": ["*"]}}, malformed=True),
        Case("a caller of another namespace", {"access": {"callers": ["other.x"]}}, malformed=True),
        Case("a team that is a path", {"team": "../x"}, malformed=True),
    ]


def _places() -> list[Case]:
    schemes = ("file:///etc/passwd", "ftp://x", "//x", "javascript:1", "http:// x", "unix:///var/run/x.sock", "gopher://x")
    tool = [Case(f"a tool at {url}", {"tools": [{"name": "t", "http": {"url": url}}]}, malformed=True) for url in schemes]
    model = [Case(f"a model at {url}", {"model": {**MODEL, "endpoint": url}}, malformed=True) for url in schemes]
    inside = (
        "http://169.254.169.254/",
        "https://kubernetes.default.svc",
        "http://localhost:3500/v1.0/secrets",
        "http://[::1]:3500",
        "http://0/",
    )
    return [
        *tool,
        *model,
        *(Case(f"a tool at {url}", {"tools": [{"name": "t", "http": {"url": url}}]}) for url in inside),
        Case(
            "a header that splits the request",
            {"tools": [{"name": "t", "http": {"url": "http://x", "headers": {"a\r\nb": "c"}}}]},
            malformed=True,
        ),
        Case("traces to a path with a name and a password", {"observability": {"tracing": {"otlp": "http://a:b@evil/x"}}}, malformed=True),
        Case("a topic that is a path", {"pubsub": {"type": "pubsub.redis", "topic": "../x"}}, malformed=True),
    ]


def _values() -> list[Case]:
    durations = ("-1s", "0s", "1e309s", "1y", "999999999h", "1s;2s", "\u0661s", "P1D")
    crons = ("* * * * * *", "61 * * * *", "* 25 * * *", "@reboot", "0 6 * *", "*/0 * * * *", "0 6 31-1 2 x", "\uff10 6 * * *")
    quantities = ("1e999", "1..5", "--1", "\u0661", "1Zi", "")
    return [
        *(Case(f"a time-out of {text!r}", {"limits": {"runTimeout": text}}, malformed=True) for text in durations),
        *(Case(f"the schedule {c!r}", {"triggers": [{"name": "t", "task": "x", "schedule": {"cron": c}}]}, malformed=True) for c in crons),
        *(
            Case(f"a sidecar of {q!r} memory", {"dapr": {"sidecarResources": {"limits": {"memory": q}}}}, malformed=True)
            for q in quantities
        ),
        *(Case(f"an agent of {q!r} memory", {"resources": {"limits": {"memory": q}}}, malformed=True) for q in quantities),
        Case("a time zone that is a path", {"triggers": [_cron(timeZone="../../etc/passwd")]}, malformed=True),
        Case("a time zone that is none", {"triggers": [_cron(timeZone="Europe/Atlantis")]}, malformed=True),
        Case("a million pods", {"replicas": 10**6}, malformed=True),
        Case("less than no pods", {"replicas": -1}, malformed=True),
        Case("no end of tokens", {"limits": {"maxTokens": 10**30}}, malformed=True),
        Case("a temperature that is no number", {"model": {**MODEL, "temperature": "NaN"}}, malformed=True),
        Case("too many tools", {"tools": [{"name": f"t{n}", "http": {"url": "http://x"}} for n in range(65)]}, malformed=True),
        Case("a tool twice", {"tools": [{"name": "t", "http": {"url": "http://x"}}] * 2}, malformed=True),
        Case("a tool of two kinds", {"tools": [{"name": "t", "http": {"url": "http://x"}, "agent": {"name": "x"}}]}, malformed=True),
        Case("a tool of no kind", {"tools": [{"name": "t"}]}, malformed=True),
        Case("a tool that undoes itself", {"tools": [{"name": "t", "http": {"url": "http://x"}, "compensate": "t"}]}, malformed=True),
        Case("a prompt beyond its bound", {"systemPrompt": "x" * 131073}, malformed=True),
        Case("more than a revision may be", {"tools": _large()}, malformed=True),
        Case("an image that is a sentence", {"image": "registry.example.com/a b; rm -rf /"}, malformed=True),
        Case("an image that is a flag", {"image": "--privileged"}, malformed=True),
        Case("a schema with a slow pattern", {"output": {"schema": {"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}}}}),
        Case("no spec", None, malformed=True),
        Case("a spec that is a list", [1], malformed=True),
    ]


def _cron(**more: Any) -> dict[str, Any]:
    return {"name": "t", "task": "x", "schedule": {"cron": "0 6 * * *", **more}}


def _large() -> list[dict[str, Any]]:
    schema = {"type": "object", "description": "x" * 12000}
    return [{"name": f"t{number}", "http": {"url": "http://x", "inputSchema": schema}} for number in range(60)]


def _metadata() -> list[Case]:
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": "other", "uid": "00000000-0000-0000-0000-000000000001"}
    taken = ("default", "victim", "worker")
    return [
        *(Case(f"the name {name!r}", {}, malformed=True, agent=name) for name in _NAMES),
        *(Case(f"the name of a stranger's {name}", {}, malformed=True, agent=name) for name in taken),
        Case("the name of a Dapr app that is there", {}, malformed=True, agent="legacy"),
        Case("the labels of a child", {}, metadata=(("labels", {"holdfast.dev/agent": "victim"}),)),
        Case("annotations of Dapr on the Agent", {}, metadata=(("annotations", {"dapr.io/enabled": "false", "dapr.io/config": "x"}),)),
        Case("a finalizer", {}, metadata=(("finalizers", ["evil.example/never"]),)),
        Case("an owner elsewhere", {}, metadata=(("ownerReferences", [owner]),)),
        Case("another namespace", {}, malformed=True, metadata=(("namespace", "other"),)),
    ]
