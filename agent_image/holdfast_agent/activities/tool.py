"""The activity `tool`: one call of a tool. A failure that is for the model to deal with is a result."""

import logging
import time
from dataclasses import dataclass
from typing import Any

from holdfast_agent import documents, lineage, loop, scope
from holdfast_agent.activities import approval
from holdfast_agent.activities.arguments import read
from holdfast_agent.activities.children import called_off, carried
from holdfast_agent.activities.delivery import Delivery, Order, begun, guarded, lost, under_way, weighed
from holdfast_agent.activities.intents import Intent
from holdfast_agent.activities.outcomes import came_to, keep
from holdfast_agent.activities.steps import Input, Output, Steps, UnstoredError
from holdfast_agent.activities.waiting import held
from holdfast_agent.documents import Approval, Document, Head, ToolCall, ToolOutcome
from holdfast_agent.failures import envelope
from holdfast_agent.heads import change
from holdfast_agent.outcome import Failure
from holdfast_agent.revisions import Revision
from holdfast_api.config import ToolConfig

_LOG = logging.getLogger(__name__)


def key(call: Input) -> str:
    """Key of the effect."""
    return documents.call_key(call["run"], call["turn"], call["call"])


async def carry_out(steps: Steps, key: str, call: Input) -> Output:
    """Carry out one call.

    Returns:
        `{key, tool, isError, digest, result}`, and `undo: true` if it has to be undone when the run does not end well. `result` is a short
        digest of what the model reads. Else `waiting`, `control` or `error`, see `loop`.
    """
    run, began = call["run"], time.time()
    found = await steps.store.get_many([documents.effect_document(key), documents.head_key(run)])
    if documents.head_key(run) not in found:
        raise LookupError(f"the head of run {run!r} is missing from the state store")
    head = Head.load(found[documents.head_key(run)].value)
    done = found.get(documents.effect_document(key))
    if head.terminal and not done:
        return envelope(key, Failure("fatal", f"the run has ended already, {head.status}"), call["attempt"])
    asked = (await steps.transcripts.turn(run, call["turn"], accepted=head.created)).calls[call["call"]]
    scope.note(**{"gen_ai.tool.call.id": asked.id})
    async with steps.revisions.use(call["revision"]) as revision:
        job = _Job(steps, revision, key, call, asked, revision.config.tool(asked.name))
        if done:
            return await job.settled(head, done.value)
        answer = job.ended(head, began) or (await job.held() if head.control else None) or await job.delivery(head)
        if isinstance(answer, Delivery):
            return await job.stored(head, answer, began)
        return await job.not_begun(head, began, answer) if _ends(answer) else answer | await job.may_have_happened()


@dataclass
class _Job:
    """One call on its way. `decision` is what a person said about it."""

    steps: Steps
    revision: Revision
    key: str
    call: Input
    asked: ToolCall
    tool: ToolConfig | None
    decision: Approval | None = None

    async def delivery(self, head: Head) -> Delivery | Output:
        """What became of the call, or the activity's answer if that is not settled."""
        arguments = read(self.asked.arguments)
        if isinstance(arguments, Failure):
            return Delivery.error(arguments.message)
        toolbox = self.revision.toolbox
        wrong = None if self.tool and not (self.tool.approval or guarded(self.tool)) else await toolbox.check(self.asked.name, arguments)
        if self.tool is None:
            return Delivery.error(wrong.message if wrong else f"the tool {self.asked.name!r} is not in this revision")
        order = self.order(head, self.tool, arguments)
        if wrong:
            return await weighed(self.steps, order, wrong, before=await begun(self.steps, order))
        if self.tool.approval:
            held = await self._approved(head, self.tool, arguments)
            if held is not None:
                return held
        return await carried(self.steps, toolbox, order)

    def order(self, head: Head, tool: ToolConfig, arguments: dict[str, Any]) -> Order:
        """The call as it is to be made."""
        left = self.call["deadline"] - time.time()
        return Order(self.key, self.call, tool, arguments, tool.retries, left, head.callers, head.epoch)

    async def _approved(self, head: Head, tool: ToolConfig, arguments: dict[str, Any]) -> Delivery | Output | None:
        assert tool.approval
        decision = await approval.decided(
            self.steps, self.key, self.call, tool=tool.name, arguments=arguments, config=tool.approval, head=head
        )
        if not isinstance(decision, Approval):
            return decision
        self.decision = decision
        follows = approval.verdict(decision, tool=tool.name, arguments=arguments)
        return envelope(self.key, follows, self.call["attempt"]) if isinstance(follows, Failure) else follows

    async def held(self) -> Output | None:
        """What keeps the call from being made while the run is suspended. One that was begun and is not made again comes to its outcome."""
        intent = await self.intent()
        if self.tool and intent:
            if self.tool.delivery == "atMostOnce":
                return None
            if waits := await under_way(self.steps, self.call, self.key, self.tool, intent):
                return waits
        return await held(self.steps, self.key, self.call)

    async def intent(self) -> Intent | None:
        """The call if it was begun before, as far as that is written down."""
        return await self.steps.intents.find(self.key) if self.tool and guarded(self.tool) else None

    async def may_have_happened(self) -> Output:
        """What the workflow is told beside an answer that is no outcome: that there may be something to undo or to call off."""
        if self.tool and self.tool.agent:
            return {"elsewhere": True} if await self.steps.intents.find(self.key) else {}
        return {"undo": True} if self.tool and self.tool.compensate and await self.intent() else {}

    def ended(self, head: Head, now: float) -> Output | None:
        """The answer if the run ends, so that nothing is to be begun any more."""
        if head.cancel:
            return {"key": self.key, "control": documents.CANCEL}
        if now >= self.call["deadline"]:
            return loop.timed_out(self.key)
        return {"key": self.key, "dropped": True} if self.call.get("ends") else None

    async def not_begun(self, head: Head, now: float, answer: Output) -> Output:
        """The run ends: the call is not made. It may have been begun all the same, by a process that was lost or is still at it."""
        if self.tool and self.tool.agent and not isinstance(arguments := read(self.asked.arguments), Failure):
            told = await called_off(self.steps, self.revision.toolbox, self.order(head, self.tool, arguments), head)
            return await self.stored(head, told, now) if isinstance(told, Delivery) else told or answer
        intent = await self.intent()
        if self.tool is None or intent is None:
            return answer
        return await under_way(self.steps, self.call, self.key, self.tool, intent) or await self.stored(head, lost(self.tool), now)

    async def stored(self, head: Head, delivery: Delivery, began: float) -> Output:
        """Write down what became of the call."""
        self.decision = self.decision or head.approvals.get(approval.name_of(self.key))
        outcome = ToolOutcome(
            key=self.key,
            tool=self.asked.name,
            call_id=self.asked.id,
            content=delivery.content,
            is_error=delivery.outcome != "completed",
            started=began,
            ended=time.time(),
            attempt=self.call["failed"] + 1,  # a round that only waited is no attempt
            outcome=delivery.outcome,
            approval=self.decision,
            child=lineage.child_run(self.revision.config.name, documents.outgoing_key(self.key, head.epoch))
            if self.tool and self.tool.agent
            else None,
        )
        try:
            document = await keep(self.steps, outcome, late=self.tool is not None and guarded(self.tool))
        except UnstoredError as error:
            # Nobody will know of it but the workflow, which undoes it.
            return envelope(self.key, error.failure, self.call["attempt"]) | self._undo(outcome)
        return await self.settled(head, document)

    async def settled(self, head: Head, document: Document) -> Output:
        """The activity's answer once the outcome is stored. What was asked and answered is with it now and leaves the head."""
        self.revision.toolbox.stored(self.asked.name, key=documents.outgoing_key(self.key, head.epoch))
        name = approval.name_of(self.key)
        if self.decision or name in head.approvals:
            await self.steps.store.update(documents.head_key(self.call["run"]), change(lambda head: head.settles(name)))
        outcome = ToolOutcome.load(document)
        return came_to(outcome, document) | self._undo(outcome)

    def _undo(self, outcome: ToolOutcome) -> Output:
        happened = outcome.outcome in ("completed", "unknown")
        return {"undo": True} if happened and self.tool is not None and self.tool.compensate is not None else {}


def _ends(answer: Output) -> bool:
    """Whether the call is given up because the run ends."""
    return answer.get("control") == documents.CANCEL or "timeout" in answer or "dropped" in answer
