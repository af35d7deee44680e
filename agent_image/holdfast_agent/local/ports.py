"""Free TCP ports on the loopback."""

import random
import socket

_FIRST, _LAST = 20000, 32000
_ATTEMPTS = 2000


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now.

    They lie below the range that the kernel gives to outgoing connections, and are drawn at random: several programs that look at
    the same moment hardly ever find the same one, and none is lost to a connection between the look and the use.
    """
    found: list[int] = []
    for _ in range(_ATTEMPTS):
        if len(found) == count:
            break
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - no secret
        if port not in found and is_free(port):
            found.append(port)
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
