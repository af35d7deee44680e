"""How fast, how cheap and how quiet is the operator? More and more Agents on an API server of its own.

    python -m bench.operator_rate --stages 10,1000,5000 --idle 300

The same run also measures what this API server takes from a bare client: the same objects, by the same verbs, before the operator is there
and after every stage beside all that is stored by then, since a server that has many Services takes longer for one more. At each stage
Agents are made as fast as they are taken, then some more one at a time, since latency under a burst is only its length. At the end the
operator is left alone, then started again. Counts come from the API server's own metrics. Prints one JSON object.
"""

import argparse
import asyncio
import collections
import contextlib
import itertools
import json
import os
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import yaml

from e2e.cluster import tools
from e2e.cluster.apiserver import ApiServer
from e2e.cluster.places import places
from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import parse_agent
from holdfast_api.names import LABEL_AGENT
from holdfast_api.resolve import resolve
from holdfast_operator import kinds
from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.credentials import Credentials
from holdfast_operator.desired import desired
from holdfast_operator.desired.secrets import token_names, token_secret

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS: dict[str, Any] = {
    "image": "holdfast-agent:bench",
    "model": {"provider": "echo"},
    "state": {"type": "state.redis", "metadata": [{"name": "redisHost", "value": "redis:6379"}]},
}
SPEC = {"role": "Travel assistant", "goal": "Find flights", "instructions": ["Ask when a date is missing."] * 5}
CRD = kinds.Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
NAMESPACE = kinds.Kind("", "v1", "namespaces", "Namespace")
WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE"}
OF_THE_SERVER = {"leases", "ipaddresses"}
"""What the API server writes by itself: its own identity, and an address for each Service."""

CONCURRENCY = 16
BENCH, OPERATOR = "bench", "operator"
SETTLE = 10.0
RAW = 100
PACED = 60
Counts = collections.Counter[tuple[str, str]]


def connect(server: ApiServer) -> Cluster:
    """A client of the administrator."""
    authority = str(server.folder / "certs" / "apiserver.crt")
    info = kopf.ConnectionInfo(server=server.url, ca_path=authority, token=server.token)
    return Cluster(Credentials(lambda: info))


async def prepare(cluster: Cluster) -> None:
    """Install the CRDs and wait until all of them are served."""
    files = [ROOT / "crds/agents.holdfast.dev.yaml", *sorted((tools.folder(places(), "dapr") / "chart/crds").glob("*.yaml"))]
    for file in files:
        for manifest in yaml.safe_load_all(file.read_text()):
            if manifest:
                await cluster._request("POST", CRD, CRD.path(None), body=manifest)  # noqa: SLF001 - the administrator's right
    for kind in (kinds.AGENT, *kinds.CHILDREN):
        for _ in range(200):
            try:
                async for _page in cluster.pages(kind, None):
                    break
                break
            except ApiError:
                await asyncio.sleep(0.1)


async def counts(server: ApiServer) -> Counts:
    """Requests that the API server has seen so far, by verb and resource."""
    context = ssl.create_default_context(cafile=str(server.folder / "certs" / "apiserver.crt"))
    session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.token}"})
    async with session, session.get(f"{server.url}/metrics", ssl=context) as answer:
        text = await answer.text()
    found: Counts = collections.Counter()
    for line in text.splitlines():
        if match := re.match(r"apiserver_request_total\{(.*)\} (\S+)", line):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match[1]))
            found[labels["verb"], labels["resource"]] += int(float(match[2]))
    return found


def process(pid: int) -> tuple[float, float, float]:
    """CPU seconds, RSS and peak RSS in MiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return cpu, int(status["VmRSS"].split()[0]) / 1024, int(status["VmHWM"].split()[0]) / 1024


def _unseen(manifest: dict[str, Any]) -> dict[str, Any]:
    """The same object, somebody else's: the operator would ask at every stock-taking for an Agent that is not there."""
    metadata = manifest["metadata"]
    labels = {key.replace(LABEL_AGENT, "bench.holdfast.dev/agent"): value for key, value in metadata["labels"].items()}
    owners = [owner | {"apiVersion": "bench.holdfast.dev/v1"} for owner in metadata["ownerReferences"]]
    return manifest | {"metadata": metadata | {"labels": labels, "ownerReferences": owners}}


async def raw_rate(cluster: Cluster, name: str, number: int = RAW) -> dict[str, float]:
    """Write what `number` Agents come to into a new namespace, without reading anything before; an operator that runs sees none of it."""
    await cluster.create(NAMESPACE, {"metadata": {"name": name, "namespace": None}})
    defaults, gate, done = AgentDefaults.model_validate(DEFAULTS), asyncio.Semaphore(CONCURRENCY), 0

    async def one(index: int) -> None:
        nonlocal done
        uid = f"00000000-0000-0000-0000-{index:012}"
        agent = parse_agent({"metadata": {"name": f"a{index}", "namespace": name, "uid": uid}, "spec": SPEC})
        async with gate:
            for secret in token_names(agent.metadata.name):
                await cluster.create(kinds.SECRET, _unseen(token_secret(agent, secret, "x" * 43)))
                done += 1
            for step in desired(agent, resolve(agent, defaults, {}), defaults):
                for child in step:
                    await cluster.apply(child.kind, _unseen(child.manifest))
                    done += 1

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(index) for index in range(number)))
    seconds = time.perf_counter() - started
    return {"writes_per_s": round(done / seconds, 1), "client_cpu_ms_per_write": round((time.process_time() - cpu) * 1000 / done, 3)}


def start(server: ApiServer, folder: Path) -> "tuple[subprocess.Popen[bytes], int]":
    """Start the operator cluster-wide and wait until it is ready; its process and its HTTP port."""
    (folder / "defaults.yaml").write_text(yaml.safe_dump(DEFAULTS))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "KUBECONFIG": str(server.kubeconfig),
        "HOLDFAST_DEFAULTS_FILE": str(folder / "defaults.yaml"),
        "HOLDFAST_HTTP_PORT": str(port),
        "HOLDFAST_LOG_LEVEL": "warning",
        "HOLDFAST_POD_NAMESPACE": OPERATOR,
    }
    running = subprocess.Popen([sys.executable, "-m", "holdfast_operator"], env=environment)
    for _ in range(1200):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            if answer.status == HTTPStatus.OK:
                return running, port
        time.sleep(0.05)
    raise SystemExit("the operator does not get ready")


async def watch_children(cluster: Cluster, namespace: str, seen: dict[str, float]) -> None:
    """Note when each Agent's last child, its Deployment, was there."""
    version = ""
    async for page in cluster.pages(kinds.DEPLOYMENT, namespace, metadata_only=True):
        version = version or page.version
    while True:
        async for kind, live in cluster.watch(kinds.DEPLOYMENT, namespace, version):
            version = live["metadata"]["resourceVersion"]
            if kind == "ADDED":
                seen[live["metadata"]["name"]] = time.perf_counter()


async def create(cluster: Cluster, names: Sequence[str], seen: dict[str, float], *, at_once: int = CONCURRENCY) -> list[float]:
    """Create Agents, so many at once, and wait until their last children are there; one at a time waits for each.

    Returns:
        Seconds from an Agent's creation until then, sorted.
    """
    gate, born = asyncio.Semaphore(at_once), {}

    async def there(wanted: Collection[str]) -> None:
        while not seen.keys() >= set(wanted):  # noqa: ASYNC110 - what is waited for happens on an API server
            await asyncio.sleep(0.01)

    async def one(name: str) -> None:
        head = {"name": name, "namespace": BENCH}
        async with gate:
            born[name] = time.perf_counter()
            await cluster.create(kinds.AGENT, {"apiVersion": kinds.AGENT.api_version, "kind": "Agent", "metadata": head, "spec": SPEC})
            if at_once == 1:
                await there([name])

    await asyncio.gather(*(one(name) for name in names))
    await there(names)
    return sorted(seen[name] - born[name] for name in names)


def _at(sorted_values: list[float], share: float) -> float:
    """A quantile, in milliseconds."""
    return round(sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))] * 1000, 1)


async def stage(cluster: Cluster, server: ApiServer, pid: int, target: int, seen: dict[str, float]) -> dict[str, Any]:
    """Go on to `target` Agents at once, then time some more one at a time."""
    have = len(seen)
    number = target - have
    before, cpu0, started = await counts(server), process(pid)[0], time.perf_counter()
    burst = await create(cluster, [f"a{index}" for index in range(have, target)], seen)
    seconds = time.perf_counter() - started
    await asyncio.sleep(SETTLE)
    after, (cpu1, rss, peak) = await counts(server), process(pid)
    made = after - before
    writes = sum(count for (verb, resource), count in made.items() if verb in WRITES and resource not in OF_THE_SERVER) - number
    reads = sum(count for (verb, resource), count in made.items() if verb == "GET" and resource not in {"", "agents"})
    paced = await create(cluster, [f"p{target}-{index}" for index in range(PACED)], seen, at_once=1)
    return {
        "agents": target,
        "agents_per_s": round(number / seconds, 1),
        "writes_per_s": round(writes / seconds, 1),
        "writes_per_agent": round(writes / number, 2),
        "reads_per_agent": round(reads / number, 2),
        "writes": {" ".join(key): count for key, count in made.items() if key[0] in WRITES},
        "cpu_ms_per_write": round((cpu1 - cpu0) * 1000 / writes, 3),
        "cpu_ms_per_agent": round((cpu1 - cpu0) * 1000 / number, 2),
        "burst_ms": {"p50": _at(burst, 0.5), "p99": _at(burst, 0.99)},
        "one_at_a_time_ms": {"p50": _at(paced, 0.5), "p99": _at(paced, 0.99)},
        "rss_mib": {"settled": round(rss), "peak": round(peak)},
        "load": [round(value, 1) for value in os.getloadavg()],
    }


async def rest(server: ApiServer, pid: int, seconds: float) -> dict[str, Any]:
    """What the operator asks for and computes while nothing happens. Its own watches and the bench's counting are left out."""
    before, cpu0 = await counts(server), process(pid)[0]
    await asyncio.sleep(seconds)
    idle, cpu1 = await counts(server) - before, process(pid)[0]
    asked = {" ".join(key): count for key, count in idle.items() if key[0] != "WATCH" and key[1]}
    return {"seconds": seconds, "requests": asked, "cpu_s": round(cpu1 - cpu0, 2)}


async def restart(server: ApiServer, folder: Path) -> dict[str, Any]:
    """Start the operator beside Agents that are all in order: until it has looked at each, and what that took."""
    before, started = await counts(server), time.perf_counter()
    running, port = await asyncio.to_thread(start, server, folder)
    agents, looks = 1, 0
    while looks < agents:
        await asyncio.sleep(0.5)
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        looks = _sum(lines, "holdfast_reconciles_total")
        agents = max(1, _sum(lines, "holdfast_agents{"))
    seconds = time.perf_counter() - started
    asked, (cpu, rss, peak) = await counts(server) - before, process(running.pid)
    running.terminate()
    running.wait(30)
    writes = {" ".join(key): count for key, count in asked.items() if key[0] in WRITES}
    reads = sum(count for (verb, resource), count in asked.items() if verb in {"GET", "LIST"} and resource)
    return {
        "seconds": round(seconds, 1),
        "cpu_s": round(cpu, 2),
        "reads": reads,
        "writes": writes,
        "rss_mib": round(rss),
        "peak_mib": round(peak),
    }


def _sum(lines: list[str], prefix: str) -> int:
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(prefix)))


async def measure(stages: Sequence[int], idle: float) -> dict[str, Any]:
    """One run."""
    with ApiServer() as server, tempfile.TemporaryDirectory() as folder:
        cluster = connect(server)
        await prepare(cluster)
        raw = [await raw_rate(cluster, "raw")]
        for name in (BENCH, OPERATOR):
            await cluster.create(NAMESPACE, {"metadata": {"name": name, "namespace": None}})
        running, _ = await asyncio.to_thread(start, server, Path(folder))
        found: dict[str, Any] = {"raw": raw, "rss_at_start_mib": round(process(running.pid)[1]), "stages": []}
        seen: dict[str, float] = {}
        watching = asyncio.create_task(watch_children(cluster, BENCH, seen))
        try:
            for target in stages:
                done = await stage(cluster, server, running.pid, target, seen)
                raw.append(await raw_rate(cluster, f"raw-{target}"))
                done["raw_writes_per_s"] = [each["writes_per_s"] for each in raw[-2:]]
                done["share_of_raw"] = round(done["writes_per_s"] / statistics.mean(done["raw_writes_per_s"]), 2)
                found["stages"].append(done)
                print(json.dumps(done), file=sys.stderr, flush=True)
            found["rest"] = await rest(server, running.pid, idle)
            running.terminate()
            running.wait(30)
            found["restart"] = await restart(server, Path(folder))
        finally:
            watching.cancel()
            if running.poll() is None:
                running.terminate()
                running.wait(30)
            await cluster.close()
    return found


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--stages", default="10,1000", help="numbers of Agents, one after the other")
    options.add_argument("--idle", type=float, default=60.0, help="seconds to watch it do nothing")
    chosen = options.parse_args()
    stages = [int(number) for number in chosen.stages.split(",")]
    if any(later <= sooner + PACED for sooner, later in itertools.pairwise([-PACED, *stages])):
        options.error(
            f"--stages {chosen.stages}: each must be more than {PACED} above the one before, since so many are made one at a time after it"
        )
    print(json.dumps(asyncio.run(measure(stages, chosen.idle)), indent=1))


if __name__ == "__main__":
    main()
