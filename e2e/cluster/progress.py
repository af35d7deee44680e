"""Steps that show their name, their time and, while they run, that they live.

On a terminal the running steps share one line with a spinner; elsewhere a line every few seconds says how far each one is, with
the last line of its log, so that a long build is never a silent one. Everything goes to stderr: stdout is for answers.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.faults import tail

SPINNER = "|/-\\"
TTY_TICK = 0.2
PLAIN_TICK = 15.0
LINE_WIDTH = 118
MINUTE = 60
TENTHS_BELOW = 10

_lock = threading.Lock()
_running: dict[int, "Step"] = {}
_ticker: threading.Thread | None = None


class Step:
    """One running step."""

    def __init__(self, name: str, log: Path | None) -> None:
        self.name = name
        self.log = log
        self.started = time.monotonic()
        self.said = self.started
        self.note = ""

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def life_sign(self) -> str:
        """Name, time, and the last thing that the step wrote."""
        last = (tail(self.log, 1) or [""])[0] if self.log else ""
        return "  ".join(part for part in (f"{self.name} {clock(self.elapsed())}", self.note, last) if part)


def clock(seconds: float) -> str:
    """Show a duration as people read it: 0.4s, 12s, 3m05s."""
    if seconds < TENTHS_BELOW:
        return f"{seconds:.1f}s"
    if seconds < MINUTE:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), MINUTE)
    return f"{minutes}m{rest:02d}s"


def say(text: str) -> None:
    """Print one line above whatever is spinning."""
    with _lock:
        _erase()
        print(text, file=sys.stderr, flush=True)


@contextmanager
def step(name: str, log: Path | None = None) -> Iterator[Step]:
    """Run a step: report it while it runs and once when it has ended."""
    running = Step(name, log)
    with _lock:
        _running[id(running)] = running
    _start_ticker()
    outcome = "failed"
    try:
        yield running
        outcome = "done"
    finally:
        with _lock:
            _running.pop(id(running), None)
        note = f"  ({running.note})" if running.note and outcome == "done" else ""
        say(f"  {'ok' if outcome == 'done' else '!!'}  {name:<44} {clock(running.elapsed()):>7}{note}")


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _erase() -> None:
    if _is_terminal():
        sys.stderr.write("\r\x1b[K")


def _start_ticker() -> None:
    global _ticker  # noqa: PLW0603 - one heartbeat for the whole process
    with _lock:
        if _ticker is None or not _ticker.is_alive():
            _ticker = threading.Thread(target=_tick, daemon=True, name="heartbeat")
            _ticker.start()


def _tick() -> None:
    turn = 0
    while True:
        time.sleep(TTY_TICK)
        turn += 1
        with _lock:
            if not _running:
                continue
            if _is_terminal():
                line = f"  {SPINNER[turn % len(SPINNER)]}   " + " + ".join(one.life_sign() for one in _running.values())
                sys.stderr.write("\r\x1b[K" + line[:LINE_WIDTH])
                sys.stderr.flush()
                continue
            now = time.monotonic()
            for one in _running.values():
                if now - one.said >= PLAIN_TICK:
                    one.said = now
                    print(f"  ..  {one.life_sign()}"[:LINE_WIDTH], file=sys.stderr, flush=True)
