"""Whose run stands under the id that a tick or an event begins its run under.

These ids can be foreseen, and whoever may begin runs may choose ids. A run that somebody else began there is not taken for the trigger's
own: that is logged, and the trigger's run gets the next id of the row. All replicas find the same one, since all read the same heads.
"""

import logging
from collections.abc import Callable
from typing import Final

from holdfast_agent.documents import Document, Head
from holdfast_agent.runs import Runs
from holdfast_agent.store import StoreError

_LOG = logging.getLogger(__name__)
_ROW: Final = 20
"""Ids that are tried: who takes more of them is at war, and ids must not grow longer than ids may be."""


class TakenError(StoreError):
    """All ids of the row are other runs'."""


Own = Callable[[Document], bool]
"""Whether a run with this `trigger` (see `Head`) is the one that is meant."""


def is_own(head: Head, own: Own) -> bool:
    """Whether a run is the trigger's, as far as can be told: a version that gave runs no `epoch` did not say what began them either."""
    return head.epoch is None or (head.trigger is not None and own(head.trigger))


async def settled(runs: Runs, run: str, own: Own, *, trigger: str, known: str | None = None) -> tuple[str, Head | None]:
    """The id that the trigger's run has or is to get, and its head if it is there.

    Args:
        runs: where to look.
        run: the first id of the row.
        own: see there.
        trigger: for the log.
        known: what came of it before; the same again is not logged.

    Raises:
        TakenError: all ids of the row are other runs'.
        StoreError: the store does not answer.
    """
    for number in range(1, _ROW + 1):
        candidate = run if number == 1 else f"{run}-{number}"
        head = await runs.find(candidate)
        if head is None or is_own(head, own):
            if candidate not in (run, known):
                _LOG.error(
                    "somebody else began a run under the id of a trigger's run, which gets another one",
                    extra={"trigger": trigger, "run": run, "instead": candidate},
                )
            return candidate, head
    raise TakenError(f"the ids {run} to {run}-{_ROW} are those of runs that the trigger {trigger!r} did not begin")
