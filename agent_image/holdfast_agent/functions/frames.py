"""The wire between the agent and a function's process: a length of four bytes, then JSON."""

import json
import socket
import struct
from typing import Any

HEADER = struct.Struct(">I")
MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_RESULT_BYTES = 1024 * 1024

Frame = dict[str, Any]


def encode(frame: Frame) -> bytes:
    """A frame's bytes.

    Raises:
        ValueError: it is too long.
    """
    body = json.dumps(frame).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes is too long")
    return HEADER.pack(len(body)) + body


def receive(connection: socket.socket) -> Frame | None:
    """Wait for a frame; None when the other side is gone."""
    head = _exactly(connection, HEADER.size)
    if head is None:
        return None
    body = _exactly(connection, HEADER.unpack(head)[0])
    if body is None:
        return None
    frame: Frame = json.loads(body)
    return frame


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)
