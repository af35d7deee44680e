"""Lists, and Agents that they refuse: the list that has to say so, and the spec."""

ALLOW = {
    "images": ["registry.example.com/agents/*"],
    "providers": ["openai", "azure"],
    "hosts": ["gateway.internal", "*.tools.svc", "mcp.example.com:8443", "[fd00::1]:80"],
    "components": ["agent-*"],
    "componentTypes": ["state.redis", "pubsub.redis"],
    "secrets": ["openai", "shared-*"],
    "serviceAccounts": [],
    "volumes": ["emptyDir"],
    "env": ["APP_*", "a*", "LD_PRELOAD", "OPENSSL_CONF", "PATH", "https_proxy"],
    "python": ["reviewed"],
    "podLabels": ["app", "team.example.com/*"],
    "podAnnotations": ["example.com/note"],
    "priorityClasses": ["batch-*"],
    "tolerations": ["gpu"],
}
SECRET = {"name": "stolen", "key": "k"}
FROM = {"name": "k", "secretKeyRef": SECRET}
MODEL = {"provider": "openai", "name": "m"}


def http(**more):
    return {"tools": [{"name": "t", "http": {"url": "https://a.tools.svc/x", **more}}]}


def mcp(**more):
    return {"tools": [{"name": "t", "mcp": {"url": "https://a.tools.svc/x", **more}}]}


def model(**more):
    return {"model": {**MODEL, **more}}


def route(routed):
    """A model for the turns after a tool."""
    return http() | model(routes=[{"tools": ["t"], "model": routed}])


def metadata(kind, **entry):
    return {kind: {"type": f"{'state' if kind == 'state' else 'pubsub'}.redis", "metadata": [{"name": "redisHost", **entry}]}}


SECRETS = {
    "model.apiKeySecretRef": model(apiKeySecretRef=SECRET),
    "model.optionsFrom[].secretKeyRef": model(optionsFrom=[FROM]),
    "model.fallbacks[].apiKeySecretRef": model(fallbacks=[{**MODEL, "apiKeySecretRef": SECRET}]),
    "model.fallbacks[].optionsFrom[].secretKeyRef": model(fallbacks=[{**MODEL, "optionsFrom": [FROM]}]),
    "evaluation.model.apiKeySecretRef": {"evaluation": {"criteria": "c", **model(apiKeySecretRef=SECRET)}},
    "evaluation.model.optionsFrom[].secretKeyRef": {"evaluation": {"criteria": "c", **model(optionsFrom=[FROM])}},
    "model.routes[].model.apiKeySecretRef": route({**MODEL, "apiKeySecretRef": SECRET}),
    "model.routes[].model.optionsFrom[].secretKeyRef": route({**MODEL, "optionsFrom": [FROM]}),
    "memory.model.apiKeySecretRef": {"memory": model(apiKeySecretRef=SECRET)},
    "memory.model.optionsFrom[].secretKeyRef": {"memory": model(optionsFrom=[FROM])},
    "state.metadata[].secretKeyRef": metadata("state", secretKeyRef=SECRET),
    "pubsub.metadata[].secretKeyRef": metadata("pubsub", secretKeyRef=SECRET),
    "tools[].http.headersFrom[].secretKeyRef": http(headersFrom=[{"name": "A", "secretKeyRef": SECRET}]),
    "tools[].mcp.headersFrom[].secretKeyRef": mcp(headersFrom=[{"name": "A", "secretKeyRef": SECRET}]),
    "env[].valueFrom.secretKeyRef": {"env": [{"name": "APP_X", "valueFrom": {"secretKeyRef": SECRET}}]},
    "envFrom[].secretRef": {"envFrom": [{"secretRef": {"name": "stolen"}}]},
    "volumes[].secret": {"volumes": [{"name": "v", "secret": {"secretName": "stolen"}}]},
    "imagePullSecrets[]": {"imagePullSecrets": [{"name": "stolen"}]},
}
COMPONENTS = {
    "model.component": {"model": {"component": "theirs"}},
    "model.fallbacks[].component": model(fallbacks=[{"component": "theirs"}]),
    "evaluation.model.component": {"evaluation": {"criteria": "c", "model": {"component": "theirs"}}},
    "model.routes[].model.component": route({"component": "theirs"}),
    "memory.model.component": {"memory": {"model": {"component": "theirs"}}},
    "state.component": {"state": {"component": "theirs"}},
    "memory.component": {"memory": {"component": "theirs"}},
    "pubsub.component": {"pubsub": {"component": "theirs"}},
    "triggers[].topic.component": {"triggers": [{"name": "t", "topic": {"component": "theirs", "name": "x"}}]},
}
HOSTS = {
    "model.endpoint": model(endpoint="https://evil.example/v1"),
    "model.fallbacks[].endpoint": model(fallbacks=[{**MODEL, "endpoint": "https://evil.example"}]),
    "evaluation.model.endpoint": {"evaluation": {"criteria": "c", **model(endpoint="https://evil.example")}},
    "model.routes[].model.endpoint": route({**MODEL, "endpoint": "https://evil.example"}),
    "memory.model.endpoint": {"memory": model(endpoint="https://evil.example")},
    "tools[].http.url": http(url="https://evil.example/x"),
    "tools[].mcp.url": mcp(url="https://evil.example/x"),
    "observability.tracing.otlp": {"observability": {"tracing": {"otlp": "http://evil.example:4318"}}},
    "observability.tracing.zipkin": {"observability": {"tracing": {"zipkin": "http://evil.example/spans"}}},
}
REFUSED = {
    **{f"secrets: {where}": ("secrets", spec) for where, spec in SECRETS.items()},
    **{f"components: {where}": ("components", spec) for where, spec in COMPONENTS.items()},
    **{f"hosts: {where}": ("hosts", spec) for where, spec in HOSTS.items()},
    "images": ("images", {"image": "registry.example.com/agents-evil:1"}),
    "providers": ("providers", {"model": {"provider": "anthropic", "name": "m"}}),
    "providers of a fallback": ("providers", model(fallbacks=[{"provider": "echo"}])),
    "components of an MCPServer": ("components", {"tools": [{"name": "t", "mcp": {"server": "theirs"}}]}),
    "component types of a store": ("componentTypes", {"state": {"type": "state.sqlite"}}),
    "component types of a broker": ("componentTypes", {"pubsub": {"type": "pubsub.kafka"}}),
    "service accounts": ("serviceAccounts", {"serviceAccountName": "admin"}),
    "volumes": ("volumes", {"volumes": [{"name": "v", "configMap": {"name": "c"}}]}),
    "a claim": ("volumes", {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}),
    "env": ("env", {"env": [{"name": "HTTPS_PROXY", "value": "x"}]}),
    "env from a ConfigMap": ("env", {"envFrom": [{"configMapRef": {"name": "c"}}]}),
    "env from an allowed Secret": ("env", {"envFrom": [{"secretRef": {"name": "openai"}}]}),
    "a nameless Secret": ("secrets", {"volumes": [{"name": "v", "secret": {}}]}),
    "hosts by a proxy": ("hosts", {"env": [{"name": "https_proxy", "value": "http://evil.example"}]}),
    "hosts by a Secret": ("hosts", model(optionsFrom=[{"name": "baseUrl", "secretKeyRef": {"name": "openai", "key": "k"}}])),
    "python": ("python", {"tools": [{"name": "t", "python": {"configMapKeyRef": {"name": "mine", "key": "k"}, "function": "f"}}]}),
    **{f"python by {name}": ("python", {"env": [{"name": name, "value": "/data/x"}]}) for name in ("LD_PRELOAD", "OPENSSL_CONF", "PATH")},
    "code by a variable that no list of loaders has": ("env", {"env": [{"name": "MODULES_OF_SOMETHING", "value": "/data/x"}]}),
    "a host by a search domain": ("env", {"env": [{"name": "LOCALDOMAIN", "value": "evil.example"}]}),
    "labels": ("podLabels", {"podLabels": {"app": "a", "trusted": "yes"}}),
    "annotations": ("podAnnotations", {"podAnnotations": {"sidecar.istio.io/proxyImage": "evil.example/proxy"}}),
    "priority classes": ("priorityClasses", {"priorityClassName": "system-cluster-critical"}),
    "tolerations": ("tolerations", {"tolerations": [{"key": "gpu"}, {"key": "node-role.kubernetes.io/control-plane"}]}),
    "a toleration of everything": ("tolerations", {"tolerations": [{"operator": "Exists"}]}),
    "python by a mount": ("python", {"volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": "/opt"}]}),
}
URLS = [
    "https://gateway.internal.evil.example/",
    "https://gateway.internal@evil.example/",
    "https://evil.example/@gateway.internal",
    "https://evil.example#@gateway.internal/",
    "https://evil.example?@gateway.internal/",
    "https://evil.example\\@gateway.internal/",
    "https://{host}.tools.svc/",
    "https://tools.svc/",
    "https://eviltools.svc/",
    "https://mcp.example.com/",
    "https://mcp.example.com:8444/",
    "https://mcp.example.com:8443@evil.example/",
    "https://gateway.internal%2eevil.example/",
    "https://[fd00::1]/",
    "https://[fd00::1]:443/",
    "https://169.254.169.254/latest",
    "https://gateway。internal/",
    "https:///gateway.internal/",
]
