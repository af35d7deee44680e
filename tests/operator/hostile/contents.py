"""Is there anything in an Agent's children that its author did not ask for, or that a Pod of this namespace could not have? Pure."""

import json
import re
from collections.abc import Iterator
from typing import Any

from holdfast_api.dapr import api_spec
from holdfast_operator import kinds

Manifest = dict[str, Any]

POD_FIELDS = {
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "terminationGracePeriodSeconds",
    "securityContext",
    "containers",
    "volumes",
    "imagePullSecrets",
    "nodeSelector",
    "tolerations",
    "affinity",
    "topologySpreadConstraints",
    "priorityClassName",
    # what the API server adds
    "restartPolicy",
    "dnsPolicy",
    "schedulerName",
}
CONTAINER_FIELDS = {
    "name",
    "image",
    "imagePullPolicy",
    "args",
    "ports",
    "env",
    "envFrom",
    "resources",
    "readinessProbe",
    "livenessProbe",
    "securityContext",
    "terminationMessagePolicy",
    "terminationMessagePath",
    "volumeMounts",
}
VOLUMES = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
COMPONENT_TYPES = ("state.", "pubsub.", "conversation.")
SIDECAR = re.compile(r"^[A-Z0-9_]+=[a-z0-9][-a-z0-9.]*:[-._a-zA-Z0-9]+$")
ANNOTATIONS = {
    "enabled": "true",
    "app-port": "8001",
    "app-protocol": "http",
    "disable-builtin-k8s-secret-store": "true",
    "enable-native-sidecar": "true",
    "sidecar-seccomp-profile-type": "RuntimeDefault",
}
FORBIDDEN_ANNOTATIONS = re.compile(
    r"^dapr\.io/(sidecar-image|env|volume-mounts|unix-domain|sidecar-listen|component|inject|placement|scheduler|enable-debug|debug-port|enable-profiling)"
)


def problems(agent: Manifest, children: list[Manifest]) -> Iterator[str]:
    """What is wrong with the children of one Agent.

    Args:
        agent: as the API server holds it.
        children: every object of the cluster with this Agent's label.
    """
    name, namespace = agent["metadata"]["name"], agent["metadata"]["namespace"]
    for child in children:
        where = f"{child['kind']} {child['metadata']['namespace']}/{child['metadata']['name']}"
        for problem in _one(child, name, namespace, agent):
            yield f"{where}: {problem}"


def _one(child: Manifest, name: str, namespace: str, agent: Manifest) -> Iterator[str]:
    metadata = child["metadata"]
    if metadata["namespace"] != namespace:
        yield "it is in another namespace"
    if metadata["name"] != name and not metadata["name"].startswith((f"{name}-", "holdfast-team-")):
        yield "it has another's name"
    owners = [owner["uid"] for owner in metadata.get("ownerReferences", ()) if owner.get("controller")]
    if not metadata["name"].startswith("holdfast-team-") and owners != [agent["metadata"]["uid"]]:
        yield f"its controllers are {owners}"
    check = {
        kinds.DEPLOYMENT.kind: _deployment,
        kinds.COMPONENT.kind: _component,
        kinds.CONFIGURATION.kind: _configuration,
        kinds.SERVICE.kind: _service,
        kinds.SERVICE_ACCOUNT.kind: _account,
        kinds.RESILIENCY.kind: _scoped,
        "Subscription": _scoped,
        kinds.DISRUPTION_BUDGET.kind: _selecting,
        kinds.NETWORK_POLICY.kind: _selecting,
    }.get(child["kind"])
    if check:
        yield from check(child, name, agent.get("spec") or {})


def _deployment(child: Manifest, name: str, spec: Manifest) -> Iterator[str]:
    template = child["spec"]["template"]
    pod = template["spec"]
    if child["spec"]["selector"] != {"matchLabels": {"holdfast.dev/agent": name}}:
        yield f"it selects {child['spec']['selector']}"
    if extra := set(pod) - POD_FIELDS:
        yield f"the pod has {sorted(extra)}"
    if pod.get("automountServiceAccountToken") is not False:
        yield "a service account token is mounted"
    if len(pod["containers"]) != 1:
        yield "there is more than one container"
    container = pod["containers"][0]
    if extra := set(container) - CONTAINER_FIELDS:
        yield f"the container has {sorted(extra)}"
    if container["args"] != ["serve"] or container["ports"] != [{"name": "http", "containerPort": 8001, "protocol": "TCP"}]:
        yield "the container has other arguments or ports"
    yield from _volumes(pod)
    yield from _environment(container["env"], name)
    yield from _annotations(template["metadata"]["annotations"], name, spec)
    if extra := _secrets(pod) - _named(spec) - {f"{name}-dapr-token", f"{name}-app-token", f"{name}-audit"}:
        yield f"the pod reaches the Secrets {sorted(extra)}, which the Agent does not name"
    labels = template["metadata"]["labels"]
    if labels["holdfast.dev/agent"] != name or labels["app.kubernetes.io/managed-by"] != "holdfast-operator":
        yield "its labels are replaced"


def _volumes(pod: Manifest) -> Iterator[str]:
    """Only kinds that Pod Security allows; and what the agent reads as its configuration is what the operator wrote."""
    for volume in pod["volumes"]:
        if extra := set(volume) - VOLUMES - {"name"}:
            yield f"a volume is {sorted(extra)}"
    for mount in pod["containers"][0]["volumeMounts"]:
        path = mount["mountPath"]
        clean = "/" + "/".join(part for part in path.split("/") if part not in {"", "."})
        ours = mount["name"].startswith("holdfast-")
        if not ours and (".." in path.split("/") or clean in {"/", "/etc"} or clean.startswith("/etc/holdfast")):
            yield f"{mount['name']} is mounted at {path}"
    (config,) = [volume for volume in pod["volumes"] if volume["name"] == "holdfast-config"]
    if set(config) != {"name", "configMap"}:
        yield "the configuration comes from elsewhere"


def _environment(variables: list[Manifest], name: str) -> Iterator[str]:
    seen: dict[str, Manifest] = {}
    for variable in variables:
        if variable["name"] in seen:
            yield f"the variable {variable['name']} is there twice"
        seen[variable["name"]] = variable
    for token, secret in (("DAPR_API_TOKEN", "dapr-token"), ("APP_API_TOKEN", "app-token"), ("HOLDFAST_AUDIT_KEY", "audit")):
        if seen[token].get("valueFrom") != {"secretKeyRef": {"name": f"{name}-{secret}", "key": "token"}}:
            yield f"{token} is {seen[token]}"
    if seen["HOLDFAST_CONFIG"].get("value") != "/etc/holdfast/agent.json":
        yield "the configuration is read elsewhere"


def _annotations(found: dict[str, str], name: str, spec: Manifest) -> Iterator[str]:
    wanted = ANNOTATIONS | {
        "app-id": name,
        "config": name,
        "api-token-secret": f"{name}-dapr-token",
        "app-token-secret": f"{name}-app-token",
    }
    for key, value in wanted.items():
        if found.get(f"dapr.io/{key}") != value:
            yield f"dapr.io/{key} is {found.get(f'dapr.io/{key}')!r}"
    for key in found:
        if FORBIDDEN_ANNOTATIONS.match(key) and key != "dapr.io/env-from-secret":
            yield f"there is {key}"
    for entry in filter(None, found.get("dapr.io/env-from-secret", "").split(",")):
        secret = entry.rpartition("=")[2].partition(":")[0]
        if not SIDECAR.match(entry) or secret not in _named(spec):
            yield f"the sidecar gets {entry}"


def _component(child: Manifest, name: str, _spec: Manifest) -> Iterator[str]:
    yield from _scoped(child, name, _spec)
    found = child["spec"]
    if not found["type"].startswith(COMPONENT_TYPES) or set(child) - {"apiVersion", "kind", "metadata", "spec", "scopes"}:
        yield f"it is a {found['type']} with {sorted(child)}"
    if set(found) - {"type", "version", "metadata", "ignoreErrors", "initTimeout"}:
        yield f"its spec has {sorted(found)}"
    entries = [entry["name"].lower() for entry in found.get("metadata", ())]
    if len(entries) != len(set(entries)):
        yield f"an entry is there twice: {entries}"
    for entry in found.get("metadata", ()):
        if set(entry) - {"name", "value", "envRef"} or not entry.get("envRef", "HOLDFAST_SECRET_").startswith("HOLDFAST_SECRET_"):
            yield f"it has the entry {entry}"
    actor = [entry["value"] for entry in found.get("metadata", ()) if entry["name"].lower() == "actorstatestore"]
    if found["type"].startswith("state.") and child["metadata"]["name"] == f"{name}-state" and actor != ["true"]:
        yield f"actorStateStore is {actor}"


def _configuration(child: Manifest, name: str, spec: Manifest) -> Iterator[str]:
    found = child["spec"]
    allowed = {json.dumps(rule, sort_keys=True) for rule in found["api"]["allowed"]}
    least = {json.dumps(rule, sort_keys=True) for rule in api_spec()["allowed"]}
    broad = {"publish", "invoke", "pubsub", "mcp", "bindings"} if spec else set()
    extra = [rule for rule in allowed - least if json.loads(rule)["name"] not in broad - {"bindings"}]
    if extra:
        yield f"the sidecar's API allows {extra}"
    access = found["accessControl"]
    callers = {name, *((spec.get("access") or {}).get("callers") or ())}
    if access["defaultAction"] != "deny" or not {policy["appId"] for policy in access.get("policies", ())} <= callers:
        yield f"access control is {access}"
    if any(policy["namespace"] != child["metadata"]["namespace"] for policy in access.get("policies", ())):
        yield "callers of another namespace are let in"


def _service(child: Manifest, name: str, _spec: Manifest) -> Iterator[str]:
    found = child["spec"]
    if found.get("type", "ClusterIP") != "ClusterIP" or found.get("externalIPs") or found.get("externalName"):
        yield f"it is {found}"
    if found["selector"] != {"holdfast.dev/agent": name} or [port["port"] for port in found["ports"]] != [8001]:
        yield f"it leads to {found['selector']} {found['ports']}"


def _account(child: Manifest, _name: str, _spec: Manifest) -> Iterator[str]:
    if child.get("automountServiceAccountToken") is not False or child.get("secrets") or child.get("imagePullSecrets"):
        yield "it has more than a name"


def _scoped(child: Manifest, name: str, _spec: Manifest) -> Iterator[str]:
    if child.get("scopes") != [name]:
        yield f"its scopes are {child.get('scopes')}"


def _selecting(child: Manifest, name: str, _spec: Manifest) -> Iterator[str]:
    found = child["spec"].get("podSelector") or child["spec"].get("selector")
    if found != {"matchLabels": {"holdfast.dev/agent": name}}:
        yield f"it selects {found}"


def _secrets(value: Any) -> set[str]:
    """Names of Secrets that a pod's spec refers to."""
    if isinstance(value, list):
        return set().union(*map(_secrets, value))
    if not isinstance(value, dict):
        return set()
    found = {str(value["secretName"])} if "secretName" in value else set()
    for key, inner in value.items():
        if key in {"secretKeyRef", "secretRef"}:
            found.add(str(inner.get("name")))
        elif key == "imagePullSecrets":
            found |= {str(entry.get("name")) for entry in inner}
        else:
            found |= _secrets(inner)
    return found


def _named(value: Any) -> set[str]:
    """Names of Secrets that an Agent's spec says, wherever it says them."""
    if isinstance(value, dict):
        own = {str(value["apiKeySecretRef"].get("name"))} if isinstance(value.get("apiKeySecretRef"), dict) else set()
        return own.union(_secrets(value), *map(_named, value.values()))
    return set().union(*map(_named, value)) if isinstance(value, list) else set()
