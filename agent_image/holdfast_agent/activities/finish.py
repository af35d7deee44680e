"""The activity `finish`: writes down that a run did not end well."""

import logging
import time

from holdfast_agent.activities.ending import end
from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.documents import Usage
from holdfast_agent.sessions import Sessions

_LOG = logging.getLogger(__name__)


def key(call: Input) -> str:
    """Key of the effect."""
    return f"{call['run']}/finish"


async def finish(steps: Steps, key: str, call: Input) -> Output:
    """Write down that a run failed, and take its answer out of its session: one that was about to complete may have put it there.

    Returns:
        `{key}`.
    """
    now, usage = time.time(), Usage.load(call["usage"])
    ended = await end(steps, call["run"], lambda head: head.failed(call["error"], usage, now), audit=call.get("audit"))
    if ended.session is not None and ended.left_session:
        session = ended.session
        await steps.patiently(lambda: Sessions(steps.store).withdraw(session, ended.id, accepted=ended.created))
    if ended.status == "CANCELED":
        _LOG.info("run canceled", extra={"run": call["run"]})
    else:
        _LOG.warning("run failed: %s", call["error"]["type"], extra={"run": call["run"]})
    return {"key": key}
