"""Running other programs: with a log, a time limit, and the promise that they do not outlive us.

Every child gets its own process group, which is killed as a whole, and asks the kernel for a SIGKILL when its parent dies, so
that a `kill -9` of ours leaves nothing behind. (The kernel means the parent *thread*: start long-lived children from a thread
that lives as long as they do.) A daemon that must outlive us is started with `detached=True`.
"""

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from e2e.cluster.faults import Fault

PR_SET_PDEATHSIG = 1
_running: set["subprocess.Popen[bytes]"] = set()
_running_lock = threading.Lock()
Argv = Sequence[str | Path]
Words = list[str | Path]


def die_with_parent() -> Callable[[], None]:
    """Make the function that a child runs before exec: a new session, and death with its parent."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    parent = os.getpid()

    def before_exec() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before prctl
            os._exit(1)

    return before_exec


def start(
    argv: Argv,
    log: IO[bytes] | int,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    detached: bool = False,
) -> "subprocess.Popen[bytes]":
    """Start a program in a process group of its own."""
    words = [str(word) for word in argv]
    try:
        return subprocess.Popen(
            words,
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=None if detached else die_with_parent(),  # noqa: PLW1509 - only async-signal-safe calls in it
        )
    except OSError as error:
        raise Fault(f"cannot start {words[0]}: {error.strerror}", fix="see `python3 -m e2e.cluster preflight`") from error


def end_group(process: "subprocess.Popen[bytes]", grace: float = 5.0) -> None:
    """End a process group: ask, wait, kill."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            continue
    process.wait(timeout=grace)


def end_all() -> None:
    """End every program that `run` waits for in some thread: for the thread that gives up on behalf of all."""
    with _running_lock:
        processes = list(_running)
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def run(
    argv: Argv,
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Path | None = None,
    timeout: float = 3600,
    fix: str = "",
) -> None:
    """Run a program to its end, output appended to the log; raise a Fault that shows the log's end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in argv]
    with log.open("ab") as out:
        out.write(f"$ {shlex.join(words)}\n".encode())
        out.flush()
        source = stdin.open("rb") if stdin else None
        process = start(words, out, env=env, cwd=cwd, stdin=source or subprocess.DEVNULL)
        with _running_lock:
            _running.add(process)
        try:
            code = process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            late = "run the same command again on a less busy machine: what is done is kept"
            raise Fault(f"{Path(words[0]).name} took longer than {timeout:.0f} s", fix=late, log=log) from None
        finally:
            with _running_lock:
                _running.discard(process)
            if process.poll() is None:
                end_group(process)
            if source:
                source.close()
    if code != 0:
        raise Fault(f"{shlex.join([Path(words[0]).name, *words[1:3]])} ended with {code}", fix=fix, log=log)


def answer(argv: Argv, *, env: Mapping[str, str] | None = None, timeout: float = 30, stdin: bytes = b"") -> tuple[int, str]:
    """Run a short program and return its exit code and its stdout; 127 when it is not there, 124 when it takes too long."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, env=dict(env) if env is not None else None, timeout=timeout, check=False
        )
    except FileNotFoundError:
        return 127, ""
    except PermissionError:
        return 126, ""
    except subprocess.TimeoutExpired:
        return 124, ""
    return done.returncode, done.stdout.decode(errors="replace")


def ask(argv: Argv, *, env: Mapping[str, str] | None = None, timeout: float = 30) -> str:
    """Run a short program and return its stdout, stripped; empty when it failed."""
    code, text = answer(argv, env=env, timeout=timeout)
    return text.strip() if code == 0 else ""
