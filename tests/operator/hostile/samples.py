"""Agents that are in order and between them say everything an Agent can say: what hostile ones are made from."""

from typing import Any

Spec = dict[str, Any]

SECRET = {"name": "own", "key": "key"}
TEXT = {"name": "texts", "key": "text"}
MODEL: Spec = {
    "provider": "openai",
    "name": "gpt",
    "endpoint": "https://gateway.internal/v1",
    "apiKeySecretRef": SECRET,
    "temperature": 0.5,
    "timeout": "60s",
    "options": {"region": "eu"},
    "optionsFrom": [{"name": "accessKey", "secretKeyRef": SECRET}],
    "contextTokens": 64000,
}
BREAKER = {"consecutiveFailures": 3, "timeout": "10s"}
RETRIES = {"maxAttempts": 3, "initial": "1s", "max": "5s"}
RESOURCES = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}

INLINE: Spec = {
    "image": "registry.example.com/agents/a:1",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "own"}],
    "env": [{"name": "APP_A", "value": "x"}, {"name": "APP_B", "valueFrom": {"secretKeyRef": SECRET}}],
    "envFrom": [{"configMapRef": {"name": "texts"}, "prefix": "X_"}, {"secretRef": {"name": "own"}}],
    "resources": RESOURCES,
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    "terminationGracePeriodSeconds": 60,
    "podLabels": {"team": "a"},
    "podAnnotations": {"note": "a"},
    "volumes": [
        {"name": "texts", "configMap": {"name": "texts"}},
        {"name": "keys", "secret": {"secretName": "own"}},
        {"name": "room", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}},
    ],
    "volumeMounts": [{"name": "texts", "mountPath": "/mnt/texts", "readOnly": True}, {"name": "room", "mountPath": "/data"}],
    "dapr": {"sidecarResources": RESOURCES},
    "description": "d",
    "role": "r",
    "goal": "g",
    "instructions": ["one"],
    "systemPrompt": "free text",
    "model": {**MODEL, "fallbacks": [MODEL], "routes": [{"tools": ["search"], "model": MODEL}]},
    "tools": [
        {
            "name": "search",
            "description": "d",
            "timeout": "10s",
            "retries": RETRIES,
            "rateLimit": {"perMinute": 5},
            "delivery": "atMostOnce",
            "approval": {"required": True, "timeout": "1h", "onTimeout": "reject"},
            "http": {
                "url": "https://a.tools.svc/{city}",
                "method": "POST",
                "headers": {"X-A": "v"},
                "headersFrom": [{"name": "Authorization", "prefix": "Bearer ", "secretKeyRef": SECRET}],
                "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        },
        {"name": "book", "compensate": "undo", "python": {"configMapKeyRef": TEXT, "function": "f"}},
        {"name": "undo", "http": {"url": "https://b.tools.svc/"}},
        {
            "name": "maps",
            "mcp": {
                "url": "https://maps.tools.svc/mcp",
                "transport": "sse",
                "allow": ["route"],
                "headers": {"X-A": "v"},
                "headersFrom": [{"name": "X-K", "secretKeyRef": SECRET}],
            },
        },
        {"name": "critic", "agent": {"name": "critic"}},
    ],
    "state": {
        "type": "state.redis",
        "version": "v1",
        "metadata": [{"name": "redisHost", "value": "redis:6379"}, {"name": "redisPassword", "secretKeyRef": SECRET}],
    },
    "memory": {"maxMessages": 10, "compaction": "truncate", "model": MODEL},
    "output": {"schema": {"type": "object", "properties": {"a": {"type": "string"}}}, "maxRepairs": 1},
    "evaluation": {"criteria": "c", "model": MODEL, "maxRounds": 1},
    "limits": {
        "maxIterations": 5,
        "runTimeout": "2h",
        "maxTokens": 1000,
        "maxToolCalls": 10,
        "maxRepeatedCalls": 3,
        "maxConcurrentRuns": 5,
        "maxDepth": 2,
        "onExceeded": "fail",
    },
    "retention": {"completed": "1h", "failed": "2h", "sessions": "3h"},
    "access": {"auth": "token", "callers": ["planner"]},
    "capabilities": ["planning"],
    "team": "travel",
    "pubsub": {
        "type": "pubsub.redis",
        "version": "v1",
        "metadata": [{"name": "redisHost", "value": "redis:6379"}, {"name": "redisPassword", "secretKeyRef": SECRET}],
        "topic": "in",
        "broadcast": "all",
        "publishResults": "out",
    },
    "triggers": [
        {
            "name": "nightly",
            "task": "t",
            "schedule": {
                "cron": "0 6 * * *",
                "timeZone": "UTC",
                "suspend": False,
                "concurrencyPolicy": "Forbid",
                "startingDeadline": "1m",
            },
        },
        {"name": "orders", "topic": {"name": "orders.new", "deadLetter": "orders.dead"}},
    ],
    "resiliency": {
        "model": {"timeout": "30s", "circuitBreaker": BREAKER},
        "tools": {"timeout": "30s", "retries": RETRIES, "circuitBreaker": BREAKER},
        "state": {"timeout": "30s", "circuitBreaker": BREAKER},
    },
    "observability": {
        "tracing": {"samplingRate": "0.5", "otlp": "http://otel.tools.svc:4318", "zipkin": "http://zipkin.tools.svc:9411/api/v2/spans"},
        "apiLogging": True,
        "logLevel": "debug",
        "metrics": True,
    },
    "suspend": False,
    "replicas": 2,
}

BY_NAME: Spec = {
    "systemPromptFrom": {"configMapKeyRef": TEXT},
    "serviceAccountName": "worker",
    "priorityClassName": "high",
    "model": {
        "component": "llm",
        "fallbacks": [{"component": "llm"}],
        "routes": [{"tools": ["maps"], "model": {"component": "llm"}}],
    },
    "tools": [{"name": "maps", "mcp": {"server": "maps"}}],
    "state": {"component": "store"},
    "memory": {"component": "store", "model": {"component": "llm"}},
    "evaluation": {"criteria": "c", "model": {"component": "llm"}},
    "pubsub": {"component": "broker"},
    "triggers": [{"name": "orders", "topic": {"component": "broker", "name": "orders.new"}}],
}
