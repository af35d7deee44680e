"""What a result of `tools/call` is to a model: text. What is no text is described. Pure."""

import json
from typing import Any, Final

from holdfast_agent.outcome import Failure
from holdfast_agent.tools.mcp import wire
from holdfast_agent.tools.mcp.wire import Message, short
from holdfast_agent.tools.spec import MAX_RESULT_BYTES, ToolResult
from holdfast_api.names import canonical

_BASE64: Final = 3 / 4


def meaning(result: Message) -> ToolResult | Failure:
    """Judge a result; `isError` is the tool's own no."""
    if result.get("resultType", "complete") != "complete":
        return wire.unusable(f"the tool wants {short(str(result['resultType']))}, which this agent cannot give", "the tool wants something")
    blocks = result.get("content", [])
    if not isinstance(blocks, list):
        return wire.unusable("the result has no list of content")
    told = [_told(block) for block in blocks]
    structured = result.get("structuredContent")
    if structured is not None and not any(_repeats(text, structured) for text in told):
        told.append(canonical(structured))
    text = "\n".join(part for part in told if part)
    if len(text.encode(errors="replace")) > MAX_RESULT_BYTES:
        return wire.unusable(f"the result is longer than {MAX_RESULT_BYTES // 1024} KiB; ask for less")
    if result.get("isError"):
        return Failure("permanent", text or "the tool says that it failed, and not why", public="the tool says that it failed")
    return ToolResult(text or "(no content)")


def _told(block: Any) -> str:  # noqa: ANN401 - any JSON value
    if not isinstance(block, dict):
        return ""
    kind, text, held = block.get("type"), block.get("text"), block.get("resource")
    if kind == "text":
        return text if isinstance(text, str) else ""
    if kind in {"image", "audio"}:
        return _binary(str(kind), block.get("mimeType"), block.get("data"))
    if kind == "resource_link":
        about = [short(str(block[name])) for name in ("title", "name", "description", "mimeType") if block.get(name)]
        return f"({', '.join(['a link', *about])}: {short(str(block.get('uri', '')))})"
    if kind == "resource" and isinstance(held, dict):
        return _held(held)
    return f"(content of the kind {short(str(kind))}, which is not shown)"


def _held(resource: Message) -> str:
    where = short(str(resource.get("uri", "")))
    if isinstance(resource.get("text"), str):
        return f"{where}:\n{resource['text']}"
    return _binary(f"resource {where}", resource.get("mimeType"), resource.get("blob"))


def _binary(kind: str, media: object, data: object) -> str:
    size = int(len(data) * _BASE64) if isinstance(data, str) else 0
    return f"({kind}, {short(str(media or 'of no stated type'))}, about {size} bytes; it is not shown)"


def _repeats(text: str, structured: object) -> bool:
    """Whether a text says what the structured content says, as servers should for clients that only read text."""
    if not text:
        return False
    wrapped = structured.get("result") if isinstance(structured, dict) and len(structured) == 1 else None
    if text == wrapped:
        return True
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return bool(said == structured or (wrapped is not None and said == wrapped))
