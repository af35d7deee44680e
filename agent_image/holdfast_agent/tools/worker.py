"""One process of `holdfast_agent.functions`, seen from the agent."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping

from holdfast_agent.functions.frames import HEADER, MAX_FRAME_BYTES, Frame, encode

log = logging.getLogger(__name__)
MAX_LOG_LINE = 4096
MAX_LOG_BYTES = 256 * 1024
"""What one call may write into the agent's log by printing. A function that prints without end must neither fill the node's disk nor keep
the agent busy."""
_LINE_BYTES = 256
"""What a line of the log takes beside its text."""
_BUFFER = 64 * 1024


class WorkerDied(Exception):  # noqa: N818 - it reads as an event
    """The process ended, or said something that is no frame, while it was asked something."""


class Worker:
    """A started process. `ask` it one thing at a time; `kill` it at any moment.

    Attributes:
        doing: tool and key of the call that runs, or of the last one; what the process prints is logged under it. See `begin`.
    """

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep what `start` made."""
        self._process, self._reader, self._writer = process, reader, writer
        self.begin("importing")
        self._logger = asyncio.create_task(self._log_output())

    @classmethod
    async def start(cls, environ: Mapping[str, str]) -> "Worker":
        """Start a process that has this environment and nothing else.

        Raises:
            OSError: no process or socket can be had.
        """
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as on_error:
            on_error.callback(ours.close)
            with theirs:
                # No preexec_fn: it would fork this process, in which gRPC has threads, instead of spawning.
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",
                    "-m",
                    "holdfast_agent.functions",
                    str(theirs.fileno()),
                    env=dict(environ),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            reader, writer = await asyncio.open_connection(sock=ours)
            on_error.pop_all()
        return cls(process, reader, writer)

    def begin(self, doing: str) -> None:
        """What it prints from now on is of that call, and bounded anew."""
        self.doing, self._room = doing, MAX_LOG_BYTES

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked something."""
        return self._process.returncode is None and not self._reader.at_eof()

    async def ask(self, frame: Frame) -> Frame:
        """Send a frame and wait for the answer; not bounded in time.

        Raises:
            WorkerDied: there is none.
        """
        try:
            self._writer.write(encode(frame))
            await self._writer.drain()
            size = HEADER.unpack(await self._reader.readexactly(HEADER.size))[0]
            if size > MAX_FRAME_BYTES:
                raise WorkerDied("it spoke out of turn")
            answer = json.loads(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            raise WorkerDied(await self._end()) from None
        except ValueError:
            raise WorkerDied("it spoke out of turn") from None
        if not isinstance(answer, dict):
            raise WorkerDied("it spoke out of turn")
        return answer

    async def kill(self) -> None:
        """End it and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._writer.close()
        await self._process.wait()
        # What it wrote last is read; a grandchild that left the group may hold the pipe for ever.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._logger, 1.0)

    async def _end(self) -> str:
        try:
            code = await asyncio.wait_for(self._process.wait(), 2.0)
        except TimeoutError:
            return "its process closed the connection"
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
        return f"its process ended with exit code {code}"

    async def _log_output(self) -> None:
        """Pass on what it prints, line by line, however long its lines are."""
        output = self._process.stdout
        assert output
        rest = b""
        while chunk := await output.read(_BUFFER):
            if self._room <= 0:
                rest = b""
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._log_line(line)
            if len(rest) > MAX_LOG_LINE:
                self._log_line(rest)
                rest = b""
        if rest:
            self._log_line(rest)

    def _log_line(self, line: bytes) -> None:
        text = line[:MAX_LOG_LINE].decode(errors="replace").rstrip()
        if not text or self._room <= 0:
            return
        log.info("[%s] %s", self.doing, text)
        self._room -= len(text) + _LINE_BYTES
        if self._room <= 0:
            log.warning("[%s] prints more than %d KiB; the rest is left out", self.doing, MAX_LOG_BYTES // 1024)
