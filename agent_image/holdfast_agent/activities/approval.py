"""What a person decided about a call: asked once, decided once, and good for these very arguments only.

Question and answer are in the head, so whoever decides, on whichever replica, and the step that waits see one order of things. Nothing is
called before the decision is stored.
"""

import logging
import time
from typing import Any, Final

from holdfast_agent.activities.delivery import Delivery
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.activities.waiting import held, wait_for
from holdfast_agent.documents import Approval, Head, Trouble
from holdfast_agent.failures import envelope
from holdfast_agent.logs import moment
from holdfast_agent.outcome import Failure
from holdfast_api import names
from holdfast_api.config import ApprovalConfig

_LOG = logging.getLogger(__name__)
_DIGEST: Final = 64


def name_of(key: str) -> str:
    """A call as the head's approvals name it: `<turn>/<call>`."""
    return key.partition("/")[2]


def digest(arguments: dict[str, Any]) -> str:
    """What an approval is bound to, beside the tool."""
    return names.digest(arguments, _DIGEST)


async def decided(
    steps: Steps, key: str, call: Input, *, tool: str, arguments: dict[str, Any], config: ApprovalConfig, head: Head
) -> Approval | Output:
    """The decision about a call; asks for it if nobody has.

    Args:
        steps: what activities share.
        key: of the call.
        call: the activity's input.
        tool: its name.
        arguments: of the call.
        config: how long to wait, and what follows then.
        head: as it was read a moment ago.

    Returns:
        The question with its answer; or the activity's answer while there is none.

    Raises:
        StoreError: the store does not answer; then nothing is asked or decided.
    """
    name, now = name_of(key), time.time()
    found = head.approvals.get(name)
    if found and found.decision:
        return found
    question = Approval(tool, digest(arguments), now, min(now + config.timeout_seconds, call["deadline"]), config.on_timeout)
    message = f"a person has to decide about the call of {tool!r}"
    wait = Trouble(key, call["attempt"], message, until=question.until, kind="approval")
    head, answer = await wait_for(steps, key, call, wait, first=lambda head: _asked(head, name, question, now))
    before, found = found, head.approvals.get(name)
    if found and "waiting" in answer:
        _tell(key, before, found)
    if not (found and found.decision and "waiting" in answer):
        return answer
    # Somebody decided in between, and may have suspended the run too.
    return (await held(steps, key, call) if head.control else None) or found


def verdict(approval: Approval, *, tool: str, arguments: dict[str, Any]) -> Delivery | Failure | None:
    """What follows from a decision: the call is not made, the run ends, or (None) the call is made."""
    if (approval.tool, approval.digest) != (tool, digest(arguments)):
        return Delivery.error(f"not called: the approval was for other arguments, or for another tool than {tool!r}", "rejected")
    if approval.decision == "rejected":
        return Delivery.error(f"a person rejected this call{_because(approval)}", "rejected")
    if approval.decision != "timedOut" or approval.on_timeout == "approve":
        return None
    waited = f"nobody decided about this call of {tool!r} within {approval.until - approval.asked:g} s"
    if approval.on_timeout == "fail":
        return Failure("fatal", f"{waited}, and approval.onTimeout is fail")
    return Delivery.error(f"not called: {waited}", "rejected")


def described(key: str, asked: Approval) -> dict[str, object]:
    """A question and its answer as the log has them; without arguments."""
    told: dict[str, object] = {"run": key.partition("/")[0], "step": key, "tool": asked.tool, "until": moment(asked.until)}
    return told | ({"decision": asked.decision} if asked.decision else {"on_timeout": asked.on_timeout})


def failure(key: str, call: Input, why: Failure) -> Output:
    """The activity's answer when nobody decided and that ends the run."""
    return envelope(key, why, call["attempt"])


def _asked(head: Head, name: str, question: Approval, now: float) -> Head:
    asked = head.asks(name, question)
    return asked.decides(name, "timedOut", "", now) if now >= asked.approvals[name].until else asked


def _tell(key: str, before: Approval | None, found: Approval) -> None:
    """Tell the log of a new question, and of one whose time ran out. Of a person's answer it knows from whoever took it."""
    if before is None and found.decision is None:
        _LOG.info("waits for a person", extra=described(key, found))
    elif found.decision == "timedOut":
        _LOG.info("decided", extra=described(key, found))


def _because(approval: Approval) -> str:
    return f": {approval.reason}" if approval.reason else ""
