"""File locks: what two processes must not do at once. The kernel drops them with the process, so none is ever stale."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from e2e.cluster.faults import Fault
from e2e.cluster.progress import say

POLL = 0.2


@contextmanager
def locked(path: Path, what: str, timeout: float = 3600) -> Iterator[None]:
    """Hold a lock while in the block; say whom we wait for. The holder may remove the file, and the folder that it is in."""
    deadline = time.monotonic() + timeout
    file = _try(path)
    if file is None:
        say(f"  ..  {what}: waiting for process {_holder(path)}")
    while file is None:
        if time.monotonic() > deadline:
            raise Fault(f"{what}: another process holds {path} for more than {timeout:.0f} s")
        time.sleep(POLL)
        file = _try(path)
    with file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _try(path: Path) -> TextIO | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # the holder before us may have removed it: then others lock another file of this name
        if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None


def _holder(path: Path) -> str:
    try:
        return path.read_text().strip() or "unknown"
    except OSError:
        return "unknown"
