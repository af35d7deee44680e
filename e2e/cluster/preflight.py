"""Everything that is missing on this machine, said at once and before anything is done."""

import os
import re
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import debian, engine, golang, packages, registry, shell, tools
from e2e.cluster.faults import Fault
from e2e.cluster.places import Places
from e2e.cluster.progress import say

GIB = 1 << 30
DISK_COLD, DISK_WARM, MEMORY = 30, 6, 4
NEEDED_KERNEL = (4, 19)
# what an engine cannot do without; CAP_SYS_RESOURCE is not among them, see `runtime`
ENGINE_CAPABILITIES = {12: "CAP_NET_ADMIN", 18: "CAP_SYS_CHROOT", 21: "CAP_SYS_ADMIN", 27: "CAP_MKNOD"}


@dataclass(frozen=True)
class Facts:
    """What was found on the machine."""

    system: str
    kernel: str
    root: bool
    docker: bool
    installable: bool
    missing_packages: tuple[str, ...]
    filesystems: str
    free_disk: int
    free_memory: int
    cold: bool
    own_images: bool
    go: bool
    module_proxy: str  # empty: answers or not needed
    mirror: str  # empty: answers or not needed
    cgroups: bool
    capabilities: int  # the effective set


@dataclass(frozen=True)
class Gap:
    """One thing that is missing, and what to do."""

    what: str
    fix: str


def gaps(facts: Facts) -> list[Gap]:
    """Decide what is missing."""
    found = []

    def need(fine: bool, what: str, fix: str) -> None:  # noqa: FBT001 - reads as "need this"
        if not fine:
            found.append(Gap(what, fix))

    need(facts.system == "Linux", f"this is {facts.system}", "use Linux, or CLUSTER=current with a cluster of your own")
    version = tuple(int(part) for part in re.findall(r"\d+", facts.kernel)[:2])
    need(version >= NEEDED_KERNEL, f"kernel {facts.kernel} is too old", "Linux >= 4.19")
    need(facts.docker or facts.root, "no Docker answers, and this is not root", engine.ROOT_FIX)
    if not facts.docker and facts.root:
        need("\toverlay\n" in facts.filesystems, "the kernel has no overlay file system", "modprobe overlay")
        lacking = [name for bit, name in ENGINE_CAPABILITIES.items() if not facts.capabilities >> bit & 1]
        need(not lacking, f"this root lacks {', '.join(lacking)}", "run outside of this sandbox, or start Docker elsewhere (DOCKER_HOST)")
        need(facts.cgroups, "no cgroup file system at /sys/fs/cgroup", "mount it, or run outside of this sandbox")
    if facts.missing_packages and not facts.installable:
        need(
            not facts.missing_packages,
            f"missing: {', '.join(facts.missing_packages)}",
            f"as root: apt-get install {' '.join(facts.missing_packages)}",
        )
    need(facts.root or not facts.own_images, "no image registry answers, and making images here needs root", "run as root, or reach one")
    wanted = DISK_COLD if facts.cold and facts.own_images else DISK_WARM
    need(
        facts.free_disk >= wanted * GIB, f"{facts.free_disk / GIB:.0f} GiB free disk at the cache", f"{wanted} GiB, or move HOLDFAST_CACHE"
    )
    need(facts.free_memory >= MEMORY * GIB, f"{facts.free_memory / GIB:.1f} GiB free memory", f"{MEMORY} GiB")
    need(facts.go or not facts.cold, "no Go and no pip to fetch it with", "Go >= 1.26.6 on PATH, or apt-get install python3-pip")
    need(
        not facts.module_proxy, f"the Go module proxy does not answer: {facts.module_proxy}", "see `go env GOPROXY` and your proxy settings"
    )
    need(not facts.mirror, f"the Debian mirror does not answer: {facts.mirror}", debian.MIRROR_FIX)
    return found


def look(here: Places, *, own_images: bool) -> Facts:
    """Find the facts."""
    running = engine.find()
    docker = running is not None
    cold = bool(tools.plan(here, ["cluster" if own_images else "client"]))
    programs = [] if docker else list(engine.PROGRAMS)
    programs += ["debootstrap"] if own_images and not debian.ready(here) else []
    return Facts(
        system=os.uname().sysname,
        kernel=os.uname().release,
        root=os.geteuid() == 0,
        docker=docker,
        installable=packages.can_install(),
        missing_packages=tuple(packages.missing_packages(programs)),
        filesystems=_read("/proc/filesystems"),
        free_disk=_free_disk(here.cache),
        free_memory=available_memory(_read("/proc/meminfo")),
        cold=cold,
        own_images=own_images,
        go=golang.find_go() is not None or shell.answer(["python3", "-m", "pip", "--version"])[0] == 0,
        module_proxy=_unreachable(_module_proxy()) if cold else "",
        mirror=_mirror_gap() if own_images and not debian.ready(here) else "",
        cgroups=any(Path("/sys/fs/cgroup").glob("*")),
        capabilities=effective_capabilities(_read("/proc/self/status")),
    )


def require(here: Places, *, own_images: bool) -> None:
    """Raise one Fault that names everything which is missing."""
    found = gaps(look(here, own_images=own_images))
    if found:
        lines = "".join(f"\n  - {gap.what}\n      fix: {gap.fix}" for gap in found)
        raise Fault(f"{len(found)} thing(s) are missing on this machine:{lines}")


def report(here: Places) -> None:
    """Say what was found, then what is missing."""
    own_images = not registry.answers()
    facts = look(here, own_images=own_images)
    say(f"kernel    {facts.kernel}, {os.cpu_count()} cores")
    say(f"free      {facts.free_memory / GIB:.0f} GiB memory, {facts.free_disk / GIB:.0f} GiB disk")
    say(f"engine    {'a Docker answers' if facts.docker else 'ours will be started' if facts.root else 'none'}")
    say(f"images    {'made here' if own_images else 'from the registries'}")
    say(f"programs  {'to be built' if facts.cold else 'all built'}; to install: {', '.join(facts.missing_packages) or 'nothing'}")
    require(here, own_images=own_images)
    say("nothing is missing. Next: make cluster")


def available_memory(meminfo: str) -> int:
    """Read MemAvailable."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def effective_capabilities(status: str) -> int:
    """Read CapEff from /proc/self/status."""
    found = re.search(r"^CapEff:\s+([0-9a-f]+)", status, re.MULTILINE)
    return int(found.group(1), 16) if found else 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _free_disk(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _module_proxy() -> str:
    go = golang.find_go()
    setting = shell.ask([go, "env", "GOPROXY"]) if go else os.environ.get("GOPROXY", "")
    first = re.split(r"[,|]", setting)[0]
    return first if first.startswith("http") else ""


def _mirror_gap() -> str:
    try:
        return _unreachable(debian.mirror())
    except Fault as fault:
        return fault.what


def _unreachable(url: str) -> str:
    """Return the address when nothing answers there: any answer at all is one."""
    if not url:
        return ""
    try:
        with urllib.request.urlopen(url, timeout=10):
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError, socket.gaierror):
        return urllib.parse.urlsplit(url).netloc or url
