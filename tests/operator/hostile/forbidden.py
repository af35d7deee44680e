"""What of an Agent a set of lists forbids, found without CEL and without knowing the CRD: by the names of fields alone. Pure."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

Lists = dict[str, list[str]]
_SECRETS = {"secretKeyRef", "secretRef", "apiKeySecretRef"}
_URLS = {"url", "endpoint", "otlp", "zipkin"}
_NAMED = {"component": "components", "server": "components", "provider": "providers"}
_VOLUMES = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}


def forbidden(spec: Any, allow: Lists) -> list[str]:
    """Uses that are not on the lists, as `list: value`."""
    return sorted({f"{kind}: {value}" for kind, value in _uses(spec) if not _has(allow[kind], value, host=kind == "hosts")})


def _has(entries: list[str], value: str, *, host: bool) -> bool:
    if not host:
        return any(value.startswith(entry[:-1]) if entry.endswith("*") else value == entry for entry in entries)
    parts = urlsplit(value)
    name, place = (parts.hostname or "").lower(), parts.netloc.lower()
    return any(name.endswith(entry[1:]) if entry.startswith("*.") else entry in {place, name} for entry in entries)


def _uses(spec: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(spec, dict):
        return
    for field, kind in (("image", "images"), ("serviceAccountName", "serviceAccounts"), ("priorityClassName", "priorityClasses")):
        if field in spec:
            yield kind, str(spec[field])
    for volume in spec.get("volumes") or ():
        yield from (("volumes", field) for field in volume if field in _VOLUMES)
        if "secret" in volume:
            yield "secrets", str(volume["secret"].get("secretName"))
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", str(secret.get("name"))
    for variable in spec.get("env") or ():
        yield "env", str(variable.get("name"))
    yield from (("env", "envFrom") for _ in spec.get("envFrom") or ())
    for field in ("podLabels", "podAnnotations"):
        yield from ((field, key) for key in spec.get(field) or ())
    yield from (("tolerations", str(toleration.get("key") or "*")) for toleration in spec.get("tolerations") or ())
    yield from _anywhere(spec)


def _anywhere(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _anywhere(item)
    elif isinstance(value, dict):
        for field, inner in value.items():
            if field not in {"inputSchema", "schema"}:  # a JSON Schema is data
                yield from _field(field, inner)
                yield from _anywhere(inner)


def _field(field: str, inner: Any) -> Iterator[tuple[str, str]]:
    if field in _SECRETS:
        yield "secrets", str(inner.get("name"))
    elif field == "python":
        yield "python", str(inner["configMapKeyRef"].get("name"))
    elif isinstance(inner, str):
        if field in _URLS:
            yield "hosts", inner
        elif field in _NAMED:
            yield _NAMED[field], inner
        elif field == "type" and "." in inner:
            yield "componentTypes", inner
