"""The short way of work items: from the sidecar's stream to the program's loop, and results back, past the SDK's queues.

The SDK passes each item from the thread that reads through a queue, a thread that polls it, its event loop, a second queue and a task
before an activity begins, and as many steps back. With as little work in each step as a durable agent has, that is a quarter of all CPU
time of a run. So the stream is tapped where it is read: activities begin on the program's loop, workflows in the SDK's pool for them, and
results are sent by its pool for those. Connecting, replaying, sending and everything else stays the SDK's.

Leans on private parts of dapr 1.19.0, like `engine`:

* the reader's thread takes the stream from `worker._response_stream`, after `worker._make_stream_teardown(stream)` was asked for the
  function that a broken workflow resets the stream with;
* `_execute_orchestrator(request, token, teardown)` replays and answers, and raises nothing; `_deliver_activity_response` sends, waits for a
  new connection if it must, and raises nothing.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

_LOG = logging.getLogger(__name__)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

Activity = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class WorkItems:
    """What the sidecar gives one worker to do. Made on the event loop that activities run on."""

    def __init__(self, worker: Any, activities: Mapping[str, Activity], *, most: int, passed: Callable[[int], None]) -> None:  # noqa: ANN401 - the SDK's
        """Tap the streams that the worker will open.

        Args:
            worker: the SDK's, not started yet.
            activities: name -> coroutine function from JSON-ready data to JSON-ready data. The SDK says of others that they are unknown.
            most: how many of them run at once; more wait.
            passed: told the characters of each input and result.
        """
        self._worker, self._activities, self._passed = worker, activities, passed
        self._loop, self._places = asyncio.get_running_loop(), asyncio.Semaphore(most)
        self._running: set[asyncio.Task[None]] = set()
        self._teardown = worker._make_stream_teardown  # noqa: SLF001 - see the module's text
        worker._make_stream_teardown = self._tapped  # noqa: SLF001 - see the module's text

    def _tapped(self, stream: Any) -> Callable[[], None]:  # noqa: ANN401 - gRPC's
        teardown: Callable[[], None] = self._teardown(stream)
        self._worker._response_stream = self._left(stream, teardown)  # noqa: SLF001 - see the module's text
        return teardown

    def _left(self, stream: Iterator[Any], teardown: Callable[[], None]) -> Iterator[Any]:
        """The items that are left for the SDK. Runs in its reader's thread; what the stream raises is the SDK's to deal with."""
        for item in stream:
            if self._worker._shutdown.is_set():  # noqa: SLF001 - see the module's text
                return
            try:
                taken = self._take(item, teardown)
            except RuntimeError:  # a pool or the loop is closed: the process ends, and Dapr will ask again
                return
            if not taken:
                yield item

    def _take(self, item: Any, teardown: Callable[[], None]) -> bool:  # noqa: ANN401 - generated messages have no types
        if item.HasField("workflowRequest"):
            pool = self._worker._async_worker_manager.orchestration_thread_pool  # noqa: SLF001 - see the module's text
            pool.submit(self._worker._execute_orchestrator, item.workflowRequest, item.completionToken, teardown)  # noqa: SLF001
            return True
        if item.HasField("activityRequest") and item.activityRequest.name in self._activities:
            self._loop.call_soon_threadsafe(self.begin, item.activityRequest, item.completionToken)
            return True
        return False

    def begin(self, request: Any, token: str) -> None:  # noqa: ANN401 - generated messages have no types
        """Begin an activity on the program's loop."""
        task = asyncio.ensure_future(self._carried_out(request, token))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _carried_out(self, request: Any, token: str) -> None:  # noqa: ANN401 - generated messages have no types
        run, worker = request.workflowInstance.instanceId, self._worker
        async with self._places:
            try:
                answer = _ENCODER.encode(await self._activities[request.name](json.loads(request.input.value)))
                self._passed(len(request.input.value) + len(answer))
                response = worker._build_activity_result_response(request, run, answer, token)  # noqa: SLF001 - see the module's text
            except Exception as error:  # noqa: BLE001 - the workflow is told, whatever it is
                _LOG.exception("activity broke", extra={"run": run})
                response = self._failed(request, error, token)
        pool, send = worker._async_worker_manager.thread_pool, worker._deliver_activity_response  # noqa: SLF001 - see the module's text
        try:
            pool.submit(send, request, response, token, run)
        except RuntimeError:
            _LOG.info("a result comes after the end of the worker; Dapr will ask for it again", extra={"run": run})

    def _failed(self, request: Any, error: Exception, token: str) -> Any:  # noqa: ANN401 - generated messages have no types
        build = self._worker._build_activity_failure_response  # noqa: SLF001 - see the module's text
        run = request.workflowInstance.instanceId
        try:
            return build(request, run, error, token)
        except UnicodeEncodeError as unsayable:  # its own words are ASCII, which those of the error are not
            return build(request, run, unsayable, token)
