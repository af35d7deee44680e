"""How a call reaches its tool: not too often, not twice if that was promised, and again after a failure if it may be."""

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import Any, Final, Literal

from holdfast_agent.activities.intents import Intent
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.activities.waiting import held, wait_for
from holdfast_agent.documents import Trouble, outgoing_key
from holdfast_agent.failures import stands
from holdfast_agent.logs import moment
from holdfast_agent.outcome import Failure
from holdfast_agent.tools import Toolbox, ToolResult
from holdfast_agent.tools.spec import Pending
from holdfast_api.config import RetriesConfig, ToolConfig
from holdfast_api.names import MCP_SEPARATOR

_LOG = logging.getLogger(__name__)
_SLACK: Final = 1.0
"""Seconds in which a tool ends a call by itself, which it can explain better. Far less than the grace that others give an intent."""
_PATIENCE: Final = 3.0
"""Seconds that a call waits for its place in the rate without giving it back to the run, which costs more than so short a wait."""


@dataclass(frozen=True)
class Order:
    """A call to be made.

    Attributes:
        key: of its effect.
        call: the activity's input.
        tool: what is called.
        arguments: what it gets.
        retries: how passing failures are met.
        left: seconds in which the result is of use.
        callers: app ids of the agents that led to the run.
        epoch: of the run, see `Head`.
    """

    key: str
    call: Input
    tool: ToolConfig
    arguments: dict[str, Any]
    retries: RetriesConfig
    left: float = math.inf
    callers: tuple[str, ...] = ()
    epoch: int | None = None

    @property
    def outgoing(self) -> str:
        """What the tool gets as idempotency key."""
        return outgoing_key(self.key, self.epoch)


@dataclass(frozen=True)
class Delivery:
    """What became of a call, for good.

    Attributes:
        content: what the model reads.
    """

    content: str
    outcome: Literal["completed", "failed", "unknown", "rejected"]

    @classmethod
    def error(cls, message: str, outcome: Literal["failed", "unknown", "rejected"] = "failed") -> "Delivery":
        """One that the model reads as an error."""
        return cls(f"Error: {message}", outcome)


async def deliver(steps: Steps, toolbox: Toolbox, order: Order) -> Delivery | Output:
    """Make the call.

    Returns:
        What became of it, or the activity's answer if that is not settled yet.

    Raises:
        StoreError: nothing was sent, or that it was not could not be stored.
    """
    kept = await held_back(steps, order)
    if kept is not None:
        return kept
    if not guarded(order.tool):
        result = await toolbox.call(order.tool.name, order.arguments, key=order.outgoing)
        return Delivery(result.content, "completed") if isinstance(result, ToolResult) else await weighed(steps, order, settled(result))
    longest, once = toolbox.longest(order.tool.name), order.tool.delivery == "atMostOnce"
    intent, first = await steps.intents.claim(order.key, longest, again=not once)
    if not first and once:
        return await under_way(steps, order.call, order.key, order.tool, intent) or lost(order.tool)
    result = await _bounded(toolbox, order, longest)
    if isinstance(result, ToolResult):
        return Delivery(result.content, "completed")
    if first and result.reach == "unsent":
        await steps.intents.release(order.key)
    answer = await weighed(steps, order, result, before=not first)
    if not isinstance(answer, Delivery):
        await steps.intents.rest(order.key)
    return answer


async def _bounded(toolbox: Toolbox, order: Order, longest: float) -> ToolResult | Failure:
    """The call, over when its intent says so, whatever it waited for inside the agent."""
    try:
        async with asyncio.timeout(longest + _SLACK):
            result = await toolbox.call(order.tool.name, order.arguments, key=order.outgoing)
            return result if isinstance(result, ToolResult) else settled(result)
    except TimeoutError:
        return Failure("transient", f"no result within {longest:g} s", reach="lost")


def settled(result: Failure | Pending) -> Failure:
    """The same; a tool that nobody asks again has failed for now if it is not done."""
    return result if isinstance(result, Failure) else Failure("transient", result.message, reach="lost")


def guarded(tool: ToolConfig) -> bool:
    """Whether it has to be known of a call that it was begun: because it must not be made twice, or because it may have to be undone.

    Of other agents that is known always, see `children`.
    """
    return not tool.agent and (tool.delivery == "atMostOnce" or tool.compensate is not None)


def lost(tool: ToolConfig) -> Delivery:
    """The outcome of a call that was begun and of which nobody knows more."""
    return Delivery.error(
        f"the outcome is unknown: the call of {tool.name!r} was begun and its answer was lost. "
        "It may or may not have taken effect, and it was not made again",
        "unknown",
    )


async def held_back(steps: Steps, order: Order) -> Delivery | Output | None:
    """Wait for a place in the tool's rate: here if it is near, as the run if it is not. None: it may be called now."""
    wait = _place(steps, order)
    if wait > _PATIENCE:
        message = f"rateLimit.perMinute of the tool {order.tool.name!r} is {order.tool.rate_limit_per_minute}, and as many calls were made"
        if wait >= order.left:
            failure = Failure("permanent", f"not called: {message}; the run has no time left to wait for {wait:.0f} s", reach="unsent")
            return await weighed(steps, order, failure, before=await begun(steps, order))
        trouble = Trouble(order.key, order.call["attempt"], message, until=time.time() + wait, failed=order.call["failed"])
        return await _waits(steps, order.call, order.tool, trouble, "waits for its rate limit")
    waits = wait > 0
    while wait > 0:
        await asyncio.sleep(wait)
        wait = _place(steps, order)
    # Meanwhile people may have suspended the run, or ended it.
    return await held(steps, order.key, order.call) if waits and "ending" not in order.call else None


async def under_way(steps: Steps, call: Input, key: str, tool: ToolConfig, intent: Intent) -> Output | None:
    """The wait for a call that was begun before, as long as another process may be at it; what it comes to is unknown after that."""
    if steps.intents.here(intent) or time.time() >= intent.over:
        return None
    message = f"another process began the call of {tool.name!r} and may still be at it"
    trouble = Trouble(key, call["attempt"], message, until=intent.over, kind="unknown")
    return await _waits(steps, call, tool, trouble, "waits for an outcome")


async def begun(steps: Steps, order: Order) -> bool:
    """Whether the call was begun before and nobody knows what it came to.

    Raises:
        StoreError: the store does not answer.
    """
    return guarded(order.tool) and await steps.intents.find(order.key) is not None


async def _waits(steps: Steps, call: Input, tool: ToolConfig, trouble: Trouble, why: str) -> Output:
    _LOG.info(why, extra={"run": call["run"], "step": trouble.key, "tool": tool.name, "until": moment(trouble.until)})
    return (await wait_for(steps, trouble.key, call, trouble))[1]


def _place(steps: Steps, order: Order) -> float:
    limit = order.tool.rate_limit_per_minute
    # The tools of an MCP server share the rate of the item that they belong to.
    name = order.tool.name.partition(MCP_SEPARATOR)[0] if order.tool.mcp else order.tool.name
    return steps.rates.wait(name, order.key, limit) if limit else 0.0


async def weighed(steps: Steps, order: Order, failure: Failure, *, before: bool = False) -> Delivery | Output:
    """A failure is the outcome, or there is another attempt.

    Args:
        steps: what activities share.
        order: the call.
        failure: of this attempt.
        before: an attempt before this one was begun, and may have taken effect. No later answer can tell: a tool that did what it was asked
            may well refuse to do it again.
    """
    failed = order.call["failed"]
    once = order.tool.delivery == "atMostOnce" and failure.kind == "transient" and failure.reach != "unsent"
    if not once and not stands(order.key, failure, attempt=failed + 1, failed=failed, left=order.left, retries=order.retries):
        return await steps.failed(order.key, order.call, failure, tried=failed + 1, retries=order.retries)
    why = ". It was not made again, because delivery is atMostOnce and it may have taken effect" if once else ""
    why += ". An attempt before may have taken effect" if before else ""
    return Delivery.error(f"{failure.message}{why}", "unknown" if before or failure.reach == "lost" else "failed")
