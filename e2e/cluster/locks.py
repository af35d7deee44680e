"""File locks: what two processes must not do at once. The kernel drops them with the process, so none is ever stale."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.faults import Fault
from e2e.cluster.progress import say

POLL = 0.2


@contextmanager
def locked(path: Path, what: str, timeout: float = 3600) -> Iterator[None]:
    """Hold a lock while in the block; say whom we wait for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + timeout
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Fault(f"{what}: another process holds {path} for more than {timeout:.0f} s") from None
                if not told:
                    say(f"  ..  {what}: waiting for process {_holder(path)}")
                    told = True
                time.sleep(POLL)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _holder(path: Path) -> str:
    try:
        return path.read_text().strip() or "unknown"
    except OSError:
        return "unknown"
