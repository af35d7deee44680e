"""Where things are: the checkout's own folder, the cache that all checkouts share, and the engine that all of them share.

A cluster belongs to a checkout and is named after its path, so two checkouts never meet. The cache holds what is expensive and
the same for everybody. The engine is one per machine, because bridges and packet filter rules are.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


def cluster_name(checkout: Path) -> str:
    """Name the cluster of a checkout: stable, short, and different for every path."""
    return "holdfast-" + hashlib.sha256(str(checkout).encode()).hexdigest()[:6]


def cache_root(environment: dict[str, str], home: Path) -> Path:
    """Find the cache: $HOLDFAST_CACHE, else the XDG place."""
    if own := environment.get("HOLDFAST_CACHE"):
        return Path(own)
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else home / ".cache") / "holdfast"


@dataclass(frozen=True)
class Places:
    """The paths of one checkout on one machine."""

    checkout: Path
    cache: Path

    @property
    def name(self) -> str:
        """The name of this checkout's kind cluster."""
        return cluster_name(self.checkout)

    @property
    def state(self) -> Path:
        """What belongs to this checkout's cluster and to nobody else."""
        return self.checkout / ".holdfast"

    @property
    def kubeconfig(self) -> Path:
        """How to reach this checkout's cluster."""
        return self.state / "kubeconfig"

    @property
    def logs(self) -> Path:
        """One log per step; a new run of the step overwrites it."""
        return self.state / "logs"

    def bin(self, project: str, version: str) -> Path:
        """The folder of one project's programs."""
        return self.cache / "bin" / f"{project}-{version}"

    def log(self, step: str) -> Path:
        """The log file of a step."""
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / f"{step}.log"


def places() -> Places:
    """Places of the checkout that this file is in."""
    checkout = Path(__file__).resolve().parents[2]
    return Places(checkout, cache_root(dict(os.environ), Path.home()))
