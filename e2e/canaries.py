"""Where a secret must not be, read from the real places: what etcd holds outside Secrets, Redis, what was said, the images' layers."""

import base64
import io
import json
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping

from e2e import holdfast
from e2e.cluster import cluster, engine
from e2e.cluster.faults import Fault
from e2e.cluster.places import Places
from e2e.holdfast import kubectl

ETCD = "https://127.0.0.1:2379/v3/kv/range"
PKI = "/etc/kubernetes/pki/etcd"
SECRETS = "/registry/secrets/"
# Every key with all that it holds, whatever its type, in one answer.
DUMP = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local asked = {string = {'GET', key}, hash = {'HGETALL', key}, list = {'LRANGE', key, 0, -1}, set = {'SMEMBERS', key},
    zset = {'ZRANGE', key, 0, -1}, stream = {'XRANGE', key, '-', '+'}}
  found[#found + 1] = {key, redis.call(unpack(asked[kind]))}
end
return found
"""
SHORTEST_IN_BASE64 = 8


def spellings(secret: str) -> list[bytes]:
    """As it is, and as it looks within base64, which a store may keep: at each of the three places where it may begin."""
    within = [base64.b64encode(b"x" * shift + secret.encode())[4 * bool(shift) : -4] for shift in range(3)]
    return [secret.encode(), *(text for text in within if len(text) >= SHORTEST_IN_BASE64)]


def hits(secrets: Mapping[str, str], written: Iterable[tuple[str, bytes]], *, encoded: bool = True) -> list[str]:
    """`SECRET in PLACE` for every secret (name to value) in one of the places (name and content), as it is or (`encoded`) in base64."""
    wanted = {name: spellings(value) if encoded else [value.encode()] for name, value in secrets.items()}
    return [
        f"{name} in {place}"
        for place, content in written
        for name, spelt in wanted.items()
        if any(spelling in content for spelling in spelt)
    ]


def in_secrets(namespace: str) -> dict[str, str]:
    """Every value of every Secret of a namespace that is text of some length, by `SECRET/KEY`."""
    found = {}
    for secret in holdfast.get("secrets", "-n", namespace)["items"]:
        for key, value in secret.get("data", {}).items():
            found[f"{secret['metadata']['name']}/{key}"] = base64.b64decode(value).decode()
    return found


def outside_secrets(here: Places) -> dict[str, bytes]:
    """All that the cluster stores outside Secrets: each key of etcd, or, in a cluster whose etcd is out of reach, each kind of object.

    Raises:
        Fault: etcd does not answer.
    """
    return _listed() if cluster.is_current() else _etcd(here)


def _etcd(here: Places) -> dict[str, bytes]:
    everything = base64.b64encode(b"\0").decode()
    keys = ["--cacert", f"{PKI}/ca.crt", "--cert", f"{PKI}/healthcheck-client.crt", "--key", f"{PKI}/healthcheck-client.key"]
    asked = ["curl", "--silent", *keys, ETCD, "--data", json.dumps({"key": everything, "range_end": everything})]
    running = engine.find()
    text = running.ask("exec", f"{here.name}-control-plane", *asked) if running else ""
    if not text:
        raise Fault("etcd of the cluster does not answer", fix="make cluster")
    pairs = {base64.b64decode(pair["key"]).decode(): base64.b64decode(pair.get("value", "")) for pair in json.loads(text)["kvs"]}
    return {key: value for key, value in pairs.items() if not key.startswith(SECRETS)}


def _listed() -> dict[str, bytes]:
    kinds = [kind for kind in kubectl("api-resources", "--verbs=list", "-o", "name").split() if kind != "secrets"]
    return {kind: kubectl("get", kind, "-A", "-o", "json", timeout=120).encode() for kind in kinds}


def in_redis() -> dict[str, bytes]:
    """All that the chart's Redis holds: runs, histories, sessions, topics."""
    said = kubectl("exec", "-n", holdfast.NAMESPACE, "holdfast-redis-0", "--", "redis-cli", "--no-raw", "EVAL", DUMP, "0", timeout=120)
    return {"redis": said.encode()}


def said(namespaces: Iterable[str]) -> dict[str, bytes]:
    """The logs of every container, and the Events, of some namespaces."""
    found = {}
    for namespace in namespaces:
        for pod in kubectl("get", "pods", "-n", namespace, "-o", "name").split():
            try:
                text = kubectl("logs", "-n", namespace, pod, "--all-containers", "--prefix", "--ignore-errors", timeout=120)
            except Fault as fault:
                if "not found" not in fault.what:  # a pod on its way out may be gone by now
                    raise
            else:
                found[f"log {namespace}/{pod}"] = text.encode()
        found[f"events {namespace}"] = kubectl("get", "events", "-n", namespace, "-o", "json").encode()
    return found


def in_layers(image: str) -> Iterator[tuple[str, bytes]]:
    """Each file of each layer of an image of the engine, also those that a later layer hides, and its configuration and history."""
    if cluster.is_current():
        subprocess.run(["docker", "pull", "--quiet", image], env=holdfast.environment(), capture_output=True, timeout=300, check=False)
    done = subprocess.run(["docker", "save", image], env=holdfast.environment(), capture_output=True, timeout=120, check=False)
    if done.returncode:
        raise Fault(f"docker save {image}: {done.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as saved:
        for member in saved:
            content = saved.extractfile(member) if member.isfile() else None
            if content is not None:
                yield from _files(f"{image} {member.name}", content.read())


def _files(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    if not tarfile.is_tarfile(io.BytesIO(content)):
        yield name, content
        return
    with tarfile.open(fileobj=io.BytesIO(content)) as layer:
        for member in layer:
            inside = layer.extractfile(member) if member.isfile() else None
            yield f"{name}: {member.name}", (inside.read() if inside else member.linkname.encode()) + member.name.encode()
