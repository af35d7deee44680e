"""The command `holdfast_agent run`, as a test types it."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest
import yaml


class Command:
    """`holdfast_agent run` on `agent.yaml` in a folder of the test's own."""

    def __init__(self, folder):
        self.folder = folder
        self.environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "OPENAI_API_KEY": "sk-none"}
        self.processes = []

    def write(self, *documents):
        (self.folder / "agent.yaml").write_text(yaml.safe_dump_all(documents))

    async def start(self, *arguments, text=None):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "holdfast_agent", "run", "agent.yaml", *arguments, cwd=self.folder, env=self.environ,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        if text is not None:
            process.stdin.write(text.encode())
        process.stdin.close()
        return process

    async def __call__(self, *arguments, text=None):
        process = await self.start(*arguments, text=text)
        async with asyncio.timeout(90):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    @property
    def left(self):
        """Processes that run in the state folder: id -> command line."""
        found = {}
        for proc in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (proc / "cwd").readlink().is_relative_to(self.folder / "state"):
                    found[int(proc.name)] = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    async def pid_of(self, program):
        return next((pid for pid, line in self.left.items() if line.partition(" ")[0].endswith(f"/{program}")), None)


@pytest.fixture
async def command(tmp_path):
    command = Command(tmp_path)
    yield command
    for process in command.processes:
        if process.returncode is None:
            process.kill()
            await process.wait()
