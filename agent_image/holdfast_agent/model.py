"""One call of a model through Dapr's Conversation API, with a deadline that the sidecar sees too."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import grpc
from dapr.proto import api_v1
from google.protobuf.struct_pb2 import Struct

from holdfast_agent import budgets, scope
from holdfast_agent.documents import ToolCall, ToolOutcome, Usage
from holdfast_agent.outcome import Failure
from holdfast_agent.providers import model_failure
from holdfast_agent.sidecar import Sidecar
from holdfast_agent.telemetry import messages as messages_of
from holdfast_agent.tools.spec import ToolSpec
from holdfast_api.config import ModelConfig

MAX_CALLS: Final = 64
_CUT: Final = frozenset({"length", "max_tokens"})
_WITHHELD: Final = frozenset({"content_filter", "safety", "refusal"})
_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")
_NAME_CHARACTERS: Final = 64

Message = Any
"""A ConversationMessage; generated code has no types."""


@dataclass(frozen=True)
class Answer:
    """What a model said: text, or calls of tools, or both.

    Attributes:
        usage: tokens, and one turn with its calls.
        dropped: calls beyond `MAX_CALLS`, which are not carried out.
        estimated: the provider did not count tokens; `usage` has an estimate.
    """

    content: str
    calls: tuple[ToolCall, ...]
    finish_reason: str
    usage: Usage
    dropped: int = 0
    estimated: bool = False

    @property
    def cut_off(self) -> bool:
        """Whether it ended before the model was done."""
        return self.finish_reason.lower() in _CUT


def system_message(text: str) -> Message:
    """The agent's prompt."""
    return api_v1.ConversationMessage(of_system=api_v1.ConversationMessageOfSystem(content=_text(text)))


def user_message(text: str) -> Message:
    """What was asked."""
    return api_v1.ConversationMessage(of_user=api_v1.ConversationMessageOfUser(content=_text(text)))


def assistant_message(text: str, calls: Iterable[ToolCall] = ()) -> Message:
    """What the model said earlier. Providers refuse a conversation with names or arguments that are none, so these are made presentable."""
    asked = [
        api_v1.ConversationToolCalls(
            id=call.id, function=api_v1.ConversationToolCallsOfFunction(name=_presentable(call.name), arguments=_object(call.arguments))
        )
        for call in calls
    ]
    content = _text(text) if text else []
    return api_v1.ConversationMessage(of_assistant=api_v1.ConversationMessageOfAssistant(content=content, tool_calls=asked))


def spoken(message: Message) -> tuple[str, str]:
    """Who said a message, and what, as text."""
    role = message.WhichOneof("message_types")
    body = getattr(message, role)
    text = "".join(part.text for part in body.content)
    if role == "of_tool":
        return f"result of {body.name}", text
    if role != "of_assistant":
        return role.removeprefix("of_"), text
    calls = [f"calls {call.function.name}({call.function.arguments})" for call in body.tool_calls]
    return "assistant", "\n".join([*([text] if text else []), *calls])


def tool_message(outcome: ToolOutcome) -> Message:
    """What a tool call came to."""
    return api_v1.ConversationMessage(
        of_tool=api_v1.ConversationMessageOfTool(tool_id=outcome.call_id, name=_presentable(outcome.tool), content=_text(outcome.content))
    )


def tool_declarations(specs: Iterable[ToolSpec]) -> list[Any]:
    """The tools as the Conversation API wants them; made once per revision."""
    return [
        api_v1.ConversationTools(
            function=api_v1.ConversationToolsFunction(name=spec.name, description=spec.description, parameters=_struct(spec.input_schema))
        )
        for spec in specs
    ]


def size(parts: Iterable[Any]) -> int:
    """Bytes of messages or declarations of tools."""
    return sum(int(part.ByteSize()) for part in parts)


async def converse(
    sidecar: Sidecar, config: ModelConfig, *, messages: Sequence[Message], tools: Sequence[Any] = (), turn: int = 0, choice: str = "auto"
) -> Answer | Failure:
    """Ask a model once, and let whoever watches the step know of it.

    Args:
        sidecar: the connection.
        config: which Component, how warm, and how long at most.
        messages: the whole conversation so far.
        tools: `tool_declarations`; empty for none.
        turn: number of the turn, for ids of calls where the provider gives none.
        choice: `auto` or `none`: whether the tools may be called.
    """
    with scope.operation(scope.CHAT, config.label, **{"gen_ai.request.temperature": config.temperature}) as done:
        answer = await _converse(sidecar, config, messages=messages, tools=tools, turn=turn, choice=choice)
        done.came_to(answer)
        if isinstance(answer, Answer):
            done.facts |= {
                "gen_ai.response.finish_reasons": (answer.finish_reason,),
                "gen_ai.usage.input_tokens": answer.usage.input_tokens,
                "gen_ai.usage.output_tokens": answer.usage.output_tokens,
            }
            done.content["gen_ai.output.messages"] = lambda: messages_of(
                "assistant", answer.content, ((call.id, call.name, call.arguments) for call in answer.calls)
            )
    return answer


async def _converse(
    sidecar: Sidecar, config: ModelConfig, *, messages: Sequence[Message], tools: Sequence[Any], turn: int, choice: str
) -> Answer | Failure:
    request = api_v1.ConversationRequestAlpha2(
        name=config.component, inputs=[api_v1.ConversationInputAlpha2(messages=messages)], tools=tools
    )
    if tools:
        request.tool_choice = choice
    if config.temperature is not None:
        request.temperature = config.temperature
    try:
        reply = await sidecar.stub.ConverseAlpha2(request, timeout=config.timeout_seconds, metadata=sidecar.metadata)
    except grpc.RpcError as error:
        return model_failure(error.code(), error.details() or "", config)
    taken = {call.id for message in messages for call in message.of_assistant.tool_calls}
    return read_answer(reply, turn, taken, asked=request.ByteSize)


def read_answer(reply: Any, turn: int, taken: Iterable[str] = (), *, asked: Callable[[], int] = int) -> Answer | Failure:  # noqa: ANN401 - generated code has no types
    """The first choice of a reply.

    Args:
        reply: of the Conversation API.
        turn: number of the turn.
        taken: ids of calls of earlier turns. Ids are made unique in the run, because answers of tools are matched by them.
        asked: gives the bytes of the request, for an estimate if the provider does not count tokens.
    """
    choices = [choice for output in reply.outputs for choice in output.choices]
    if not choices:
        return Failure("transient", "the model answered without a choice", cause="charged", public="the model answered without a choice")
    message, reason = choices[0].message, choices[0].finish_reason
    if not message.tool_calls and reason.lower() in _WITHHELD:
        return Failure("permanent", f"the model's answer is not whole: it ended with finish reason {reason!r}")
    if not message.tool_calls and not message.content.strip():
        return Failure("transient", "the model gave an empty answer", cause="charged", public="the model gave an empty answer")
    calls: list[ToolCall] = []
    seen = set(taken)
    for number, call in enumerate(message.tool_calls[:MAX_CALLS]):
        name = call.id if call.id and call.id not in seen else f"call_{turn}_{number}"
        seen.add(name)
        calls.append(ToolCall(name, call.function.name, call.function.arguments))
    counted = reply.outputs[0].usage
    usage = Usage(turns=1, tool_calls=len(calls), input_tokens=counted.prompt_tokens, output_tokens=counted.completion_tokens)
    if estimated := not usage.tokens:
        usage = replace(usage, input_tokens=budgets.tokens(asked()), output_tokens=budgets.tokens(message.ByteSize()))
    return Answer(message.content, tuple(calls), reason, usage, max(0, len(message.tool_calls) - MAX_CALLS), estimated)


def _presentable(name: str) -> str:
    return _NAME.sub("_", name)[:_NAME_CHARACTERS] or "unnamed"


def _object(arguments: str) -> str:
    """The arguments as the model wrote them, or in an object that shows what it wrote."""
    try:
        if isinstance(json.loads(arguments), dict):
            return arguments
    except (ValueError, RecursionError):
        pass
    return json.dumps({"invalid": arguments}) if arguments.strip() else "{}"


def _text(text: str) -> list[Any]:
    # Half a surrogate pair, which JSON can hold, is no text that could be sent.
    text = text if text.isascii() else text.encode(errors="replace").decode()
    return [api_v1.ConversationMessageContent(text=text)]


def _struct(value: dict[str, Any]) -> Struct:
    struct = Struct()
    struct.update(value)
    return struct
