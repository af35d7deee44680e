"""The model and the tool that every contender calls, as a process of its own so that its CPU time is nobody's.

    python bench/agent/outside.py PORT

The model answers as many turns as was set with one call of the first tool that it is offered, then with a text; a request without tools
gets a text at once. `POST /set {"latency": seconds, "turns": n}` sets both and forgets what was seen, `GET /seen` gives
`{"requests": n, "calls": [[first user text, number of messages, arrived, left], …]}` with times of the system's clock.
"""

import asyncio
import sys
import time
from typing import Any

from aiohttp import web


class Outside:
    """What is set, and what was seen."""

    def __init__(self) -> None:
        self.latency, self.turns = 0.0, 1
        self.calls: list[tuple[str, int, float, float]] = []

    async def complete(self, request: web.Request) -> web.Response:
        """One completion."""
        arrived, body = time.time(), await request.json()
        messages: list[dict[str, Any]] = body["messages"]
        said = sum(bool(message.get("tool_calls")) for message in messages)
        await asyncio.sleep(self.latency)
        message: dict[str, Any] = {"role": "assistant", "content": "It is sunny in London."}
        if body.get("tools") and said < self.turns:
            function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "London"}'}
            message = {"role": "assistant", "content": "", "tool_calls": [{"id": f"call_{said}", "type": "function", "function": function}]}
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        self.calls.append((_first(messages), len(messages), arrived, time.time()))
        return web.json_response(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 0,
                "model": "outside",
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
            }
        )

    async def weather(self, _: web.Request) -> web.Response:
        """The tool."""
        return web.json_response("London: sunny, 21C")

    async def set(self, request: web.Request) -> web.Response:
        """New settings, and a fresh start."""
        body = await request.json()
        self.latency, self.turns, self.calls = float(body["latency"]), int(body["turns"]), []
        return web.json_response({})

    async def seen(self, _: web.Request) -> web.Response:
        """What was asked since."""
        return web.json_response({"requests": len(self.calls), "calls": self.calls})


def _first(messages: list[dict[str, Any]]) -> str:
    content = next((message.get("content") for message in messages if message["role"] == "user"), "")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def main() -> None:
    """Serve on that port of the loopback."""
    outside = Outside()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.add_routes(
        [
            web.post("/v1/chat/completions", outside.complete),
            web.post("/tools/get_weather", outside.weather),
            web.post("/set", outside.set),
            web.get("/seen", outside.seen),
        ]
    )
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
