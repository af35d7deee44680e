"""Tools of a test's own, and servers for those over HTTP."""

import os
import textwrap

import pytest
from aiohttp import web

from holdfast_agent.tools import Toolbox
from holdfast_api.config import AgentConfig

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}


def http_config(url, **http):
    timeout = http.pop("timeout", 10.0)
    tool = {"name": "t", "description": "A tool.", "timeoutSeconds": timeout, "http": {"url": url, "inputSchema": CITY, **http}}
    return AgentConfig.model_validate(
        {"name": "a", "model": {"component": "m", "label": "m"}, "stateComponent": "s", "memoryComponent": "s", "tools": [tool]}
    )


@pytest.fixture
async def open_toolbox():
    boxes = []

    async def open_(url, environ=None, **http):
        boxes.append(await Toolbox.open(http_config(url, **http), environ=environ or {}))
        return boxes[-1]

    yield open_
    for box in boxes:
        await box.close()


@pytest.fixture
async def serve():
    """`await serve(handler)` -> URL of a server that answers everything with it."""
    runners = []

    async def serve_(handler):
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield serve_
    for runner in runners:
        await runner.cleanup()


async def echo(request):
    return web.json_response(
        {"method": request.method, "path": request.raw_path, "headers": dict(request.headers), "body": await request.text()}
    )


def python_tool(source, function, **more):
    source = textwrap.dedent(source)
    return {"name": function, "python": {"source": source, "function": function, "filename": "tools/tools.py"}, **more}


def python_config(*tools):
    return AgentConfig.model_validate(
        {"name": "a", "model": {"component": "m", "label": "m"}, "stateComponent": "s", "memoryComponent": "s", "tools": tools}
    )


@pytest.fixture
async def open_python():
    boxes = []

    async def open_(*tools, **environ):
        box = await Toolbox.open(python_config(*tools), environ={"PATH": os.environ["PATH"], **environ})
        boxes.append(box)
        return box

    yield open_
    for box in boxes:
        await box.close()
