"""`python -m e2e.demo`: in a cluster where one can be made, else with processes of this machine; exit code 1 when the proof fails.

CLUSTER=kind (the default), current or none says where.
"""

import os
import sys
import time

from e2e.cluster import cluster, preflight, registry
from e2e.cluster.faults import Fault
from e2e.cluster.places import places
from e2e.cluster.progress import clock, say


def main() -> int:
    """Run the demo."""
    started = time.monotonic()
    reason = _no_cluster()
    if reason:
        say(f"Shown with processes of this machine instead of a cluster. {reason}\n")
    from e2e.demo import cluster as in_cluster  # noqa: PLC0415 - one of the two
    from e2e.demo import local  # noqa: PLC0415

    kind = local if reason else in_cluster
    try:
        wrong = kind.show(places())
    except Fault as fault:
        say(fault.report())
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted. Run `make demo` again, or end everything with `make cluster-down`")
        return 130
    for problem in wrong:
        say(f"  !!  {problem}")
    say(f"\n{'The proof FAILED' if wrong else 'The proof holds'}: {kind.CLAIM} ({clock(time.monotonic() - started)} in all)")
    print(kind.NEXT)
    return 1 if wrong else 0


def _no_cluster() -> str:
    """Why no cluster can be made here; empty when one can."""
    if os.environ.get("CLUSTER") == "none":
        return "You asked for it: CLUSTER=none."
    if cluster.is_current():
        return ""
    try:
        preflight.require(places(), own_images=not registry.answers())
    except Fault as fault:
        return fault.what
    return ""


if __name__ == "__main__":
    sys.exit(main())
