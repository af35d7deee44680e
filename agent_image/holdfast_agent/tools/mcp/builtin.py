"""A server that is a Dapr `MCPServer`: daprd talks to it, in workflows of its own.

A call is a workflow instance beside the run, not a child of it: arguments and result stay out of the run's history, and the instance is
purged once the result is stored. Its id comes from the call's key, so a call that is repeated after a crash finds the instance of the first
one, joins it or reads its result, and the server sees it once. Dapr passes no idempotency key on, so this is all there is of one.

Measured on Dapr 1.18.2: a server's tools are registered when daprd loads the `MCPServer` and are what they were then until it is loaded
again; whatever goes wrong on the way to the server is a result with `isError` whose text begins with `call-tool:`; a name that is not
registered fails the workflow.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Final

import grpc
from dapr.ext.workflow import WorkflowState, WorkflowStatus
from dapr.ext.workflow.aio import DaprWorkflowClient

from holdfast_agent.engine import close_client, workflow_client
from holdfast_agent.outcome import Failure
from holdfast_agent.tools.mcp import wire
from holdfast_agent.tools.mcp.client import Flight
from holdfast_agent.tools.mcp.wire import McpError, Message, short

_LOG = logging.getLogger(__name__)
PREFIX: Final = "mcp:"
"""Of instances; no run's id has a colon."""
_PAUSE: Final = 0.25
_WAIT_SECONDS: Final = 30
_BYE_SECONDS: Final = 2.0
_OF_DAPR: Final = "call-tool: "
_NOT_REGISTERED: Final = "is not registered"
_NO_NAME: Final = "unknown MCP workflow name"
_REFUSED: Final = "connection refused"
_BROKEN: Final = frozenset({WorkflowStatus.FAILED, WorkflowStatus.TERMINATED})
_ENDED: Final = _BROKEN | {WorkflowStatus.COMPLETED}


class DaprServer:
    """See `Remote`."""

    def __init__(self, server: str) -> None:
        """Nothing is asked yet.

        Args:
            server: name of the MCPServer.
        """
        self._server = server
        self._list = f"{PREFIX}{server}:list:{uuid.uuid4()}"
        self._made: DaprWorkflowClient | None = None
        self._purging: set[asyncio.Task[None]] = set()

    @property
    def facts(self) -> dict[str, Any]:
        """What spans say of the server."""
        return {"server.address": self._server}

    async def pages(self) -> AsyncIterator[list[Any]]:
        """The server's tools as Dapr knows them.

        Raises:
            McpError: it does not.
        """
        # One id for all looks: the next one joins an instance of one that was cut off, or purges it, and none of them piles up.
        state = await self._carried_out("ListTools", {"mcpServerName": self._server}, self._list, Flight(), spent=_ENDED)
        await self._purge(self._list)
        if state.runtime_status != WorkflowStatus.COMPLETED:
            raise McpError(self._failed(state))
        tools = _json(state).get("tools")
        yield tools if isinstance(tools, list) else []

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, flight: Flight) -> Message:
        """Call a tool; see `Remote`."""
        instance = _instance(key)
        state = await self._carried_out(f"CallTool.{name}", {"arguments": dict(arguments)}, instance, flight)
        failure = self._failed(state) if state.runtime_status != WorkflowStatus.COMPLETED else None
        result: Message = {} if failure else _json(state)
        failure = failure or _on_the_way(result)
        if failure:
            # Another attempt is another call.
            await self._purge(instance)
            raise McpError(failure)
        return result

    def stored(self, key: str) -> None:
        """What the call came to is stored: nobody will ask Dapr for it."""
        self._purging.add(task := asyncio.get_running_loop().create_task(self._purge(_instance(key))))
        task.add_done_callback(self._purging.discard)

    async def close(self) -> None:
        """End the connection, once what is to be purged has been."""
        if self._purging:
            await asyncio.wait(self._purging, timeout=_BYE_SECONDS)
        if self._made:
            await close_client(self._made)

    @property
    def _client(self) -> DaprWorkflowClient:
        self._made = self._made or workflow_client()
        return self._made

    async def _carried_out(
        self, what: str, given: Message, instance: str, flight: Flight, *, spent: Collection[WorkflowStatus] = _BROKEN
    ) -> WorkflowState:
        """The ended instance: one that there is already, or a new one where that has a status of `spent`."""
        try:
            state = await self._state(instance)
            if state is not None and state.runtime_status in spent:
                await self._purge(instance)
                state = None
            flight.leaves()
            if state is None:
                await self._begin(f"dapr.internal.mcp.{self._server}.{what}", given, instance)
        except grpc.RpcError as error:
            raise McpError(_no_answer(error)) from error
        return await self._end(instance)

    async def _begin(self, workflow: str, given: Message, instance: str) -> None:
        try:
            await self._client.schedule_new_workflow(workflow, input=given, instance_id=instance)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS and "already exists" not in (error.details() or ""):
                raise

    async def _state(self, instance: str) -> WorkflowState | None:
        """What Dapr knows of it. Right after an end it may read a torn state and refuse, so it is asked again."""
        while True:
            try:
                return await self._client.get_workflow_state(instance, fetch_payloads=False)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNKNOWN:
                    raise
            await asyncio.sleep(_PAUSE)

    async def _end(self, instance: str) -> WorkflowState:
        while True:
            try:
                state = await self._client.wait_for_workflow_completion(instance, timeout_in_seconds=_WAIT_SECONDS)
            except (grpc.RpcError, TimeoutError):
                # A sidecar that restarts carries on; how long this may take is the caller's to say.
                await asyncio.sleep(_PAUSE)
                continue
            if state is None:
                raise McpError(wire.unusable("the workflow of the call has gone from Dapr"))
            return state

    def _failed(self, state: WorkflowState) -> Failure:
        told = state.failure_details.message if state.failure_details else f"it ended as {state.runtime_status.name}"
        if _NOT_REGISTERED in told:
            where = "it is missing, not scoped to this agent, or was down when the sidecar loaded it"
            message = f"Dapr does not know this of the MCPServer {self._server!r}: {where}"
            return Failure("transient", message, reach="unsent", public=message)
        if _NO_NAME in told:
            return Failure("permanent", "Dapr cannot call a tool of such a name", reach="unsent")
        return Failure(
            "transient", f"Dapr's workflow of the call failed: {short(told)}", reach="lost", public="Dapr's workflow of the call failed"
        )

    async def _purge(self, instance: str) -> None:
        """Forget an instance. One that stays is purged by Dapr's own retention."""
        try:
            await self._client.purge_workflow(instance, recursive=True)
        except (grpc.RpcError, TimeoutError) as error:
            _LOG.info("an instance of an MCP call was not purged: %s", type(error).__name__)


def _instance(key: str) -> str:
    return PREFIX + key.replace("/", ":")


def _json(state: WorkflowState) -> Message:
    text = state.serialized_output or "{}"
    if len(text) > wire.MAX_MESSAGE_BYTES:
        raise McpError(wire.unusable(f"the answer is longer than {wire.MAX_MESSAGE_BYTES // 1024} KiB"))
    return wire.read(text)[0]


def _on_the_way(result: Message) -> Failure | None:
    """What kept daprd from getting a result, as it tells that in one; None: it is the tool's."""
    blocks = result.get("content")
    first = blocks[0] if isinstance(blocks, list) and blocks and isinstance(blocks[0], dict) else {}
    text = first.get("text")
    if not result.get("isError") or not isinstance(text, str) or not text.startswith(_OF_DAPR):
        return None
    told = "Dapr did not reach the MCP server"
    return Failure(
        "transient", f"{told}: {short(text.removeprefix(_OF_DAPR))}", reach="unsent" if _REFUSED in text else "lost", public=told
    )


def _no_answer(error: grpc.RpcError) -> Failure:
    told = "Dapr did not take the call"
    return Failure("transient", f"{told}: {short(error.details() or '')}", reach="lost", public=told)
