"""What an engine changes on a machine, written down before and undone after.

dockerd leaves chains and rules in the packet filter, bridges, cgroups and mounts; the kubelet in the node sets kernel parameters
of the whole machine. Before our engine starts, the state is saved; afterwards exactly the difference is taken back, and only
where it bears the engine's mark: another program's rules that came meanwhile stay.
"""

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e2e.cluster import packages, shell
from e2e.cluster.mounts import unmount_below

SNAPSHOT = "before.json"
CGROUPS = Path("/sys/fs/cgroup")
FILTERS = ("iptables", "ip6tables")
# what dockerd and the kubelet are known to set for the whole machine
KERNEL = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/default/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
OUR_MARKS = ("DOCKER", "docker0", "br-")


@dataclass
class State:
    """A machine's state, as far as an engine changes it."""

    filters: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    kernel: dict[str, str] = field(default_factory=dict)
    cgroups: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)


def now() -> State:
    """Read the machine's state."""
    filters = {}
    for name in FILTERS:
        program = packages.program(f"{name}-save")
        filters[name] = shell.ask([program]) if program else ""
    kernel = {}
    for name in KERNEL:
        with contextlib.suppress(OSError):
            kernel[name] = (Path("/proc/sys") / name).read_text().strip()
    links = sorted(link.name for link in Path("/sys/class/net").iterdir())
    cgroups = sorted(str(path) for path in CGROUPS.glob("*/*") if path.is_dir()) + sorted(str(p) for p in CGROUPS.glob("*") if p.is_dir())
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return State(filters, links, kernel, cgroups, mounts)


def remember(run: Path) -> None:
    """Save the state, unless it was saved before: after a crash the first one is the true one."""
    file = run / SNAPSHOT
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError, ValueError):
        if json.loads(file.read_text())["boot"] == boot:
            return
    file.write_text(json.dumps({"boot": boot, **asdict(now())}))


def remember_bridges(run: Path, networks: Iterable[str]) -> None:
    """Write down the networks of the engine: a bridge is named after its network, and outlives a killed engine."""
    file = run / "networks"
    known = set(file.read_text().split()) if file.exists() else set()
    file.write_text("\n".join(sorted(known | set(networks))))


def undo_filter(before: str, after: str) -> list[list[str]]:
    """Say which iptables calls take back what an engine added: rules first, then chains, then policies."""
    old, new = parse_filter(before), parse_filter(after)
    calls: list[list[str]] = []
    for table, lines in new.items():
        known = old.get(table, [])
        added = [line for line in lines if line not in known]
        ours = [line for line in added if line.startswith(":") and "DOCKER" in line]
        chains = [line[1:].split()[0] for line in ours]
        rules = [line for line in added if line.startswith("-A ") and line.split()[1] not in chains]
        calls += [["-t", table, "-D", *split_rule(line)[1:]] for line in rules if any(mark in line for mark in OUR_MARKS)]
        calls += [["-t", table, "-F", chain] for chain in chains] + [["-t", table, "-X", chain] for chain in chains]
        policies = {line[1:].split()[0]: line.split()[1] for line in lines if line.startswith(":")}
        was = {line[1:].split()[0]: line.split()[1] for line in known if line.startswith(":")}
        for chain, policy in policies.items():
            if policy == "DROP" and was.get(chain, "ACCEPT") == "ACCEPT" and chain == "FORWARD":
                calls.append(["-t", table, "-P", chain, "ACCEPT"])
    return calls


def parse_filter(saved: str) -> dict[str, list[str]]:
    """Read iptables-save: per table its chain and rule lines, counters left out."""
    tables: dict[str, list[str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
            tables[table] = []
        elif table and line.startswith((":", "-A")):
            tables[table].append(re.sub(r" \[\d+:\d+\]$", "", line.strip()))
    return tables


def split_rule(line: str) -> list[str]:
    """Split a rule as iptables-save quotes it."""
    return [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', line)]


def marked_links(before: list[str], after: list[str], networks: list[str]) -> list[str]:
    """Name the bridges that belong to the engine's networks (and its default one), and were not there before."""
    ours = {f"br-{network[:12]}" for network in networks} | {"docker0"}
    return [link for link in after if link in ours and link not in before]


def kill_strays(run: Path, cgroup: str) -> list[int]:
    """Kill what outlived its dockerd: processes in the engine's cgroup, and shims and helpers started from its folder."""
    killed = []
    for _ in range(3):
        strays = stray_pids(run, cgroup)
        if not strays:
            break
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed += strays
        time.sleep(0.3)
    return killed


def stray_pids(run: Path, cgroup: str) -> list[int]:
    """Find the processes that belong to the engine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            inside = any(f":{cgroup}/" in line for line in (folder / "cgroup").read_text().splitlines())
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if inside or any(word.startswith(f"{run}/exec".encode()) for word in words):
                found.append(pid)
    return found


def clean(run: Path, data_roots: list[Path], cgroup: str, *, keep_snapshot: bool = False) -> None:
    """Undo what the engine left; it must have ended."""
    for root in (run, *data_roots):
        unmount_below(root)
    try:
        saved = json.loads((run / SNAPSHOT).read_text())
    except (OSError, ValueError):
        saved = asdict(State())
    before, after = State(**{name: saved[name] for name in asdict(State())}), now()
    networks_file = run / "networks"
    networks = networks_file.read_text().split() if networks_file.exists() else []
    for link in marked_links(before.links, after.links, networks):
        shell.answer(["ip", "link", "delete", link])
    for name in FILTERS:
        program = packages.program(name)
        calls = undo_filter(before.filters.get(name, ""), after.filters.get(name, ""))
        for call in calls if program else []:
            shell.answer([program or name, *call])
    _drop_empty_tables(before)
    for name, value in before.kernel.items():
        if after.kernel.get(name) != value:
            with contextlib.suppress(OSError):
                (Path("/proc/sys") / name).write_text(value)
    remove_cgroups(cgroup.strip("/"))
    if not keep_snapshot:
        (run / SNAPSHOT).unlink(missing_ok=True)


def empty_tables(before: str, after: str) -> list[str]:
    """Name the tables that were not there before and hold nothing now: no rule, no chain of anybody's, no policy but ACCEPT."""
    old, new = parse_filter(before), parse_filter(after)
    bare = re.compile(r":[A-Z]+ ACCEPT")
    return [table for table, lines in new.items() if table not in old and all(bare.fullmatch(line) for line in lines)]


def _drop_empty_tables(before: State) -> None:
    nft = packages.program("nft")
    for name, family in (("iptables", "ip"), ("ip6tables", "ip6")):
        for table in empty_tables(before.filters.get(name, ""), now().filters[name]) if nft else []:
            shell.answer([nft or "nft", "delete", "table", family, table])


def remove_cgroups(name: str) -> None:
    """Remove the engine's cgroup in every hierarchy, children first."""
    for top in (*CGROUPS.glob(f"*/{name}"), CGROUPS / name):
        if top.is_dir():
            for folder in sorted((Path(one[0]) for one in os.walk(top)), key=lambda path: len(path.parts), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
