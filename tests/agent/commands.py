"""The commands `holdfast_agent run` and `serve`, as a test types them."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml


class Caller:
    """Somebody who calls an agent that is served at `url`."""

    def __init__(self, url, token):
        self.url, self.token = url, token

    async def ask(self, method, path, **options):
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.token}"}) as session,
            session.request(method, self.url + path, **options) as response,
        ):
            return response.status, await response.json(content_type=None)


class Command:
    """`holdfast_agent run`, or another verb, on `agent.yaml` in a folder of the test's own."""

    def __init__(self, folder):
        self.folder = folder
        self.environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "OPENAI_API_KEY": "sk-none"}
        self.processes = []

    def write(self, *documents):
        (self.folder / "agent.yaml").write_text(yaml.safe_dump_all(documents))

    async def start(self, *arguments, text=None, verb="run", stdin=asyncio.subprocess.PIPE):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "holdfast_agent", verb, "agent.yaml", *arguments, cwd=self.folder, env=self.environ,
            stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        if text is not None:
            process.stdin.write(text.encode())
        if process.stdin:
            process.stdin.close()
        return process

    async def __call__(self, *arguments, text=None):
        process = await self.start(*arguments, text=text)
        async with asyncio.timeout(90):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    async def line(self, process, words):
        """Read stderr up to a line with these words; gives all that was read."""
        seen = ""
        async with asyncio.timeout(60):
            while words not in seen:
                line = await process.stderr.readline()
                assert line, f"ended without {words!r}: {seen}"
                seen += line.decode()
        return seen

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
