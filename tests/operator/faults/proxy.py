"""Between the operator and the API server: passes everything on, writes down every request, and carries out one plan."""

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from e2e.cluster.apiserver import ApiServer
from tests.operator.faults.plan import Plan

WRITES = ("POST", "PATCH", "PUT", "DELETE")
INSTEAD = ("kill-before", "reset", "409", "410", "422", "429", "500")
AFTERWARDS = ("kill-during", "504")
LATE_SECONDS = 1.5
_PATH = re.compile(r"^/apis?/(?:[^/]+/){1,2}namespaces/[^/]+/(?P<rest>.+)$")
_REASONS = {409: "Conflict", 410: "Expired", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 504: "Timeout"}
_PASSED = ("Authorization", "Content-Type", "Accept", "User-Agent")


@dataclass
class Call:
    """One request, as it was seen.

    Attributes:
        verb, target, nth: as in a plan.
        status: what the API server answered; 0 when it was not asked.
        changed: whether it changed anything.
        perhaps_old: a read that a cache may answer with what once was.
        at: when it came, in seconds of the monotonic clock.
        over: whether it was answered, or given up by who asked.
    """

    verb: str
    target: str
    nth: int
    status: int = 0
    changed: bool = False
    perhaps_old: bool = False
    at: float = field(default_factory=time.monotonic)
    over: bool = False


class Proxy:
    """One proxy, for one operator."""

    def __init__(self, server: ApiServer, plan: Plan | None, kill: Callable[[], None]) -> None:
        self._server, self._plan, self._kill = server, plan, kill
        self._alike: Counter[tuple[str, str]] = Counter()
        self._versions: dict[str, str] = {}
        self._too_old: set[tuple[str, str]] = set()
        self._sending: set[asyncio.Task[Any]] = set()
        self.calls: list[Call] = []
        self.events: Counter[str] = Counter()
        self.watches = 0
        self.fired = False
        self.url = ""

    async def start(self) -> None:
        authority = ssl.create_default_context(cafile=str(self._server.folder / "certs" / "apiserver.crt"))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=authority, limit=0), read_bufsize=2**22, timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._session.close()

    def writes(self) -> list[Call]:
        """Writes that changed something."""
        return [call for call in self.calls if call.verb in WRITES and call.changed]

    def last_write(self) -> float:
        """When the last write was sent, whatever came of it; now, while one is held: what follows from it is still to come."""
        return max((call.at if call.over else time.monotonic() for call in self.calls if call.verb in WRITES), default=0.0)

    def _due(self, verb: str, target: str) -> tuple[int, str]:
        """Count a request or event; its number, and what the plan says to it."""
        self._alike[verb, target] += 1
        nth, plan = self._alike[verb, target], self._plan
        if plan is None or self.fired or (plan.verb, plan.target, plan.nth) != (verb, target, nth):
            return nth, ""
        self.fired = True
        return nth, plan.action

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        target = _target(request, body)
        if request.query.get("watch") == "true":
            return await self._watch(request, target)
        verb = "LIST" if request.method == "GET" and "/" not in target and request.path.count("/") > 3 else request.method
        nth, action = self._due(verb, target)
        call = Call(verb, target, nth, perhaps_old="resourceVersion" in request.query)
        self.calls.append(call)
        try:
            return await self._answer(request, body, call, action)
        finally:
            call.over = True

    async def _answer(self, request: web.Request, body: bytes, call: Call, action: str) -> web.StreamResponse:
        if action in INSTEAD:
            return self._instead(request, action)
        if action == "delay":
            await asyncio.sleep(LATE_SECONDS)
        # What was sent is carried out, also when the operator is gone: shielded from the cancellation that comes with a lost connection.
        sending = asyncio.create_task(self._forward(request, body, call))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        status, headers, content = await asyncio.shield(sending)
        if action in AFTERWARDS:
            return self._instead(request, action)
        if action == "kill-after":
            asyncio.get_running_loop().call_later(0.02, self._kill)
        return web.Response(status=status, headers=headers, body=content[: len(content) // 2] if action == "truncated" else content)

    def _instead(self, request: web.Request, action: str) -> web.Response:
        """What the operator gets in place of the answer."""
        if action in {"kill-before", "kill-during"}:
            self._kill()
            return _cut(request)
        return _cut(request) if action == "reset" else _refusal(int(action))

    async def _forward(self, request: web.Request, body: bytes, call: Call) -> tuple[int, dict[str, str], bytes]:
        headers = _headers(request)
        async with self._session.request(request.method, self._upstream(request), headers=headers, data=body or None) as answer:
            headers = {name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers}
            content = await answer.read()
        call.status, call.changed = answer.status, self._changed(call.verb, call.target, answer.status, content)
        return answer.status, headers, content

    def _changed(self, verb: str, target: str, status: int, content: bytes) -> bool:
        """Whether an answer tells of a change: one that leaves the resourceVersion alone is none."""
        if status >= 300 or verb == "LIST":
            return False
        with contextlib.suppress(ValueError):
            version = json.loads(content).get("metadata", {}).get("resourceVersion", "")
            name = target.removesuffix("/status")
            before, self._versions[name] = self._versions.get(name), version
            return verb in WRITES and (verb == "DELETE" or status == 201 or version != before)
        return False

    async def _watch(self, request: web.Request, target: str) -> web.StreamResponse:
        self.watches += 1
        _, action = self._due("WATCH", target)
        place = (target, request.query.get("resourceVersion", ""))
        if action == "410":
            self._too_old.add(place)
        if place in self._too_old:  # and it stays so
            return _refusal(410)
        if action in INSTEAD:
            return self._instead(request, action)
        async with self._session.get(self._upstream(request), headers=_headers(request)) as answer:
            out = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers.get("Content-Type", "")})
            await out.prepare(request)
            if action == "freeze":
                await _silence(request)
            if action == "truncated":
                await out.write(b'{"type":"ADDED","obj')
                return _cut(request)
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                async for line in self._disturbed(request, target, answer.content):
                    await out.write(line)
            if request.transport is None or request.transport.is_closing():
                return out
            await out.write_eof()
            return out

    async def _disturbed(self, request: web.Request, target: str, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:  # noqa: C901
        """The events of a watch, with the plan carried out on them."""
        late: list[bytes] = []
        async for line in lines:
            event = json.loads(line)
            kind = f"{target}/{event['type']}"
            self.events[kind] += event["type"] != "BOOKMARK"
            _, action = self._due("EVENT", kind)
            match action:
                case "drop":
                    continue
                case "reorder":
                    late.append(line)
                    continue
                case "close":
                    return
                case "gone":
                    yield _line({"type": "ERROR", "object": _status(410)})
                    return
                case "freeze":
                    await _silence(request)
                    return
                case "truncated":
                    yield line[: len(line) // 2]
                    return
                case "delay":
                    await asyncio.sleep(LATE_SECONDS)
                case "duplicate":
                    yield line
            yield line
            while late:
                yield late.pop()

    def _upstream(self, request: web.Request) -> URL:
        return URL(self._server.url + request.raw_path, encoded=True)


def _target(request: web.Request, body: bytes) -> str:
    """`plural/name` of a request, the same in each namespace and in each run."""
    found = _PATH.match(request.path)
    if found is None:
        return request.path
    rest = found["rest"]
    if request.method == "POST":
        rest += "/" + json.loads(body)["metadata"]["name"]
    if rest.startswith("events/"):  # its name is a digest over the Agent's uid
        rest = re.sub(r"\.[0-9a-f]{16}$", "", rest)
    return rest


def _headers(request: web.Request) -> dict[str, str]:
    return {"Accept-Encoding": "identity"} | {name: request.headers[name] for name in _PASSED if name in request.headers}


def _status(code: int) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": _REASONS[code],
        "message": "made by the fault proxy",
        "code": code,
    }


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _refusal(code: int) -> web.Response:
    if code == 429:  # in the words of a busy API server, which answers before it knows of JSON
        return web.Response(status=code, text="Too many requests, please try again later.\n", headers={"Retry-After": "1"})
    return web.json_response(_status(code), status=code)


def _cut(request: web.Request) -> web.Response:
    """End the connection without an answer."""
    if request.transport:
        request.transport.abort()
    return web.Response(status=503)


async def _silence(request: web.Request) -> None:
    """Say nothing until the other side goes away."""
    while request.transport and not request.transport.is_closing():  # noqa: ASYNC110 - aiohttp tells nobody
        await asyncio.sleep(0.1)
