"""Server-sent events, read as they come in and never further than they may be long. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from holdfast_agent.tools.mcp.wire import MAX_MESSAGE_BYTES, McpError, unusable

MAX_LINES = 100_000
MAX_STREAM_BYTES = 2 * MAX_MESSAGE_BYTES
"""All that is read of one stream that answers one request: messages about progress come before the answer."""


@dataclass(frozen=True)
class Event:
    """One event."""

    kind: str
    data: str
    id: str | None


@dataclass
class EventReader:
    """Reads bytes, gives events.

    Attributes:
        most: bytes of the whole stream; None: as many as there are.
        last_id: of the newest event that has one, to go on after.
    """

    most: int | None = MAX_STREAM_BYTES
    last_id: str | None = None
    _rest: bytearray = field(default_factory=bytearray)
    _data: list[str] = field(default_factory=list)
    _kind: str = ""
    _held: int = 0
    _seen: int = 0
    _lines: int = 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in these bytes.

        Raises:
            McpError: the stream, or an event in it, is too long.
        """
        self._seen += len(chunk)
        self._lines += chunk.count(b"\n")
        if self.most is not None and (self._seen > self.most or self._lines > MAX_LINES):
            raise McpError(unusable(f"the server sent more than {self.most // 1024} KiB or {MAX_LINES} lines in answer to one request"))
        self._rest += chunk
        lines: list[bytearray] = []
        if b"\n" in chunk:
            *lines, self._rest = self._rest.split(b"\n")
        if self._held + len(self._rest) > MAX_MESSAGE_BYTES:
            raise McpError(unusable(f"the answer is longer than {MAX_MESSAGE_BYTES // 1024} KiB"))
        for line in lines:
            if event := self._line(bytes(line.removesuffix(b"\r"))):
                yield event

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._end()
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._held += len(line)
            if self._held > MAX_MESSAGE_BYTES:
                raise McpError(unusable(f"the answer is longer than {MAX_MESSAGE_BYTES // 1024} KiB"))
        elif name == "event":
            self._kind = value
        elif name == "id" and value.isprintable():
            self.last_id = value[:1024]
        return None

    def _end(self) -> Event | None:
        data, kind = "\n".join(self._data), self._kind or "message"
        self._data, self._kind, self._held = [], "", 0
        return Event(kind, data, self.last_id) if data else None
