"""Where Dapr's programs are: on PATH, where the Dapr CLI puts them, or where this repository's tools build them."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast_agent.local.faults import LocalError

_OLDEST = (1, 18, 2)
"""Tested with, and the oldest that will do: before it a change of any Configuration restarted every sidecar."""
DAPR_VERSION = ".".join(map(str, _OLDEST))
_PROGRAMS = ("daprd", "placement", "scheduler")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class DaprBinaries:
    """Paths of the three programs."""

    daprd: Path
    placement: Path
    scheduler: Path


def find(environ: Mapping[str, str], home: Path) -> DaprBinaries:
    """The first place that has all three programs, in a version that will do.

    Raises:
        LocalError: there is none; the message says how to get them.
    """
    places = list(_places(environ, home))
    too_old = []
    for place in places:
        found = [path for name in _PROGRAMS if (path := _executable(place, name))]
        if len(found) < len(_PROGRAMS):
            continue
        version = _version(found[0])
        if version is None or version >= _OLDEST:
            return DaprBinaries(*found)
        too_old.append(f"{found[0]} is version {'.'.join(map(str, version))}")
    looked = ", ".join(str(place) for place in places if place) or "PATH"
    why = "; ".join(too_old) or "daprd, placement and scheduler are not together in any of: PATH, " + looked
    raise LocalError(
        f"Dapr {DAPR_VERSION} or later is needed and not found ({why}).\n"
        f"Get it with one of:\n"
        f"  dapr init --slim --runtime-version {DAPR_VERSION}      with the Dapr CLI\n"
        f"  python3 -m e2e.cluster tools dapr              in a checkout of Holdfast: builds it, without a registry"
    )


def cache_folder(environ: Mapping[str, str], home: Path) -> Path:
    """The folder that `e2e.cluster tools dapr` builds into."""
    if own := environ.get("HOLDFAST_CACHE"):
        return Path(own) / "bin" / f"dapr-{DAPR_VERSION}"
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "holdfast" / "bin" / f"dapr-{DAPR_VERSION}"


def _places(environ: Mapping[str, str], home: Path) -> Iterator[Path | None]:
    yield None
    yield home / ".dapr" / "bin"
    yield cache_folder(environ, home)


def _executable(place: Path | None, name: str) -> Path | None:
    if place is None:
        found = shutil.which(name)
        return Path(found) if found else None
    path = place / name
    return path if path.is_file() and os.access(path, os.X_OK) else None


def _version(daprd: Path) -> tuple[int, ...] | None:
    """Its version, or None when it does not tell one (a build of one's own says `edge`)."""
    try:
        done = subprocess.run([daprd, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalError(f"{daprd} cannot be run: {error}") from None
    return _numbers(done.stdout)


def _numbers(text: str) -> tuple[int, ...] | None:
    match = _VERSION.search(text)
    return tuple(int(part) for part in match.groups()) if match else None
