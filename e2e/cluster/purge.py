"""Deleting the cache: everything in it can be made again."""

from e2e.cluster import debian, engine, tools
from e2e.cluster.faults import Fault
from e2e.cluster.mounts import unmount_below
from e2e.cluster.places import Places
from e2e.cluster.progress import say, step

PARTS = ("bin", "go", "tmp", "engine")


def purge(here: Places) -> None:
    """Delete what this program put into the cache, and nothing else that may be there."""
    if users := engine.users():
        raise Fault(f"the engine is in use by {', '.join(users)}", fix="python3 -m e2e.cluster down in those checkouts first")
    for part in PARTS:
        with step(f"delete {here.cache / part}"):
            unmount_below(here.cache / part)
            tools.remove_tree(here.cache / part)
    with step(f"delete {here.cache / 'debian'}"):
        debian.remove(here.cache / "debian")
    say("the cache is empty. Next: make cluster builds it anew (about 18 minutes on two cores)")
