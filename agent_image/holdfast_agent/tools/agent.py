"""A tool that is another agent: it begins a run there and waits for what that comes to.

The run's id follows from the call's key, so whoever makes the call again, after whatever died, finds the same run. A call looks for a
while only; what is not done by then is `Pending`, and the run that called waits on a durable timer and looks again. So an agent that takes
hours holds no connection and no place in the sidecar for hours. Once the other agent has taken the call, looks only read: one that has
erased the run by then must not begin it again.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from holdfast_agent import lineage, scope
from holdfast_agent.outcome import Failure
from holdfast_agent.tools.arguments import problem, validator
from holdfast_agent.tools.invocation import Answer, Invoker
from holdfast_agent.tools.reply import SUCCESS
from holdfast_agent.tools.spec import Pending, ToolResult, ToolSpec
from holdfast_api.config import ToolConfig

MAX_TASK_CHARACTERS: Final = 64 * 1024
TASK: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TASK_CHARACTERS,
    "description": "What it is to do, in words. It knows nothing of this conversation: say everything that it needs.",
}
_ANSWER_SECONDS: Final = 15.0
"""Within which an agent answers what it does not have to wait for."""
_LONGEST_LOOK: Final = 55.0
_ENDED: Final = 409
_NOT_FOUND: Final = 404


@dataclass(frozen=True)
class Errand:
    """On whose behalf a call is made.

    Attributes:
        callers: app ids that led to the run that calls.
        seconds: in which the answer is of use.
        look: seconds that this look may wait for the end.
        stop: set when the look is to end early.
        taken: whether the other agent has taken the call, so that nothing is to be begun any more.
    """

    callers: tuple[str, ...] = ()
    seconds: float = 60.0
    look: float = 0.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    taken: bool = False


_ERRAND: ContextVar[Errand] = ContextVar("errand")


@contextlib.contextmanager
def sent(errand: Errand) -> Iterator[None]:
    """While a call is made on this errand."""
    token = _ERRAND.set(errand)
    try:
        yield
    finally:
        _ERRAND.reset(token)


class Address(Protocol):
    """From the arguments of a call to the app id that is meant."""

    def __call__(self, arguments: Mapping[str, Any], *, begun: bool) -> str | Failure:
        """Also of one that no call may begin at any more, if this one was `begun` there."""
        ...


class AgentTool:
    """One tool that reaches other agents."""

    def __init__(self, spec: ToolSpec, tool: ToolConfig, address: Address, invoker: Invoker, *, agent: str, max_depth: int | None) -> None:
        """Keep the parts.

        Args:
            spec: what the model sees; its arguments hold `task`.
            tool: the tool.
            address: who is called.
            invoker: the way there.
            agent: app id of the agent that calls.
            max_depth: its `limits.maxDepth`.
        """
        self.spec, self.longest, self._address, self._invoker = spec, tool.timeout_seconds, address, invoker
        self._agent, self._max_depth, self._check = agent, max_depth, validator(spec.input_schema)

    async def check(self, arguments: Mapping[str, Any]) -> Failure | None:
        """Check the arguments; see `Tool.check`."""
        target = self._target(arguments)
        return target if isinstance(target, Failure) else None

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> ToolResult | Failure | Pending:
        """Begin the run, or find it, and wait for its end as long as the errand says."""
        errand = _ERRAND.get(None) or Errand()
        target = self._target(arguments, begun=errand.taken)
        if isinstance(target, Failure):
            return target
        if errand.taken:
            return await self._look(target, lineage.child_run(self._agent, key))
        row = (*errand.callers, self._agent)
        if wrong := lineage.refusal(target, row, self._max_depth):
            return Failure("permanent", f"not called: {wrong}", reach="unsent")
        body = {"task": arguments["task"], "id": lineage.child_run(self._agent, key)}
        headers = lineage.headers(row, errand.seconds) | scope.headers()
        begun = await self._invoker.post(target, "/run", body, headers=headers, within=_ANSWER_SECONDS)
        if isinstance(begun, Failure) or begun.status not in SUCCESS:
            return _refused(target, begun)
        look = min(errand.look, _LONGEST_LOOK)
        if look <= 0:
            return _came_to(target, begun)
        path = _waiting(look)
        asking = asyncio.ensure_future(self._invoker.post(target, path, body, headers=headers, within=look + _ANSWER_SECONDS))
        return _came_to(target, await _unless_stopped(asking, errand.stop))

    async def call_off(self, arguments: Mapping[str, Any], *, key: str, reason: str) -> ToolResult | Failure | Pending | None:
        """Let the run that a call began be canceled, and look how it stands.

        Returns:
            What it came to, also if it ended before; `Pending`: it will be canceled, and what it did is being undone; None: there is no
            such run; a transient failure: nobody knows.
        """
        target = self._target(arguments, begun=True)
        if isinstance(target, Failure):
            return None
        run, errand = lineage.child_run(self._agent, key), _ERRAND.get(None) or Errand()
        path = f"/runs/{run}/cancel"
        asked = await self._invoker.post(target, path, {"reason": reason}, headers=scope.headers(), within=_ANSWER_SECONDS)
        if isinstance(asked, Failure):
            return asked if asked.kind == "transient" else None
        if asked.status == _NOT_FOUND:
            return None
        if asked.status not in SUCCESS and asked.status != _ENDED:
            return None
        if asked.status == _ENDED:
            return await self._look(target, run)
        # It is there and not over: the same request as the one that began it finds it, and waits for its end.
        body = {"task": arguments["task"], "id": run}
        headers = lineage.headers((*errand.callers, self._agent), errand.seconds)
        path = _waiting(errand.look)
        found = await self._invoker.post(target, path, body, headers=headers, within=errand.look + _ANSWER_SECONDS)
        return _came_to(target, found)

    async def _look(self, target: str, run: str) -> ToolResult | Failure | Pending:
        """How a run stands that was begun."""
        found = await self._invoker.get(target, f"/runs/{run}", headers=scope.headers(), within=_ANSWER_SECONDS)
        if isinstance(found, Answer) and found.status == _NOT_FOUND:
            public = f"the agent {target!r} has erased its run {run} before anybody looked at what it came to"
            return Failure("permanent", f"{public}: its spec.retention is shorter than nobody looked", reach="lost", public=public)
        return _came_to(target, found)

    def _target(self, arguments: Mapping[str, Any], *, begun: bool = False) -> str | Failure:
        if wrong := problem(self._check, arguments):
            return Failure("permanent", f"invalid arguments: {wrong}", reach="unsent")
        return self._address(arguments, begun=begun)


def _waiting(seconds: float) -> str:
    return f"/run?wait={max(1, round(min(seconds, _LONGEST_LOOK) * 1000))}ms"


async def _unless_stopped(asking: "asyncio.Future[Answer | Failure]", stop: asyncio.Event) -> Answer | Failure | None:
    """The answer, or None when the look is to end before it is there."""
    stopping = asyncio.ensure_future(stop.wait())
    both: list[asyncio.Future[Any]] = [asking, stopping]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return asking.result() if asking.done() else None
    finally:
        stopping.cancel()
        asking.cancel()


def _refused(agent: str, answer: Answer | Failure) -> Failure:
    """Why a run was not begun."""
    if isinstance(answer, Failure):
        return answer
    public = f"the agent {agent!r} refused the call with HTTP {answer.status}"
    return Failure("permanent", f"{public}: {answer.words}", public=public)


def _came_to(agent: str, answer: Answer | Failure | None) -> ToolResult | Failure | Pending:
    """What a run that was begun stands at, from the answer to `POST /run` or `GET /runs/{id}`."""
    if isinstance(answer, Failure) and answer.kind != "transient":
        return answer
    if answer is None or isinstance(answer, Failure):
        # It was begun: an agent that does not answer for a while goes on with it later.
        return Pending(f"the agent {agent!r} is at it", answer.message if answer else "")
    if answer.status not in SUCCESS:
        return _refused(agent, answer)
    status, run = answer.document.get("status"), answer.document.get("instance_id") or answer.document.get("id")
    if status == "COMPLETED":
        return ToolResult(str(answer.document.get("result") or ""))
    if status in ("FAILED", "CANCELED"):
        error = answer.document.get("error") or {}
        said = f"{error.get('type', status)}: {error.get('message', '')}" if isinstance(error, dict) else str(error)
        public = f"the agent {agent!r} did not complete its run {run}, which ended as {status}"
        return Failure("permanent", f"{public}: {said}", public=public)
    return Pending(f"the agent {agent!r} is at it")
