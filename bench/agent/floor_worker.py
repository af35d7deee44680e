"""The floor: the smallest tool loop that Dapr's workflow SDK allows. No product: no documents, limits, retries, sessions or API.

    python bench/agent/floor_worker.py sync|async

Model and tool are one activity each; the messages travel through the workflow's history. With `sync` the activities run in the SDK's thread
pool, as in most examples; with `async` they run on its event loop.
"""

import asyncio
import json
import signal
import sys
from typing import Any

import dapr.ext.workflow as wf
from dapr.aio.clients import DaprClient as AsyncClient
from dapr.clients import DaprClient
from dapr.clients.grpc import conversation as cv

WEATHER = cv.ConversationTools(
    function=cv.ConversationToolsFunction(
        name="get_weather",
        description="Current weather in a city.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    )
)
Message = dict[str, Any]


def to_dapr(message: Message) -> cv.ConversationMessage:
    """As the Conversation API wants it."""
    role, text = message["role"], message["content"]
    if role == "user":
        return cv.create_user_message(text)
    if role == "system":
        return cv.create_system_message(text)
    if role == "tool":
        return cv.create_tool_message(message["id"], message["name"], text)
    calls = [
        cv.ConversationToolCalls(id=call["id"], function=cv.ConversationToolCallsOfFunction(name=call["name"], arguments=call["arguments"]))
        for call in message["calls"]
    ]
    content = [cv.ConversationMessageContent(text=text)]
    return cv.ConversationMessage(of_assistant=cv.ConversationMessageOfAssistant(content=content, tool_calls=calls))


def question(messages: list[Message]) -> dict[str, Any]:
    """The arguments of a call."""
    inputs = [cv.ConversationInputAlpha2(messages=[to_dapr(message) for message in messages])]
    return {"name": "llm", "inputs": inputs, "tools": [WEATHER], "tool_choice": "auto", "temperature": 1}


def answer(response: Any) -> Message:  # noqa: ANN401 - the SDK's
    """What the model said."""
    said = response.outputs[0].choices[0].message
    calls = [{"id": call.id, "name": call.function.name, "arguments": call.function.arguments} for call in said.tool_calls or ()]
    return {"role": "assistant", "content": said.content or "", "calls": calls}


def result(call: dict[str, str]) -> Message:
    """The tool."""
    city = json.loads(call["arguments"])["city"]
    return {"role": "tool", "id": call["id"], "name": call["name"], "content": f"{city}: sunny, 21C"}


def loop(ctx: wf.DaprWorkflowContext, payload: dict[str, str]) -> Any:  # noqa: ANN401 - a generator of the SDK's tasks
    """Model, tools, model, until there is an answer."""
    messages: list[Message] = [
        {"role": "system", "content": "You are a weather assistant."},
        {"role": "user", "content": payload["task"]},
    ]
    while True:
        said = yield ctx.call_activity("model", input=messages)
        messages.append(said)
        if not said["calls"]:
            return said["content"]
        messages += yield wf.when_all([ctx.call_activity("tool", input=call) for call in said["calls"]])


async def main(kind: str) -> None:
    """Work until SIGTERM."""
    runtime = wf.WorkflowRuntime()
    if kind == "sync":
        client = DaprClient()

        def model(_: Any, messages: list[Message]) -> Message:  # noqa: ANN401
            return answer(client.converse_alpha2(**question(messages)))

        def tool(_: Any, call: dict[str, str]) -> Message:  # noqa: ANN401
            return result(call)

        runtime.register_activity(model, name="model")
        runtime.register_activity(tool, name="tool")
    else:
        clients: list[AsyncClient] = []

        async def async_model(_: Any, messages: list[Message]) -> Message:  # noqa: ANN401
            if not clients:
                clients.append(AsyncClient())
            return answer(await clients[0].converse_alpha2(**question(messages)))

        async def async_tool(_: Any, call: dict[str, str]) -> Message:  # noqa: ANN401
            return result(call)

        runtime.register_activity(async_model, name="model")
        runtime.register_activity(async_tool, name="tool")
    runtime.register_workflow(loop, name="floor")
    runtime.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    runtime.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
