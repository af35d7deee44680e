"""Fixtures of the agent's tests: a scripted model and, for tests that ask for it, a real Dapr."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast_agent.local.binaries import find
from holdfast_agent.local.processes import DaprOptions, DaprProcesses
from holdfast_agent.scripted.script import Script
from holdfast_agent.scripted.server import serving
from tests.agent.agents import kept_running, stage  # noqa: F401 - one is a fixture
from tests.agent.commands import command  # noqa: F401 - a fixture
from tests.agent.desks import desk  # noqa: F401 - a fixture
from tests.agent.families import family  # noqa: F401 - a fixture
from tests.agent.servers import postgres_server, postgres_template, redis_folder, redis_server, state_component  # noqa: F401 - fixtures
from tests.agent.toolboxes import open_python, open_toolbox, serve  # noqa: F401 - fixtures

API_TOKEN, APP_TOKEN = "token-of-the-sidecar", "token-of-the-app"

ServeScript = Callable[..., Awaitable[str]]
Probe = Callable[[], Awaitable[Any]]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for a `stage` asks for a real Dapr, in whatever file the test is: modules of pure functions have a few of them."""
    for item in items:
        if "stage" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.dapr)


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


@pytest.fixture
def sqlite_component(tmp_path: Path) -> dict[str, Any]:
    """A state Component on a SQLite file of this test, good for workflows."""
    return state_component("state.sqlite", {"connectionString": str(tmp_path / "state.db")})


@pytest.fixture
async def start_dapr(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[DaprProcesses]]]:
    """`await start_dapr([component, ...], app_id="agent", app_port=PORT)` -> placement, scheduler and daprd, running.

    More keywords are those of `DaprOptions`. Both tokens are on. All of it ends with the test; the folder is `tmp_path/"dapr-<app id>"`.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def start(resources: Sequence[dict[str, Any]], *, app_id: str = "agent", **options: Any) -> DaprProcesses:
            folder = tmp_path / f"dapr-{app_id}"
            (folder / "resources").mkdir(parents=True)
            for number, document in enumerate(resources):
                (folder / "resources" / f"{number}.yaml").write_text(yaml.safe_dump(document))
            chosen = DaprOptions(
                **{
                    "binaries": find(os.environ, Path.home()),
                    "folder": folder,
                    "app_id": app_id,
                    "resources": folder / "resources",
                    "api_token": API_TOKEN,
                    "app_token": APP_TOKEN,
                    **options,
                }
            )
            dapr = await stack.enter_async_context(DaprProcesses(chosen))
            await stack.enter_async_context(kept_running(dapr.processes["daprd"]))
            return dapr

        yield start
