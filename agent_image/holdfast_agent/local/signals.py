"""Ctrl-C and SIGTERM, for both commands."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Final

INTERRUPTED: Final = 130


@contextlib.contextmanager
def interruption() -> Iterator[asyncio.Event]:
    """The first signal sets the event; the second ends this process, and the kernel then ends the others."""
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()

    def received() -> None:
        if interrupted.is_set():
            os._exit(INTERRUPTED)
        interrupted.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received)
    try:
        yield interrupted
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
