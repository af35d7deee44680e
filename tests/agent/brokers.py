"""Brokers of the test's own, and what is published to them and by the agent."""

import asyncio
import json
from typing import Any

BROKER = "broker"


def pubsub_component(kind: str, metadata: dict[str, str] | None = None, *, name: str = BROKER) -> dict[str, Any]:
    """A pub/sub Component, without which an agent works, as those that the operator makes."""
    entries = [{"name": key, "value": value} for key, value in (metadata or {}).items()]
    spec = {"type": kind, "version": "v1", "ignoreErrors": True, "metadata": entries}
    return {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec}


def redis_broker(port: int, *, name: str = BROKER) -> dict[str, Any]:
    """Redis streams that deliver again after two seconds what was not acknowledged."""
    metadata = {"redisHost": f"127.0.0.1:{port}", "processingTimeout": "2s", "redeliverInterval": "1s", "concurrency": "20"}
    return pubsub_component("pubsub.redis", metadata, name=name)


class Streams:
    """Redis streams as a broker: what publishers put in, and what came out."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def call(self, *words: str | bytes) -> Any:
        """One command of Redis."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        writer.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        try:
            return await _reply(reader)
        finally:
            writer.close()

    async def publish(self, topic: str, data: str | bytes) -> None:
        """As a publisher that knows nothing of Dapr."""
        await self.call("XADD", topic, "*", "data", data)

    async def event(self, topic: str, data: Any, *, name: str, source: str = "shop", **more: Any) -> None:
        """As a publisher that sends CloudEvents; `name` is the event's id."""
        event = {"specversion": "1.0", "type": "test", "id": name, "source": source, "datacontenttype": "application/json", "data": data}
        await self.publish(topic, json.dumps(event | more))

    async def events(self, topic: str) -> list[Any]:
        """All that was published to a topic, as it is there."""
        entries = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in await self.call("XRANGE", topic, "-", "+")]
        return [json.loads(entry[b"data"]) for entry in entries]

    async def unacknowledged(self, topic: str) -> int:
        """Deliveries that no group has acknowledged."""
        total = 0
        for group in await self.call("XINFO", "GROUPS", topic):
            fields = dict(zip(group[::2], group[1::2], strict=True))
            total += int(fields[b"pending"]) + int(fields.get(b"lag") or 0)
        return total


async def _reply(reader: asyncio.StreamReader) -> Any:
    line = (await reader.readline())[:-2]
    kind, rest = line[:1], line[1:]
    assert kind != b"-", rest
    if kind == b"$":
        return None if rest == b"-1" else (await reader.readexactly(int(rest) + 2))[:-2]
    if kind == b"*":
        return [await _reply(reader) for _ in range(int(rest))]
    return int(rest) if kind == b":" else rest
