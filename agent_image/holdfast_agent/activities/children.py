"""Calls of other agents: each begins a run there, once, and is followed until that run ends or the call's time is over.

What is known of a call beside its outcome is its intent: since when it is under way, until when it may take, whether the other agent has
taken it, and since when it is called off. The first look waits for a while; later ones only look, in pauses that grow with the time that
has passed, on durable timers. So a long run elsewhere costs this agent a look now and then, and nobody's death loses it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from holdfast_agent import documents
from holdfast_agent.activities.delivery import Delivery, Order, deliver, held_back, weighed
from holdfast_agent.activities.intents import Intent
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.activities.waiting import wait_for
from holdfast_agent.documents import Head, Trouble
from holdfast_agent.failures import backoff
from holdfast_agent.outcome import Failure
from holdfast_agent.store import StoreError
from holdfast_agent.tools import Toolbox
from holdfast_agent.tools.agent import Errand, sent
from holdfast_agent.tools.spec import Pending, ToolResult

_LOG = logging.getLogger(__name__)
_FIRST_LOOK: Final = 25.0
"""Seconds that a call is waited for where it was begun; most are over by then. Later looks do not wait."""
_PAUSE_SHARE: Final = 0.1
"""What is waited between two looks, of the time that has passed: an answer is learned of that much later at most."""
_PAUSES: Final = (1.0, 3600.0)
"""Each look is kept in the history of the run: an hour at most, so a call that takes a week costs hundreds of them, not thousands."""
_HEED_SECONDS: Final = 1.0
"""How often a look asks whether its own run is to end."""
_SETTLE_SECONDS: Final = 60.0
"""How long a run that ends waits for those that it called off; what they undo beyond that, they undo alone."""
_RECALL_LOOK: Final = 5.0
_ARRIVAL_SECONDS: Final = 20.0
"""How long a request that was lost on the way may still arrive: somewhat longer than it is waited for."""
_GIVEN_UP: Final = "whoever asked for this waits no longer"


async def carried(steps: Steps, toolbox: Toolbox, order: Order) -> Delivery | Output:
    """Make a call of any tool; see `deliver`."""
    return await (_pursued(steps, toolbox, order) if order.tool.agent else deliver(steps, toolbox, order))


async def _pursued(steps: Steps, toolbox: Toolbox, order: Order) -> Delivery | Output:
    intent = await steps.intents.find(order.key)
    before = intent is not None and not intent.refused
    if intent is None:
        kept = await held_back(steps, order)
        if kept is not None:
            return kept
        intent, _ = await steps.intents.claim(order.key, min(order.tool.timeout_seconds, max(order.left, 0.0)))
    # A call that is made again finds the run that it began, so nothing is ever done twice.
    order = replace(order, tool=order.tool.model_copy(update={"delivery": "atLeastOnce"}))
    now = time.time()
    if now >= intent.deadline:
        return await _overdue(steps, toolbox, order, intent)
    with _stopping(steps, order.call) as stop:
        errand = Errand(order.callers, intent.deadline - now, min(_FIRST_LOOK, intent.deadline - now), stop, intent.taken)
        with sent(errand):
            result = await toolbox.call(order.tool.name, order.arguments, key=order.outgoing)
    if isinstance(result, ToolResult):
        return Delivery(result.content, "completed")
    busy = isinstance(result, Failure) and result.kind == "transient" and result.reach == "unsent"
    if busy != intent.refused:
        await steps.intents.mark(order.key, refused=busy)
    if isinstance(result, Failure) and busy:
        return await _wait(steps, order, intent, result)
    if isinstance(result, Pending) and not intent.taken:
        await steps.intents.mark(order.key, taken=True)
    if isinstance(result, Pending) or (intent.taken and result.kind == "transient"):
        return await _wait(steps, order, intent, result)
    answer = await weighed(steps, order, result, before=before and result.reach == "unsent")
    lost = isinstance(answer, Delivery) and answer.outcome == "unknown" and not intent.taken
    # It may have been begun all the same. What undoes a call is left to go on.
    known = await _told(toolbox, order, _GIVEN_UP) if lost and "ending" not in order.call else None
    return Delivery(known.content, "completed") if isinstance(known, ToolResult) else answer


async def _told(toolbox: Toolbox, order: Order, reason: str) -> ToolResult | Failure | Pending | None:
    """Tell the other agent to stop; see `AgentTool.call_off`."""
    tool = toolbox.agent(order.tool.name)
    if tool is None:
        return None
    with sent(Errand(order.callers, _RECALL_LOOK, _RECALL_LOOK)):
        return await tool.call_off(order.arguments, key=order.outgoing, reason=reason)


async def _wait(steps: Steps, order: Order, intent: Intent, known: Pending | Failure) -> Output:
    """Ask again later: the other agent has taken the call, or has no place for it now, which costs no attempt."""
    now = time.time()
    least, most = _PAUSES
    pause = max(least, min(most, (now - intent.started) * _PAUSE_SHARE))
    trouble = known.trouble if isinstance(known, Pending) else known.message
    if isinstance(known, Failure) and known.reach == "unsent":
        pause = max(pause, backoff(order.key, order.call["attempt"], known.retry_after, order.retries))
    elif trouble:
        _LOG.info("an agent that has taken a call does not answer", extra={"run": order.call["run"], "step": order.key})
    message = f"waits for another agent{f'; {trouble}' if trouble else ''}"
    wait = Trouble(order.key, order.call["attempt"], message, until=min(now + pause, intent.deadline), kind="agent")
    return (await wait_for(steps, order.key, order.call, wait))[1]


async def _overdue(steps: Steps, toolbox: Toolbox, order: Order, intent: Intent) -> Delivery | Output:
    """The call has taken all its time. What it began ends by its own time limit; it is told so, and may have ended just so."""
    took = intent.deadline - intent.started
    if intent.refused:
        failure = Failure("permanent", f"not called: the agent had no place for one more run for {took:.0f} s", reach="unsent")
        return await weighed(steps, order, failure)
    known = await _told(toolbox, order, _GIVEN_UP)
    if isinstance(known, ToolResult):
        return Delivery(known.content, "completed")
    heard = isinstance(known, Pending) or (isinstance(known, Failure) and known.kind != "transient")
    told = "it was told to stop" if heard else "it could not be told to stop"
    return await weighed(steps, order, Failure("permanent", f"no answer of the agent within {took:.0f} s; {told}", reach="lost"))


async def called_off(steps: Steps, toolbox: Toolbox, order: Order, head: Head) -> Delivery | Output | None:
    """The run ends: whoever was called is to end too, and to undo what it did.

    Returns:
        What the call came to; or the wait for that; or None: there is nothing of it to be waited for.
    """
    intent = await steps.intents.find(order.key)
    if intent is None:
        return None
    since = intent.off if intent.off is not None else time.time()
    if intent.off is None:
        await steps.intents.mark(order.key, off=since)
    reason = f"the run {head.id} of the agent that asked for this {'was canceled' if head.cancel else 'has ended'}"
    known, now = await _told(toolbox, order, reason), time.time()
    if isinstance(known, ToolResult):
        return Delivery(known.content, "completed")
    if isinstance(known, Failure) and known.kind != "transient":
        return Delivery.error(known.message)
    if known is None and (intent.taken or intent.refused or now >= since + _ARRIVAL_SECONDS):
        return None
    if known and now >= since + _SETTLE_SECONDS:
        extra = {"run": head.id, "step": order.key}
        _LOG.warning("not waited for any longer: an agent that was called off", extra=extra | {"reached": isinstance(known, Pending)})
        return Delivery.error(f"the run has ended; what the agent has done of this is not known: {known.message}", "unknown")
    # Who knows of no run may still be about to begin it.
    until = now + _PAUSES[0] if known else since + _ARRIVAL_SECONDS
    wait = Trouble(order.key, order.call["attempt"], "another agent was told to stop", until=until, kind="unknown")
    return (await wait_for(steps, order.key, order.call, wait))[1]


@contextlib.contextmanager
def _stopping(steps: Steps, call: Input) -> Iterator[asyncio.Event]:
    """An event that is set when the run is to end or to be held, or when this process is to: then nobody waits for others here."""
    stop = asyncio.Event()
    watching = asyncio.ensure_future(_watch(steps, call, stop))
    try:
        yield stop
    finally:
        watching.cancel()


async def _watch(steps: Steps, call: Input, stop: asyncio.Event) -> None:
    at = documents.head_key(call["run"])
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEED_SECONDS):
                await steps.draining.wait()
                stop.set()
        with contextlib.suppress(StoreError):
            entry = await steps.store.get(at)
            if entry is None or ((head := Head.load(entry.value)).control and "ending" not in call) or head.terminal:
                stop.set()
