"""A client of server-sent events that reconnects as a browser does."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.agent.agents import TOKEN, AgentProcess


@dataclass
class Stream:
    """What one client saw of a run.

    Attributes:
        last: the last id that was seen; the next connection goes on behind it.
    """

    agent: AgentProcess
    run: str
    last: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None
    seen: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> list[str]:
        return [step["id"] for step in self.steps]

    async def connect(self) -> int:
        """One connection, to its end; its status."""
        headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Last-Event-ID": self.last} if self.last else {})
        async with self.agent.session.get(f"{self.agent.url}/runs/{self.run}/events", headers=headers) as response:
            if response.status == 200:
                assert response.headers["Content-Type"].startswith("text/event-stream")
                await self._read(response)
            return response.status

    async def follow(self) -> None:
        """Until the run has ended, however often the connection breaks."""
        while self.end is None:
            with contextlib.suppress(aiohttp.ClientError):
                await self.connect()
            await asyncio.sleep(0.05)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        event: dict[str, str] = {}
        async for raw in response.content:
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
                continue
            self._take(event)
            event = {}

    def _take(self, event: dict[str, str]) -> None:
        if "event" not in event:
            return
        document = json.loads(event["data"])
        if event["event"] == "step":
            assert event["id"] == document["id"]
            self.steps.append(document)
        elif event["event"] == "status":
            assert "id" not in event
            self.statuses.append(document)
        else:
            self.end = document
        self.last = event.get("id", self.last)
        self.seen.set()
