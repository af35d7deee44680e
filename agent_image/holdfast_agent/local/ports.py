"""Free TCP ports on the loopback.

A port is chosen now and listened on later, by a part that is started once the others serve. What could take it in between is another
program that chooses in the same way, so those agree: each port that was chosen is a byte of one file that is locked while its chooser
lives. The kernel drops the lock with the process, however that ends.
"""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

_FIRST, _LAST = 20000, 32000
_ATTEMPTS = 2000
_taken: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now and that no other process gets here while this one lives.

    They lie below the range that the kernel gives to outgoing connections, so none is lost to a connection between the look and the use.

    Raises:
        OSError: there are not so many.
    """
    found: list[int] = []
    for _ in range(_ATTEMPTS):
        if len(found) == count:
            break
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - no secret
        if port not in _taken and is_free(port) and _reserved(port):
            found.append(port)
            _taken.add(port)
    if len(found) < count:
        raise OSError(f"no {count} free ports between {_FIRST} and {_LAST}")
    return found


def is_free(port: int) -> bool:
    """Whether a server can listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _reserved(port: int) -> bool:
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _reservations() -> int:
    """The file of locks; opened once, because closing any descriptor of it would drop the locks of this process."""
    path = Path(tempfile.gettempdir()) / f"holdfast-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
