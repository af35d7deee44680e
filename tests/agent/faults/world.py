"""The world outside, which is never killed: a model, tools, and the ledger of everything that was asked of them.

The model follows the plan that the task holds, so it needs no state: `{"run": id, "turns": [["pay", "note"], …], "ends": …}` asks for those
tools in that turn. After the last one it answers, or refuses the key if the run is to fail.

`CAREFUL` tools honour the idempotency key: their effect happens once for a key. `CARELESS` ones do it again each time that they are asked;
of these, those of `ONCE` are only ever asked once. `UNDONE` names what undoes what; `SIGNED` waits for a person.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from holdfast_api.names import digest
from tests.agent.agents import step_key

UNDONE = {"pay": "refund"}
SIGNED = ("sign",)
ONCE = ("wire",)
CARELESS = ("mail", *ONCE)
ASKED = ("pay", "note", *SIGNED, *CARELESS)
TOOLS = (*ASKED, *UNDONE.values())

Kind = Literal["model", "tool", "undo"]
Ends = Literal["answer", "failure", "cancel"]
Stage = Literal["arrived", "leaving"]
Moment = tuple[Kind, str, int, Stage]
"""Kind of call, run, turn (from 1; an undoing tool has that of the call), and whether it has just come or its effect is done and the
answer about to leave."""


@dataclass(frozen=True)
class Plan:
    """What a run is to do: the tools of each turn, and how it then ends. One that is canceled is so in or after its last turn."""

    turns: tuple[tuple[str, ...], ...]
    ends: Ends = "answer"


@dataclass
class Call:
    """One request. Times are of the monotonic clock.

    Attributes:
        key: what makes it the same request again: the idempotency key, or a digest of the messages.
        effect: whether it had one; a careful tool that is asked again only repeats its answer.
    """

    kind: Kind
    name: str
    key: str
    run: str
    turn: int
    at: float
    left: float | None = None
    effect: bool = False


@dataclass
class Hold:
    """A call that is kept where it is. It concerns the first one that comes there."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class World:
    """Serves, and remembers. Latencies are in seconds."""

    model_latency: float = 0.0
    tool_latency: float = 0.0
    calls: list[Call] = field(default_factory=list)
    holds: dict[Moment, Hold] = field(default_factory=dict)
    _done: set[tuple[str, str]] = field(default_factory=set)

    def hold(self, kind: Kind, run: str, turn: int, stage: Stage) -> Hold:
        """Keep the next call of that kind, run and turn at that stage until it is released."""
        return self.holds.setdefault((kind, run, turn, stage), Hold())

    async def _at(self, call: Call, stage: Stage) -> None:
        hold = self.holds.pop((call.kind, call.run, call.turn, stage), None)
        if hold:
            hold.reached.set()
            await hold.release.wait()

    async def _model(self, request: web.Request) -> web.Response:
        messages = (await request.json())["messages"]
        plan = json.loads(next(_text(message) for message in messages if message["role"] == "user"))
        said = sum(message["role"] == "assistant" for message in messages)
        call = Call("model", "model", digest(messages), plan["run"], said + 1, time.monotonic())
        self.calls.append(call)
        await self._at(call, "arrived")
        await asyncio.sleep(self.model_latency)
        wanted = plan["turns"][said] if said < len(plan["turns"]) else []
        if not wanted and plan["ends"] == "failure":
            await self._leave(call)
            return web.json_response({"error": {"message": "this key is refused", "code": 401}}, status=401)
        message: dict[str, Any] = {"role": "assistant", "content": None if wanted else answer(plan["run"])}
        if wanted:
            message["tool_calls"] = [
                {"id": f"{call.key}-{number}", "type": "function", "function": {"name": name, "arguments": '{"city": "Paris"}'}}
                for number, name in enumerate(wanted)
            ]
        call.effect = True
        await self._leave(call)
        return web.json_response(
            {
                "id": call.key,
                "object": "chat.completion",
                "created": 0,
                "model": "world",
                "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if wanted else "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
            }
        )

    async def _tool(self, request: web.Request) -> web.Response:
        name, key = request.match_info["name"], step_key(request.headers.get("Idempotency-Key", ""))
        run, turn = key.split("/")[:2]
        call = Call("undo" if key.endswith("/undo") else "tool", name, key, run, int(turn), time.monotonic())
        self.calls.append(call)
        await self._at(call, "arrived")
        await asyncio.sleep(self.tool_latency)
        call.effect = name in CARELESS or (name, key) not in self._done
        self._done.add((name, key))
        await self._leave(call)
        return web.json_response({"receipt": f"{name} {key}"})

    async def _leave(self, call: Call) -> None:
        await self._at(call, "leaving")
        call.left = time.monotonic()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a port of its own until the block ends; gives the URL without a path."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.add_routes([web.post("/v1/chat/completions", self._model), web.post("/tools/{name}", self._tool)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            for hold in self.holds.values():
                hold.release.set()
            await runner.cleanup()


def task(run: str, plan: Plan) -> str:
    """What to ask an agent for, so that its run does that."""
    return json.dumps({"run": run, "turns": plan.turns, "ends": plan.ends})


def answer(run: str) -> str:
    """How the model ends that run."""
    return f"done {run}"


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else "".join(str(part.get("text") or "") for part in content or ())
