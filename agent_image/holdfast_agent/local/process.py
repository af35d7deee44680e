"""One child process: its output in a file, its end with ours.

It is in a session of its own, so Ctrl-C in a terminal reaches only the parent, which then ends things in their order; and the kernel
signals it when the parent dies without having done so.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from holdfast_agent.local.faults import LocalError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_POLL_SECONDS = 0.02
_MAX_LOG_BYTES = 16 * 1024 * 1024
_TAIL_BYTES = 2000
_TAIL_LINES = 8


class Process:
    """A program that can be started, ended, killed and started again. Bound to no event loop."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        log: Path,
        on_orphaned: signal.Signals = signal.SIGKILL,
        cwd: Path | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        """Describe it.

        Args:
            name: for people.
            argv: the program and its arguments.
            env: its whole environment.
            log: file that its output is appended to.
            on_orphaned: what the kernel sends it when we die (Linux).
            cwd: where it runs.
            keep_open: descriptors that it inherits, such as a lock's.
        """
        self.name, self._argv, self._env, self._log = name, [str(part) for part in argv], dict(env), log
        self._on_orphaned, self._cwd, self._keep_open = on_orphaned, cwd, tuple(keep_open)
        self._popen: subprocess.Popen[bytes] | None = None
        self._ending = False

    @property
    def pid(self) -> int:
        """Its process id, also of one that has ended."""
        assert self._popen, f"{self.name} was never started"
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def lost(self) -> bool:
        """Whether it has ended, and not because it was stopped or killed through this object."""
        return self._popen is not None and not self._ending and not self.running

    @property
    def exit_code(self) -> int | None:
        """As `subprocess` gives it: negative for a signal; None while it lives or before it was started."""
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        """Start it, unless it runs.

        Raises:
            LocalError: the program cannot be started.
        """
        if self.running:
            return
        self._ending = False
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if self._log.exists() and self._log.stat().st_size > _MAX_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".old"))
        with self._log.open("ab") as output:
            try:
                self._popen = subprocess.Popen(
                    self._argv,
                    env=self._env,
                    cwd=self._cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=self._keep_open,
                    preexec_fn=_mortal(self._on_orphaned),  # noqa: PLW1509 - nothing but two system calls
                )
            except OSError as error:
                raise LocalError(f"{self.name} cannot be started: {error}") from None

    async def stop(self, *, grace: float = 10.0) -> None:
        """SIGTERM, then SIGKILL for what is left after `grace` seconds."""
        self._ending = True
        if self.running:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await self.ended(within=grace)
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL, for it and what it started in its process group."""
        self._ending = True
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        await self.ended(within=10.0)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self._popen:
            self._popen.send_signal(number)

    async def ended(self, *, within: float) -> int:
        """Wait for its end; gives the exit code.

        Raises:
            TimeoutError: it still lives.
        """
        deadline = asyncio.get_running_loop().time() + within
        while (code := self.exit_code) is None:
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"{self.name} still lives after {within:g} s")
            await asyncio.sleep(_POLL_SECONDS)
        return code

    def tail(self) -> str:
        """The last lines that it wrote."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    async def until(self, ready: Callable[[], Awaitable[bool]], *, within: float) -> None:
        """Wait for a probe of this process to come true.

        Args:
            ready: coroutine function that tells whether it is ready.
            within: seconds.

        Raises:
            LocalError: the process ended, or was not ready in time; with the end of its log.
        """
        deadline = asyncio.get_running_loop().time() + within
        while not await ready():
            problem = f"ended with code {self.exit_code}" if not self.running else None
            if not problem and asyncio.get_running_loop().time() > deadline:
                problem = f"was not ready within {within:g} s"
            if problem:
                raise LocalError(f"{self.name} {problem}; the end of {self._log}:\n{self.tail()}")
            await asyncio.sleep(_POLL_SECONDS)


def _mortal(number: signal.Signals) -> Callable[[], None] | None:
    if _LIBC is None:
        return None
    parent, prctl = os.getpid(), _LIBC.prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask
