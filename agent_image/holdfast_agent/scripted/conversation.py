"""From a chat-completions request to a place in the script, and from there to a response. Pure, and so deterministic."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast_agent.scripted.script import Asked, Script, ToolCall, Turn
from holdfast_api.names import digest

MAX_TASK_EXCERPT = 120
_CHARACTERS_PER_TOKEN = 4
_SYSTEM_ROLES = frozenset({"system", "developer"})


class Unanswerable(Exception):  # noqa: N818 - it reads as a verdict
    """The request is no chat-completions request, or the script has no answer to it."""


@dataclass(frozen=True)
class Request(Asked):
    """A request, read.

    Attributes:
        turn: assistant messages after it.
        run: hash of the messages up to the task: equal for all requests of a run, and for runs with equal prompt and task.
        key: hash of all messages: equal only for the same request again.
        size: characters of all messages.
    """

    turn: int
    run: str
    key: str
    size: int


def read(body: Any) -> Request:  # noqa: ANN401 - whatever the client sent
    """Read a request's body.

    Raises:
        Unanswerable: it is not a chat-completions request that this server can answer.
    """
    messages = body.get("messages") if isinstance(body, Mapping) else None
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise Unanswerable("the body must be a JSON object with a list `messages`")
    if body.get("stream"):
        raise Unanswerable("the scripted model does not stream: send stream: false")
    roles = [message.get("role") for message in messages]
    if "user" not in roles:
        raise Unanswerable("there is no message with role user, so there is no task")
    last = len(roles) - 1 - roles[::-1].index("user")
    return Request(
        model=str(body.get("model") or "scripted"),
        task=_text(messages[last].get("content")),
        system="\n".join(_text(message.get("content")) for message in messages if message.get("role") in _SYSTEM_ROLES),
        messages="\n".join(_text(message.get("content")) for message in messages),
        tools=bool(body.get("tools")),
        turn=roles[last:].count("assistant"),
        run=digest(messages[: last + 1]),
        key=digest(messages),
        size=sum(len(_text(message.get("content"))) for message in messages),
    )


def choose(script: Script, request: Request) -> Turn:
    """The turn that answers the request.

    Raises:
        Unanswerable: no rule matches the task, or the rule has fewer turns.
    """
    rule = script.rule(request)
    if rule is None:
        raise Unanswerable(
            f"no rule of the script matches the task {excerpt(request.task)!r}: add one, or one without conditions for all others"
        )
    turn = rule.turn(request.turn)
    if turn is None:
        raise Unanswerable(f"the rule for {rule.task or 'every task'!r} has no turn {request.turn + 1}: its last turn should be an answer")
    return turn


def completion(request: Request, turn: Turn, *, created: int) -> dict[str, Any]:
    """The response's body. Ids follow from the request, so that the same request gets the same response."""
    answer = turn.answer if turn.answer is None or isinstance(turn.answer, str) else json.dumps(turn.answer, ensure_ascii=False)
    message: dict[str, Any] = {"role": "assistant", "content": answer}
    if turn.tool_calls:
        message["tool_calls"] = [
            {
                "id": f"call_{request.key}_{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call)},
            }
            for number, call in enumerate(turn.tool_calls)
        ]
    prompt, completed = _tokens(request.size), _tokens(len(json.dumps(message)))
    reason = turn.finish_reason or ("tool_calls" if turn.tool_calls else "stop")
    if turn.usage:
        prompt, completed = turn.usage.input, turn.usage.output
    return {
        "id": f"chatcmpl-{request.key}",
        "object": "chat.completion",
        "created": created,
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completed, "total_tokens": prompt + completed},
    }


def excerpt(text: str) -> str:
    """The beginning of a text, on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_TASK_EXCERPT else flat[: MAX_TASK_EXCERPT - 1] + "…"


def _arguments(call: ToolCall) -> str:
    return call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)


def _text(content: Any) -> str:  # noqa: ANN401 - whatever the client sent
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return ""


def _tokens(characters: int) -> int:
    return characters // _CHARACTERS_PER_TOKEN + 1
