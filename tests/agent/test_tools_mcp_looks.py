"""Looks at a server that is a Dapr `MCPServer`: whatever becomes of one, no instance of it piles up in Dapr."""

import asyncio
from types import SimpleNamespace

from dapr.ext.workflow import WorkflowStatus

from holdfast_agent.tools.mcp.builtin import DaprServer


class Workflows:
    """What is used of Dapr's client. Instances end when `over` is set, with the tools that there are when they begin."""

    def __init__(self):
        self.instances, self.begun, self.tools = {}, [], "[]"
        self.waited, self.over = asyncio.Event(), asyncio.Event()

    async def get_workflow_state(self, instance, *, fetch_payloads):
        return self.instances.get(instance)

    async def schedule_new_workflow(self, workflow, *, input, instance_id):  # noqa: A002 - the SDK's name
        self.begun.append(instance_id)
        text = f'{{"tools": {self.tools}}}'
        self.instances[instance_id] = SimpleNamespace(runtime_status=WorkflowStatus.RUNNING, serialized_output=text)

    async def wait_for_workflow_completion(self, instance, *, timeout_in_seconds):
        self.waited.set()
        await self.over.wait()
        self.instances[instance].runtime_status = WorkflowStatus.COMPLETED
        return self.instances[instance]

    async def purge_workflow(self, instance, *, recursive):
        self.instances.pop(instance, None)


async def _cut_off(server, workflows):
    workflows.waited.clear()
    look = asyncio.create_task(anext(server.pages()))
    await workflows.waited.wait()
    look.cancel()
    await asyncio.wait([look])


async def _look(server):
    return [page async for page in server.pages()]


async def test_a_look_that_was_cut_off_is_joined_by_the_next_one_or_made_anew():
    server, workflows = DaprServer("maps"), Workflows()
    server._made = workflows
    await _cut_off(server, workflows)
    await _cut_off(server, workflows)
    assert len(workflows.instances) == len(workflows.begun) == 1
    workflows.over.set()
    assert await _look(server) == [[]]
    assert (workflows.instances, len(workflows.begun)) == ({}, 1)

    workflows.over.clear()
    await _cut_off(server, workflows)
    [left] = workflows.instances.values()
    left.runtime_status = WorkflowStatus.COMPLETED
    workflows.tools = '[{"name": "route"}]'
    workflows.over.set()
    assert await _look(server) == [[{"name": "route"}]], "not what there was when nobody waited any more"
    assert workflows.instances == {}
    assert len(set(workflows.begun)) == 1


async def test_two_who_look_at_one_server_do_not_take_each_others_instance():
    workflows = Workflows()
    workflows.over.set()
    servers = [DaprServer("maps"), DaprServer("maps")]
    for server in servers:
        server._made = workflows
    assert await asyncio.gather(*map(_look, servers)) == [[[]], [[]]]
    assert len(set(workflows.begun)) == 2
