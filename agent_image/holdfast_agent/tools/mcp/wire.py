"""JSON-RPC as MCP speaks it: what is sent, and what an answer means. Pure."""

import base64
import json
from typing import Any, Final

from holdfast_agent.outcome import Failure, one_line

LATEST: Final = "2025-11-25"
"""The newest version that begins with `initialize`; what is offered."""
VERSIONS: Final = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", LATEST})
STATELESS: Final = "2026-07-28"
"""The version without `initialize` and without sessions: each request says by itself who sends it."""
VERSION_HEADER: Final = "MCP-Protocol-Version"
SESSION_HEADER: Final = "Mcp-Session-Id"
CLIENT: Final = {"name": "holdfast-agent", "version": "1"}
KEY: Final = "holdfast.dev/idempotency-key"
"""Name in `_meta` of the call's idempotency key."""
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Longest message that is read: results may hold images, which are described and not kept."""
MAX_TEXT: Final = 300

UNSUPPORTED_VERSION: Final = -32022
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
_INTERNAL: Final = -32603
_OF_SERVERS: Final = range(-32099, -31999)

Message = dict[str, Any]


class McpError(Exception):
    """Something did not work; `failure` says what it comes to, for a call that it happens to."""

    def __init__(self, failure: Failure, *, code: int | None = None, data: Any = None) -> None:  # noqa: ANN401 - any JSON value
        """Keep the failure; `code` and `data` of a JSON-RPC error, if it was one."""
        super().__init__(failure.message)
        self.failure, self.code, self.data = failure, code, data


class SessionLostError(McpError):
    """The server does not know the session any more. What was sent was not carried out."""


def request(number: int, method: str, params: Message) -> Message:
    """A request."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def notification(method: str, params: Message | None = None) -> Message:
    """A message that nobody answers."""
    return {"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {})


def answer_to(asked: Message) -> Message:
    """What a server that asks something of us is told: we are there, and can do nothing for it."""
    if asked.get("method") == "ping":
        return {"jsonrpc": "2.0", "id": asked["id"], "result": {}}
    return {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": METHOD_NOT_FOUND, "message": "this client offers nothing"}}


def initialize() -> Message:
    """Parameters of the first request."""
    return {"protocolVersion": LATEST, "capabilities": {}, "clientInfo": CLIENT}


def stateless_meta() -> Message:
    """What `_meta` of each request says where there is no session."""
    prefix = "io.modelcontextprotocol/"
    return {f"{prefix}protocolVersion": STATELESS, f"{prefix}clientInfo": CLIENT, f"{prefix}clientCapabilities": {}}


def header_value(text: str) -> str:
    """A text as the stateless version puts it into a header."""
    plain = text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?")
    return text if plain else f"=?base64?{base64.b64encode(text.encode(errors='replace')).decode()}?="


def read(text: str | bytes) -> list[Message]:
    """The messages in a body or an event: one, or some (of 2025-03-26).

    Raises:
        McpError: it is no JSON-RPC.
    """
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise McpError(unusable(f"the answer is no JSON ({short(str(error))})")) from None
    messages = found if isinstance(found, list) else [found]
    if not all(isinstance(message, dict) for message in messages):
        raise McpError(unusable("the answer is no JSON-RPC"))
    return messages


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def is_request(message: Message) -> bool:
    """Whether the other side asks something of us."""
    return "method" in message and isinstance(message.get("id"), int | str)


def is_answer(message: Message, number: int) -> bool:
    """Whether it answers the request of that number; an error without an id is about the only request there is."""
    if "method" in message:
        return False
    known = message.get("id")
    return known in (number, str(number)) or (known is None and "error" in message)


def result(message: Message) -> Message:
    """The result in an answer.

    Raises:
        McpError: it is an error, or neither.
    """
    error = message.get("error")
    if error is not None:
        raise _failed(error if isinstance(error, dict) else {"message": str(error)})
    found = message.get("result")
    if not isinstance(found, dict):
        raise McpError(unusable("the answer has no result"))
    return found


def _failed(error: Message) -> McpError:
    found = error.get("code")
    code = found if isinstance(found, int) else 0
    told = f"JSON-RPC error {code}"
    transient = code == _INTERNAL or (code in _OF_SERVERS and code != UNSUPPORTED_VERSION)
    failure = Failure("transient" if transient else "permanent", f"{told}: {short(str(error.get('message', '')))}", public=told)
    return McpError(failure, code=code, data=error.get("data"))


def unusable(message: str, public: str | None = None) -> Failure:
    """An answer that says nothing; the call may have had its effect all the same. `public` where the message has words of the server's."""
    return Failure("permanent", message, reach="lost", public=public or message)


def short(text: str) -> str:
    """The text on one line and not long."""
    return one_line(text, MAX_TEXT)
