"""Fixtures of the agent's tests: a scripted model and, for tests that ask for it, a real Dapr."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from holdfast_agent.scripted.script import Script
from holdfast_agent.scripted.server import serving

ServeScript = Callable[..., Awaitable[str]]
Probe = Callable[[], Awaitable[Any]]


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """`await eventually(probe, within=10)` -> the first true value that the coroutine function gives."""

    async def poll(probe: Probe, *, within: float = 10.0, every: float = 0.02) -> Any:
        deadline = asyncio.get_running_loop().time() + within
        while not (value := await probe()):
            assert asyncio.get_running_loop().time() < deadline, f"not within {within} s; the last value was {value!r}"
            await asyncio.sleep(every)
        return value

    return poll


@pytest.fixture
async def serve_script() -> AsyncIterator[ServeScript]:
    """`await serve_script({"rules": [...], "tools": {...}}, ledger=PATH)` -> base URL of a scripted model and its tools."""
    async with contextlib.AsyncExitStack() as stack:

        async def serve(script: dict[str, Any], **options: Any) -> str:
            return await stack.enter_async_context(serving(Script.model_validate(script), **options))

        yield serve
