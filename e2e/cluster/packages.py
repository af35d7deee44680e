"""Debian packages on the machine itself: install what is missing, and start no service by it."""

import os
import shutil
from pathlib import Path

from e2e.cluster import shell
from e2e.cluster.faults import Fault
from e2e.cluster.locks import locked
from e2e.cluster.places import Places
from e2e.cluster.progress import step

# program to look for -> package that brings it
PROGRAMS = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "iptables": "iptables",
    "nft": "nftables",
    "debootstrap": "debootstrap",
    "redis-server": "redis-server",
    "postgres": "postgresql",
}
POSTGRES = Path("/usr/lib/postgresql")
POLICY = Path("/usr/sbin/policy-rc.d")


def search_path() -> str:
    """PATH with the places where only root looks, and with PostgreSQL's own, the newest version first."""
    postgres = sorted(POSTGRES.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", *map(str, postgres)])


def program(name: str) -> Path | None:
    """Find a program, also in sbin."""
    found = shutil.which(name, path=search_path())
    return Path(found) if found else None


def missing_packages(programs: list[str]) -> list[str]:
    """Name the packages that bring the programs which are not there."""
    return sorted({PROGRAMS[name] for name in programs if program(name) is None})


def can_install() -> bool:
    """Tell whether this is a Debian-like machine and we are root."""
    return os.geteuid() == 0 and program("apt-get") is not None


def provide(here: Places, programs: list[str]) -> None:
    """Install what is missing."""
    packages = missing_packages(programs)
    if not packages:
        return
    fix = "as root: apt-get install " + " ".join(packages)
    if not can_install():
        raise Fault(f"missing on this machine: {', '.join(packages)}", fix=fix)
    log = here.log("apt")
    log.unlink(missing_ok=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with locked(here.cache / ".apt.lock", "installing packages"), step(f"install {' '.join(packages)}", log), _no_services():
        shell.run(["apt-get", "update"], log, env=environment, timeout=300, fix=fix)
        shell.run(["apt-get", "install", "-y", "--no-install-recommends", *packages], log, env=environment, timeout=900, fix=fix)


class _no_services:  # noqa: N801 - used as a context manager only
    """Debian starts a package's service on installation unless this file says no."""

    def __init__(self) -> None:
        self.made = False

    def __enter__(self) -> None:
        if not POLICY.exists():
            POLICY.write_text("#!/bin/sh\nexit 101\n")
            POLICY.chmod(0o755)
            self.made = True

    def __exit__(self, *_: object) -> None:
        if self.made:
            POLICY.unlink(missing_ok=True)
