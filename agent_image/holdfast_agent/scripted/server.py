"""The scripted model and its tools over HTTP.

POST /v1/chat/completions   the model
GET  /v1/models             so that clients which ask first are content
ANY  /tools/<name>          the tools
GET  /ledger                {"summary": …, "calls": […]}; `?kind=model|tool` for one of them
GET  /healthz
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from holdfast_agent.scripted import conversation
from holdfast_agent.scripted.conversation import Unanswerable
from holdfast_agent.scripted.ledger import Call, Ledger, Outcome
from holdfast_agent.scripted.script import Fault, Script, ScriptedTool, Step
from holdfast_api.v1alpha1.types import seconds

MAX_REQUEST_BYTES = 64 * 1024 * 1024
GARBAGE = "<html>this is not what you asked for"
_CHUNK = 64 * 1024


class ScriptedServer:
    """Routes and what they do."""

    def __init__(self, script: Script, ledger: Ledger) -> None:
        """Serve a script; the ledger is open already."""
        self._script, self._ledger = script, ledger
        self._working: dict[tuple[str, str], asyncio.Event] = {}

    def application(self) -> web.Application:
        """The web application."""
        application = web.Application(client_max_size=MAX_REQUEST_BYTES)
        application.add_routes(
            [
                web.post("/v1/chat/completions", self._complete),
                web.get("/v1/models", self._models),
                web.get("/ledger", self._show_ledger),
                web.get("/healthz", self._healthz),
                web.route("*", "/tools/{name}", self._tool),
            ]
        )
        return application

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = conversation.read(await _json(request))
            turn = conversation.choose(self._script, asked)
        except Unanswerable as error:
            return _model_error(400, str(error))
        detail = {"run": asked.run, "turn": asked.turn, "task": conversation.excerpt(asked.task)}
        call = self._ledger.start("model", asked.model, asked.key, detail)
        if fault := turn.fault(call.attempt):
            return await self._fail(request, call, turn, fault)
        body = conversation.completion(asked, turn, created=int(time.time()))
        return await self._reply(request, call, turn.latency_seconds, "tool_calls" if turn.tool_calls else "answer", body)

    async def _tool(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        tool = self._script.tools.get(name)
        if tool is None:
            have = ", ".join(sorted(self._script.tools)) or "none"
            return web.json_response({"error": f"the script has no tool {name!r}; it has: {have}"}, status=404)
        try:
            arguments = await _json(request) if request.can_read_body else dict(request.query)
        except Unanswerable as error:
            return web.json_response({"error": str(error)}, status=400)
        key = request.headers.get("Idempotency-Key", "")
        detail = {"method": request.method, "arguments": arguments}
        if trace := request.headers.get("traceparent"):
            detail["traceparent"] = trace
        call = self._ledger.start("tool", name, key, detail)
        if fault := tool.fault(call.attempt):
            return await self._fail(request, call, tool, fault)
        return await self._work(request, call, tool)

    async def _work(self, request: web.Request, call: Call, tool: ScriptedTool) -> web.StreamResponse:
        """Do the work once for each key: join it while it is going on, repeat its result afterwards."""
        known = (call.name, call.key)
        if call.key and (working := self._working.get(known)):
            await working.wait()
        if call.key and self._ledger.answered("tool", *known):
            return await self._reply(request, call, 0.0, "replay", tool.result)
        done = self._working[known] = asyncio.Event()
        try:
            return await self._reply(request, call, tool.latency_seconds, "result", tool.result)
        finally:
            if self._working.get(known) is done:
                del self._working[known]
            done.set()

    async def _reply(self, request: web.Request, call: Call, latency: float, outcome: Outcome, body: Any) -> web.Response:  # noqa: ANN401 - any JSON
        if latency:
            await asyncio.sleep(latency)
        self._ledger.finish(call, outcome, delivered=_listening(request))
        return web.json_response(body)

    async def _fail(self, request: web.Request, call: Call, step: Step, fault: Fault) -> web.StreamResponse:
        await asyncio.sleep(seconds(fault.hang) if fault.hang else step.latency_seconds)
        self._ledger.finish(call, "fault", delivered=_listening(request))
        if fault.hang:
            if request.transport:
                request.transport.abort()
            return web.Response(status=500)
        if fault.size is not None or fault.endless:
            return await _flood(request, fault)
        if fault.garbage:
            return web.Response(text=GARBAGE, content_type="application/json")
        assert fault.status is not None
        headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
        return _model_error(fault.status, fault.message or f"the script answers attempt {call.attempt} with {fault.status}", headers)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "holdfast"}]})

    async def _show_ledger(self, request: web.Request) -> web.Response:
        kind = request.query.get("kind")
        calls = [asdict(call) for call in self._ledger.calls if kind in {None, call.kind}]
        return web.json_response({"summary": self._ledger.summary(), "calls": calls})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")


@contextlib.asynccontextmanager
async def serving(script: Script, *, host: str = "127.0.0.1", port: int = 0, ledger: Path | None = None) -> AsyncIterator[str]:
    """Serve until the block ends; gives the URL without a path.

    Raises:
        OSError: the port is taken or the ledger cannot be written.
        ValueError: the ledger's file is none.
    """
    record = Ledger(ledger)
    record.open()
    runner = web.AppRunner(ScriptedServer(script, record).application(), access_log=None, shutdown_timeout=1.0)
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        record.close()


async def _json(request: web.Request) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return await request.json()
    except ValueError:
        raise Unanswerable("the body is no JSON") from None


async def _flood(request: web.Request, fault: Fault) -> web.StreamResponse:
    """So many bytes, or bytes without end; those of a text are all `x`."""
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream" if fault.binary else "text/plain; charset=utf-8"})
    left = fault.size
    if left is not None:
        response.content_length = left
    with contextlib.suppress(ConnectionError):  # who has heard enough hangs up
        await response.prepare(request)
        while left is None or left > 0:
            count = _CHUNK if left is None else min(left, _CHUNK)
            await response.write((b"\x00\xff" if fault.binary else b"xx") * (count // 2) + b"x" * (count % 2))
            left = None if left is None else left - count
            await asyncio.sleep(0)  # an endless answer must not keep the others waiting
        await response.write_eof()
    return response


def _listening(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _model_error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    kind = "invalid_request_error" if status == 400 else "scripted_fault"  # noqa: PLR2004 - the word for status 400
    return web.json_response({"error": {"message": message, "type": kind, "code": status}}, status=status, headers=headers)
