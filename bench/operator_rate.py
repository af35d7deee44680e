"""How fast, how cheap and how quiet is the operator? N Agents on an API server of its own.

    python -m bench.operator_rate --agents 500

The same run first measures what this API server takes from a bare client: the same objects, by the same verbs, with no operator. All
counts come from the API server's own metrics. Prints one JSON object.
"""

import argparse
import asyncio
import collections
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
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
CONCURRENCY = 16
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


async def raw_rate(cluster: Cluster, number: int) -> dict[str, float]:
    """Write what `number` Agents come to, without reading anything before and without an operator."""
    await cluster.create(NAMESPACE, {"metadata": {"name": "raw", "namespace": None}})
    defaults, gate, done = AgentDefaults.model_validate(DEFAULTS), asyncio.Semaphore(CONCURRENCY), 0

    async def one(index: int) -> None:
        nonlocal done
        uid = f"00000000-0000-0000-0000-{index:012}"
        agent = parse_agent({"metadata": {"name": f"a{index}", "namespace": "raw", "uid": uid}, "spec": SPEC})
        async with gate:
            for name in token_names(agent.metadata.name):
                await cluster.create(kinds.SECRET, token_secret(agent, name, "x" * 43))
                done += 1
            for step in desired(agent, resolve(agent, defaults, {}), defaults):
                for child in step:
                    await cluster.apply(child.kind, child.manifest)
                    done += 1

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(index) for index in range(number)))
    seconds = time.perf_counter() - started
    return {"writes_per_s": round(done / seconds, 1), "client_cpu_ms_per_write": round((time.process_time() - cpu) * 1000 / done, 3)}


def start(server: ApiServer, folder: Path) -> "subprocess.Popen[bytes]":
    """Start the operator cluster-wide and wait until it is ready."""
    (folder / "defaults.yaml").write_text(yaml.safe_dump(DEFAULTS))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "KUBECONFIG": str(server.kubeconfig),
        "HOLDFAST_DEFAULTS_FILE": str(folder / "defaults.yaml"),
        "HOLDFAST_HTTP_PORT": str(port),
        "HOLDFAST_LOG_LEVEL": "warning",
    }
    running = subprocess.Popen([sys.executable, "-m", "holdfast_operator"], env=environment)
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    time.sleep(2)  # Kopf's watches
    return running


async def create_agents(cluster: Cluster, namespace: str, number: int) -> list[float]:
    """Create Agents as fast as they are taken, and wait until all are reconciled.

    Returns:
        Seconds from an Agent's creation until its status shows that the operator has been there.
    """
    await cluster.create(NAMESPACE, {"metadata": {"name": namespace, "namespace": None}})
    gate, born, seen = asyncio.Semaphore(CONCURRENCY), {}, {}

    async def one(index: int) -> None:
        manifest = {
            "apiVersion": kinds.AGENT.api_version,
            "kind": "Agent",
            "metadata": {"name": f"a{index}", "namespace": namespace},
            "spec": SPEC,
        }
        async with gate:
            born[f"a{index}"] = time.perf_counter()
            await cluster.create(kinds.AGENT, manifest)

    creating = asyncio.gather(*(one(index) for index in range(number)))
    while len(seen) < number:
        await asyncio.sleep(0.5)
        async for page in cluster.pages(kinds.AGENT, namespace):
            for live in page.items:
                if live["status"].get("conditions"):
                    seen.setdefault(live["metadata"]["name"], time.perf_counter())
    await creating
    return sorted(seen[name] - born[name] for name in seen)


async def measure(number: int, settle: float) -> dict[str, Any]:
    """One run."""
    with ApiServer() as server, tempfile.TemporaryDirectory() as folder:
        cluster = connect(server)
        await prepare(cluster)
        raw = await raw_rate(cluster, min(number, 300))
        running = await asyncio.to_thread(start, server, Path(folder))
        try:
            cpu0, rss0, _ = process(running.pid)
            before, started = await counts(server), time.perf_counter()
            await create_agents(cluster, "bench", number)
            seconds = time.perf_counter() - started
            cpu1, _, _ = process(running.pid)
            await asyncio.sleep(settle)
            after = await counts(server)
            cpu2, rss2, _ = process(running.pid)
            await asyncio.sleep(settle)
            idle, (cpu3, rss3, peak) = await counts(server), process(running.pid)
        finally:
            running.terminate()
            running.wait(20)
            await cluster.close()
    made = after - before
    writes = sum(count for (verb, _), count in made.items() if verb in WRITES) - number - 1
    reads = sum(count for (verb, resource), count in made.items() if verb == "GET" and resource not in {"", "agents"})
    quiet = {" ".join(key): count for key, count in (idle - after).items() if key[0] not in {"WATCH", "LIST"} and key[1]}
    return {
        "agents": number,
        "raw": raw,
        "seconds": round(seconds, 2),
        "agents_per_s": round(number / seconds, 1),
        "child_writes_per_s": round(writes / seconds, 1),
        "share_of_raw": round(writes / seconds / raw["writes_per_s"], 2),
        "writes_per_agent": round(writes / number, 2),
        "by_verb": {" ".join(key): count for key, count in made.most_common(24)},
        "reads_per_agent": round(reads / number, 2),
        "cpu_ms_per_write": round((cpu2 - cpu0) * 1000 / writes, 3),
        "cpu_ms_per_agent": round((cpu2 - cpu0) * 1000 / number, 2),
        "cpu_s_until_done": round(cpu1 - cpu0, 2),
        "rss_mib": {"start": round(rss0), "settled": round(rss2), "end": round(rss3), "peak": round(peak)},
        "idle_requests": quiet,
        "idle_cpu_s": round(cpu3 - cpu2, 2),
        "idle_seconds": settle,
    }


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--agents", type=int, default=500)
    options.add_argument("--settle", type=float, default=15.0)
    chosen = options.parse_args()
    print(json.dumps(asyncio.run(measure(chosen.agents, chosen.settle)), indent=1))


if __name__ == "__main__":
    main()
