"""Asks a contender for tasks and measures what they took. One driver for all."""

import asyncio
import contextlib
import itertools
import os
import statistics
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from dapr.conf import settings
from dapr.ext.workflow.aio import DaprWorkflowClient

from bench.agent.contenders import task
from bench.agent.stack import Stack

TASK_SECONDS = 300
WAIT_SECONDS = 60  # the longest that an agent lets anybody wait


@dataclass(frozen=True)
class Load:
    """What is asked for: so many tasks, so many at a time, of so many tool turns, from a model that takes so many seconds."""

    tasks: int
    at_once: int
    latency: float = 0.0
    turns: int = 1

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.at_once} at once, model {self.latency:g} s, {self.turns} tool turn{'s' if self.turns > 1 else ''}"


class Driver:
    """A client of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        settings.DAPR_HTTP_PORT, settings.DAPR_GRPC_PORT = stack.dapr.http_port, stack.dapr.grpc_port
        self._client = DaprWorkflowClient()

    async def one(self, number: int) -> float:
        """Seconds that one task took, as its caller sees it.

        Raises:
            RuntimeError: it did not end well.
        """
        began, text = time.perf_counter(), task(number)
        if self._stack.contender.workflow is None:
            await self._ours(text)
        else:
            run = f"bench-{uuid.uuid4().hex}"
            await self._client.schedule_new_workflow(self._stack.contender.workflow, input={"task": text}, instance_id=run)
            state = await self._client.wait_for_workflow_completion(run, timeout_in_seconds=TASK_SECONDS)
            if state is None or state.runtime_status.name != "COMPLETED":
                raise RuntimeError(f"a task ended badly: {state}")
        return time.perf_counter() - began

    async def measure(self, load: Load) -> dict[str, Any]:
        """Figures of one load: per second, per task, and how busy the machine was besides."""
        stack = self._stack
        await stack.set(latency=load.latency, turns=load.turns)
        await asyncio.gather(*(self.one(number) for number in range(min(load.at_once, 4))))
        await stack.set(latency=load.latency, turns=load.turns)
        busy, cpu, commands, keys, size = os.getloadavg()[0], stack.cpu(), stack.redis.commands(), stack.redis.keys(), stack.redis.bytes()
        numbers, seconds, began = iter(range(load.tasks)), list[float](), time.perf_counter()

        async def caller() -> None:
            for number in numbers:
                seconds.append(await self.one(number))

        await asyncio.gather(*(caller() for _ in range(load.at_once)))
        wall = time.perf_counter() - began
        used = {name: round(1000 * (value - cpu[name]) / load.tasks, 2) for name, value in stack.cpu().items()}
        return {
            "tasks": load.tasks,
            "tasks_per_s": round(load.tasks / wall, 2),
            "p50_ms": round(1000 * statistics.median(seconds), 1),
            "p95_ms": round(1000 * sorted(seconds)[int(0.95 * (len(seconds) - 1))], 1),
            "cpu_ms": used,
            "rss_mib": round(stack.rss(), 1),
            "model_calls": round((await stack.seen())["requests"] / load.tasks, 2),
            "store_commands": round((stack.redis.commands() - commands) / load.tasks, 1),
            "keys_left": round((stack.redis.keys() - keys) / load.tasks, 1),
            "bytes_left": round((stack.redis.bytes() - size) / load.tasks),
            "loadavg": [round(busy, 2), round(os.getloadavg()[0], 2)],
        }

    async def growth(self, turns: int) -> dict[str, Any]:
        """One run of many tool turns: what a turn takes without the model, early (2 to 20) and late (the last 19).

        From when the model's answer has left until it is asked again. The lower quartile, because what else the machine does only adds.
        """
        await self._stack.set(latency=0.0, turns=turns)
        run = f"growth-{uuid.uuid4().hex[:8]}"
        if self._stack.contender.workflow is None:
            await self._ours(task(0), run)
        else:
            await self.one(0)
        calls = (await self._stack.seen())["calls"]
        figures = _early_and_late([1000 * (later[2] - earlier[3]) for earlier, later in itertools.pairwise(calls)]) | {"turns": turns}
        if self._stack.contender.workflow is None:
            figures["engine"] = _early_and_late(await self._engine(run))
        return figures

    async def _ours(self, text: str, run: str | None = None) -> None:
        url, body = f"{self._stack.url}/run?wait={WAIT_SECONDS}s", {"task": text, "id": run or f"bench-{uuid.uuid4().hex}"}
        for _ in range(TASK_SECONDS // WAIT_SECONDS):
            async with self._stack.session.post(url, json=body) as response:
                answer = await response.json()
            if answer.get("status") == "COMPLETED":
                return
            if response.status != HTTPStatus.ACCEPTED:
                break
        raise RuntimeError(f"a task ended badly: {answer}")

    async def _engine(self, run: str) -> list[float]:
        """Milliseconds of each turn of a run in which neither model nor tool was at work, by the run's own records.

        What grows with the conversation, reading it and handing it to the model, is in the model's step and so not in here.
        """
        steps, path = list[dict[str, Any]](), f"/runs/{run}/steps?limit=100"
        while path:
            async with self._stack.session.get(self._stack.url + path) as response:
                page = await response.json()
            steps, path = steps + page["steps"], page.get("next")
        times = sorted((datetime.fromisoformat(step["started"]), datetime.fromisoformat(step["ended"])) for step in steps)
        gaps = [1000 * (later[0] - earlier[1]).total_seconds() for earlier, later in itertools.pairwise(times)]
        return [before + after for before, after in zip(gaps[::2], gaps[1::2], strict=False)]

    async def history(self) -> int:
        """Bytes of history that a run of one generation (20 turns) leaves with Dapr."""
        await self._stack.set(latency=0.0, turns=19)
        run = f"history-{uuid.uuid4().hex[:8]}"
        await self._ours(task(0), run)
        return self._stack.redis.history_bytes(run)

    async def close(self) -> None:
        """Close the client."""
        with contextlib.suppress(Exception):
            await self._client._DaprWorkflowClient__obj.aclose()  # noqa: SLF001 - it has no public way


def _early_and_late(turns: list[float]) -> dict[str, float]:
    early, late = (statistics.quantiles(part, n=4)[0] for part in (turns[1:20], turns[-19:]))
    return {"early_ms": round(early, 2), "late_ms": round(late, 2), "ratio": round(late / early, 3)}
