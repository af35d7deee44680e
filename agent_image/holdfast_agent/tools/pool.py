"""Warm processes for Python tools: a call pays no interpreter's start, and calls run beside each other.

The first process starts with the pool and stays. More start when calls overlap, up to a bound, and end after a minute without work.
A process that was killed, at its time limit or by the kernel, is replaced at the next call.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from holdfast_agent.functions.frames import Frame
from holdfast_agent.outcome import Failure
from holdfast_agent.tools.spec import ToolboxError, ToolResult
from holdfast_agent.tools.worker import Worker, WorkerDied

log = logging.getLogger(__name__)
MAX_WORKERS = 8
IDLE_SECONDS = 60.0
IMPORT_SECONDS = 60.0


class WorkerPool:
    """All processes of one toolbox. Any of them can run any of its functions."""

    def __init__(self, tools: Mapping[str, Frame], environ: Mapping[str, str]) -> None:
        """Describe it; nothing is started yet.

        Args:
            tools: by name: `source`, `filename` and `function`.
            environ: environment of the processes, scrubbed already.
        """
        self._first: Frame = {"tools": dict(tools)}
        self._names = ", ".join(repr(name) for name in tools)
        self._environ = environ
        self._free = asyncio.Semaphore(MAX_WORKERS)
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._retirements: dict[Worker, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def open(self) -> dict[str, Any]:
        """Start the first process; gives `description` and `inputSchema` of each tool.

        Raises:
            ToolboxError: a module cannot be imported, or a function cannot be offered.
        """
        try:
            worker, described = await self._start()
        except (WorkerDied, OSError) as error:
            raise ToolboxError(f"tools {self._names} cannot be imported: {error}: importing a module must not end the process") from None
        self._release(worker)
        return described

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str, within: float) -> ToolResult | Failure:
        """Call a function in a free process. Waits at most `within` seconds for one, then runs for at most as long."""
        return await self._asked({"tool": tool, "arguments": dict(arguments), "key": key}, within)

    async def check(self, tool: str, arguments: Mapping[str, Any], *, within: float) -> Failure | None:
        """What is wrong with the arguments of a function; bounded in time as a call is."""
        answer = await self._asked({"tool": tool, "arguments": dict(arguments), "check": True}, within)
        return replace(answer, reach="unsent") if isinstance(answer, Failure) else None

    async def _asked(self, call: Frame, within: float) -> ToolResult | Failure:
        try:
            async with asyncio.timeout(within):
                await self._free.acquire()
        except TimeoutError:
            busy = f"all {MAX_WORKERS} processes for Python tools were busy for {within:g} s"
            return Failure("transient", busy, reach="unsent")
        try:
            return await self._run(call, within)
        except (ToolboxError, OSError) as error:
            return Failure("transient", f"no process for the function can be had: {error}", reach="unsent")
        except WorkerDied as error:
            return Failure("transient", f"the function did not finish: {error}", reach="lost")
        except ValueError:
            return Failure("permanent", "the arguments are too long", reach="unsent")
        finally:
            self._free.release()

    async def close(self) -> None:
        """End all processes."""
        for handle in self._retirements.values():
            handle.cancel()
        await asyncio.gather(*(self._discard(worker) for worker in list(self._all)), *self._ending)

    async def _run(self, call: Frame, within: float) -> ToolResult | Failure:
        async with self._worker() as worker:
            worker.begin(f"{call['tool']} {call.get('key', 'check')}")
            try:
                async with asyncio.timeout(within):
                    answer = await worker.ask(call)
            except TimeoutError:
                await self._discard(worker)
                return Failure("transient", f"the function did not finish within {within:g} s and was ended", reach="lost")
            if isinstance(content := answer.get("content"), str):
                return ToolResult(content)
            return Failure("permanent", str(answer.get("failure")), reach="lost" if answer.get("returned") else "answered")

    @contextlib.asynccontextmanager
    async def _worker(self) -> AsyncIterator[Worker]:
        worker = self._warm() or (await self._start())[0]
        try:
            yield worker
        except BaseException:
            # Whatever interrupted the call, cancellation included: nobody knows what the process is doing now.
            await asyncio.shield(self._discard(worker))
            raise
        if worker in self._all:
            self._release(worker)

    def _warm(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if handle := self._retirements.pop(worker, None):
                handle.cancel()
            if worker.alive:
                return worker
            self._end_soon(worker)
        return None

    async def _start(self) -> tuple[Worker, dict[str, Any]]:
        worker = await Worker.start(self._environ)
        self._all.add(worker)
        try:
            async with asyncio.timeout(IMPORT_SECONDS):
                answer = await worker.ask(self._first)
        except TimeoutError:
            await self._discard(worker)
            raise ToolboxError(
                f"tools {self._names}: importing took more than {IMPORT_SECONDS:g} s: do slow things in the function"
            ) from None
        except BaseException:
            await asyncio.shield(self._discard(worker))
            raise
        if problem := answer.get("problem"):
            await self._discard(worker)
            raise ToolboxError(str(problem))
        return worker, answer["functions"]

    def _release(self, worker: Worker) -> None:
        if self._idle:
            self._retirements[worker] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._retire, worker)
        self._idle.append(worker)

    def _retire(self, worker: Worker) -> None:
        self._retirements.pop(worker, None)
        if worker in self._idle:
            self._idle.remove(worker)
            self._end_soon(worker)

    def _end_soon(self, worker: Worker) -> None:
        task = asyncio.create_task(self._discard(worker))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _discard(self, worker: Worker) -> None:
        self._all.discard(worker)
        await worker.kill()
