"""The activity `finish`: writes down that a run did not end well."""

import logging
import time

from holdfast_agent.activities.steps import Input, Output, Steps
from holdfast_agent.documents import Usage

_LOG = logging.getLogger(__name__)


def key(call: Input) -> str:
    """Key of the effect."""
    return f"{call['run']}/finish"


async def finish(steps: Steps, key: str, call: Input) -> Output:
    """Write down that a run failed.

    Returns:
        `{key}`.
    """
    now, usage = time.time(), Usage.load(call["usage"])
    await steps.end(call["run"], lambda head: head.failed(call["error"], usage, now), audit=call.get("audit"))
    _LOG.warning("run failed: %s", call["error"]["type"], extra={"run": call["run"]})
    return {"key": key}
