"""dapr-agents 1.0.9's DurableAgent with one tool. Run by a Python of its own, which has that library (bench/agent/dapr-agents.txt).

    python bench/agent/dapr_agents_worker.py default|lean|tuned

`default` is what its quickstarts wire up: memory with a summary at the end, registry, pub/sub. `lean` is the least that it can do; leaving
memory away is not offered, so the attribute is cleared. `tuned` is `lean` with 64 threads for activities.
"""

import asyncio
import logging
import signal
import sys

from dapr.ext.workflow import WorkflowRuntime
from dapr_agents import AgentRunner, DurableAgent, tool
from dapr_agents.agents.configs import (
    AgentExecutionConfig,
    AgentMemoryConfig,
    AgentPubSubConfig,
    AgentRegistryConfig,
    AgentStateConfig,
)
from dapr_agents.llm import DaprChatClient
from dapr_agents.memory import ConversationDaprStateMemory
from dapr_agents.storage.daprstores.stateservice import StateStoreService

THREADS = 64


@tool
def get_weather(city: str) -> str:
    """Current weather in a city."""
    return f"{city}: sunny, 21C"


async def main(kind: str) -> None:
    """Work until SIGTERM."""
    logging.getLogger().setLevel(logging.WARNING)
    more = {}
    if kind == "default":
        more = {
            "memory": AgentMemoryConfig(store=ConversationDaprStateMemory(store_name="agent-memory")),
            "registry": AgentRegistryConfig(store=StateStoreService(store_name="agent-registry")),
            "pubsub": AgentPubSubConfig(pubsub_name="agent-pubsub", agent_topic="bench.topic", broadcast_topic="agents.broadcast"),
        }
    if kind == "tuned":
        more = {"runtime": WorkflowRuntime(maximum_thread_pool_workers=THREADS)}
    agent = DurableAgent(
        name="Bench",
        role="Weather assistant",
        instructions=["Help users with weather information"],
        tools=[get_weather],
        llm=DaprChatClient(component_name="llm"),
        state=AgentStateConfig(store=StateStoreService(store_name="agent-workflow")),
        execution=AgentExecutionConfig(max_iterations=500),
        **more,
    )
    if kind != "default":
        agent.memory = None
    agent.text_formatter.print_message = lambda *_, **__: None  # it would colour and print every message
    runner = AgentRunner()
    if kind == "default":
        runner.subscribe(agent)
    else:
        runner.workflow(agent)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
