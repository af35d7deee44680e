"""The one place that knows Dapr's workflow SDK.

Pinned to dapr 1.19.0, because four things here lean on how it is built:

* its worker runs on an event loop in a thread of its own. Activities run on the program's loop, where every connection lives, and are
  safe from the canceling that the worker does when it stops (`workitems`);
* after losing the sidecar it waits 2, 4, 8, 15 s between attempts to connect, on an Event. Ours ends that wait as soon as the sidecar
  serves again, so an agent works again a quarter of a second after its sidecar, not up to 15 s;
* its client has no word for the trace that a call is made in;
* no call of its client has a deadline, and its channel may wait for minutes before it looks for the sidecar again. Here both are short.
"""

import asyncio
import logging
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from dapr.conf import settings
from dapr.ext.workflow import DaprWorkflowContext, WorkflowRuntime, when_all
from dapr.ext.workflow._durabletask.task import Task, TaskFailedError
from dapr.ext.workflow.aio import DaprWorkflowClient
from dapr.ext.workflow.logger import LoggerOptions

from holdfast_agent import scope
from holdfast_agent.sidecar import CHANNEL_OPTIONS, NO_PROXY, Sidecar
from holdfast_agent.workitems import Activity, WorkItems

__all__ = ["Context", "Engine", "EngineError", "Instance", "Task", "TaskFailed", "when_all"]

_LOG = logging.getLogger(__name__)
_CALL_SECONDS: Final = 5.0
_TORN_READS: Final = 8
_TORN_PAUSE: Final = 0.25
_PROBE_SECONDS: Final = 0.25
_CALM_SECONDS: Final = 30.0
_LIST_SECONDS: Final = 30.0
_LIST_IDS: Final = 1000
_THREADS: Final = 4
_ACTIVITIES: Final = 2000
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TERMINAL: Final = frozenset({"COMPLETED", "FAILED", "TERMINATED"})

Context = DaprWorkflowContext
TaskFailed = TaskFailedError
Workflow = Callable[..., Any]


class EngineError(Exception):
    """The workflow engine did not do what was asked, in time."""


@dataclass(frozen=True)
class Instance:
    """A workflow instance as Dapr knows it. `updated` is the time of its newest event."""

    status: str
    updated: datetime
    failure: str | None

    @property
    def terminal(self) -> bool:
        """Whether it has ended."""
        return self.status in _TERMINAL


def workflow_client() -> DaprWorkflowClient:
    """A client of Dapr's workflows that looks for its sidecar again soon, and past any proxy. Close it with `close_client`."""
    client = DaprWorkflowClient(logger_options=_quiet())
    inner = client._DaprWorkflowClient__obj  # noqa: SLF001 - see the module's text
    inner._channel_options = CHANNEL_OPTIONS  # noqa: SLF001 - see the module's text
    inner._interceptors = [*(inner._interceptors or ()), _Traced()]  # noqa: SLF001 - see the module's text
    return client


async def close_client(client: DaprWorkflowClient) -> None:
    """Close its connection."""
    await client._DaprWorkflowClient__obj.aclose()  # noqa: SLF001 - the client has no way to close


def _quiet() -> LoggerOptions:
    return LoggerOptions(log_level=logging.WARNING, log_handler=_Forward(), log_formatter=logging.Formatter("%(message)s"))


class _Traced(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc] # grpc has no types
    """Says with each call in which trace it is made: the sidecar's spans of a workflow join the trace in which it was started."""

    async def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:  # noqa: ANN401 - as gRPC has it
        return await continuation(details._replace(metadata=[*(details.metadata or ()), *scope.headers().items()]), request)


class Engine:
    """A worker for one workflow with its activities, and a client for it."""

    def __init__(
        self,
        sidecar: Sidecar,
        *,
        name: str,
        workflow: Workflow,
        activities: dict[str, Activity],
        passed: Callable[[int], None] | None = None,
    ) -> None:
        """Must be called on the event loop that the activities shall run on.

        Args:
            sidecar: the connection, for health.
            name: of the workflow.
            workflow: the generator function.
            activities: name -> coroutine function from JSON-ready data to JSON-ready data.
            passed: told the characters of each of their inputs and results.
        """
        self._sidecar, self._name = sidecar, name
        quiet = _quiet()
        self._runtime = WorkflowRuntime(logger_options=quiet, maximum_thread_pool_workers=_THREADS)
        self._runtime.register_workflow(_fresh(workflow), name=name)
        self._worker = self._runtime._WorkflowRuntime__worker  # noqa: SLF001 - see the module's text
        self._worker._channel_options.append(NO_PROXY)  # noqa: SLF001 - see the module's text
        self._worker._shutdown = _PatientEvent()  # noqa: SLF001 - see the module's text
        self._items = WorkItems(self._worker, activities, most=_ACTIVITIES, passed=passed or (lambda _: None))
        self._client = workflow_client()
        self._begun = self._started = False

    @property
    def streaming(self) -> bool:
        """Whether the worker's stream of work is open."""
        return self._started and bool(self._worker.is_worker_ready())

    @property
    def alive(self) -> bool:
        """Whether the worker's thread lives. It outlives a lost sidecar, but some errors end it for good, and without a word."""
        thread = self._worker._runLoop  # noqa: SLF001 - see the module's text
        return self._started and thread is not None and thread.is_alive()

    async def start(self) -> None:
        """Connect the worker. The sidecar should be healthy."""
        self._begun = True
        await asyncio.to_thread(self._runtime.start)
        self._started = True

    async def stop(self) -> None:
        """Disconnect the worker. What is still in an activity is broken off and will be done again elsewhere: drain before."""
        if self._begun:
            await asyncio.to_thread(self._runtime.shutdown)

    async def ready(self) -> bool:
        """Whether the sidecar sends work here."""
        # Looked at again: the stream may have ended while the sidecar was asked.
        return self.streaming and await self._sidecar.connected_workers() > 0 and self.streaming

    async def schedule(self, instance: str, payload: dict[str, Any]) -> bool:
        """Start an instance.

        Returns:
            False if one of that id is under way already.

        Raises:
            EngineError: Dapr did not take it; it may or may not come to life.
        """
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await self._client.schedule_new_workflow(self._name, input=payload, instance_id=instance)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.ALREADY_EXISTS or "already exists" in (error.details() or ""):
                return False
            raise EngineError(f"Dapr did not schedule {instance!r}: {error.details()}") from error
        except TimeoutError as error:
            raise EngineError(f"Dapr did not schedule {instance!r} within {_CALL_SECONDS:.0f} s") from error
        return True

    async def instance(self, instance: str) -> Instance | None:
        """What Dapr knows of an instance, or None. Right after an end Dapr may read a torn state, so it is asked for two seconds.

        Raises:
            EngineError: Dapr does not tell.
        """
        told = "no answer in time"
        for _ in range(_TORN_READS):
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    state = await self._client.get_workflow_state(instance, fetch_payloads=False)
            except TimeoutError:
                break
            except grpc.RpcError as error:
                told = error.details() or str(error.code())
                await asyncio.sleep(_TORN_PAUSE)
                continue
            if state is None:
                return None
            details = state.failure_details
            return Instance(state.runtime_status.name, state.last_updated_at.replace(tzinfo=UTC), details.message if details else None)
        raise EngineError(f"Dapr does not tell the state of {instance!r}: {told}")

    async def wake(self, instance: str, event: str) -> None:
        """Raise an event. Its payload says nothing but is truthy, because the SDK turns a falsy one into none.

        Raises:
            EngineError: Dapr did not take it.
        """
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await self._client.raise_workflow_event(instance, event, data={"wake": True})
        except (grpc.RpcError, TimeoutError) as error:
            raise EngineError(f"Dapr did not take an event for {instance!r}") from error

    async def terminate(self, instance: str) -> None:
        """End an instance where it stands.

        Raises:
            EngineError: Dapr did not take it.
        """
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await self._client.terminate_workflow(instance)
        except (grpc.RpcError, TimeoutError) as error:
            raise EngineError(f"Dapr did not terminate {instance!r}") from error

    async def purge(self, instance: str) -> bool:
        """Forget an ended instance and its children. One that Dapr does not know is forgotten already.

        Returns:
            False if it has not ended.

        Raises:
            EngineError: Dapr did not do it.
        """
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await self._client.purge_workflow(instance, recursive=True)
        except (grpc.RpcError, TimeoutError) as error:
            known = await self.instance(instance)
            if known is None or not known.terminal:
                return known is None
            told = error.details() if isinstance(error, grpc.RpcError) else "no answer in time"
            raise EngineError(f"Dapr did not purge {instance!r}: {told}") from error
        return True

    async def instances(self, after: str | None) -> tuple[list[str], str | None]:
        """Ids of some of this app's instances. Each page is a scan of the whole store.

        Args:
            after: what the page before gave; None begins.

        Returns:
            Ids, and where to go on (None: that was all).

        Raises:
            EngineError: Dapr does not tell, or its store cannot.
        """
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                page = await self._client.list_workflow_instance_ids(page_size=_LIST_IDS, continuation_token=after)
        except (grpc.RpcError, TimeoutError, NotImplementedError) as error:
            raise EngineError(f"Dapr does not list its workflows: {error or 'no answer in time'}") from error
        return list(page.instance_ids), page.continuation_token or None

    async def close(self) -> None:
        """Close the client's connection."""
        await close_client(self._client)


def _fresh(workflow: Workflow) -> Workflow:
    """A function object of its own: the SDK marks what it registers and refuses to register it again in the same process."""

    def entry(ctx: DaprWorkflowContext, payload: Any) -> Any:  # noqa: ANN401 - the SDK's shapes
        return workflow(ctx, payload)

    return entry


class _Forward(logging.Handler):
    """Hands the SDK's records to our root logger, so that they come out in one format and once."""

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing to do: the records reach the root logger by propagation."""


class _PatientEvent(threading.Event):
    """The worker's stop flag, whose longer waits end early once the sidecar serves.

    The worker waits on it between attempts to connect (2 s and more) and returns from a wait that came back False to try again. A sidecar
    that says it serves and still refuses the worker is tried ever more slowly, as the worker itself would have it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._least, self._early = _PROBE_SECONDS, -_CALM_SECONDS

    def wait(self, timeout: float | None = None) -> bool:
        """As Event.wait, but back early with False when the sidecar is healthy. The janitor's minute is left alone."""
        if timeout is None or not 1.0 < timeout <= 20.0:  # noqa: PLR2004 - the span of the worker's pauses
            return super().wait(timeout)
        calm = time.monotonic() - self._early > _CALM_SECONDS
        self._least = _PROBE_SECONDS if calm else min(2 * self._least, timeout)
        waited = 0.0
        while waited < timeout:
            if super().wait(_PROBE_SECONDS):
                return True
            waited += _PROBE_SECONDS
            if waited >= self._least and _serves():
                self._early = time.monotonic()
                return False
        return self.is_set()


def _serves() -> bool:
    base = settings.DAPR_HTTP_ENDPOINT or f"http://{settings.DAPR_RUNTIME_HOST}:{settings.DAPR_HTTP_PORT}"
    try:
        with _DIRECT.open(f"{base.rstrip('/')}/v1.0/healthz/outbound", timeout=1.0):
            return True
    except (OSError, ValueError):
        return False
