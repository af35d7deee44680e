"""Places in the timeline of a run, and the ids that stand for them. Pure.

<turn>.<step>   a step of a turn; 0.1 is what the run began with
undo.<n>        the n-th thing that was undone; these come after all turns
end             after everything
"""

import math
import re
from typing import Final

from holdfast_agent.http.problems import Problem

Place = tuple[float, float]
START: Final[Place] = (0, 0)
END: Final[Place] = (math.inf, math.inf)
END_ID: Final = "end"
_STEP: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")
_UNDO: Final = re.compile(r"undo\.([0-9]{1,9})")


def place(step: str) -> Place:
    """Where a step's id stands.

    Raises:
        ValueError: it is no such id.
    """
    if found := _STEP.fullmatch(step):
        return int(found[1]), int(found[2])
    if found := _UNDO.fullmatch(step):
        return math.inf, int(found[1])
    if step == END_ID:
        return END
    raise ValueError(step)


def read(name: str, value: str) -> Place:
    """The place that a caller names; nothing is the start.

    Raises:
        Problem: there is no such place.
    """
    try:
        return place(value) if value else START
    except ValueError as error:
        fix = "send the id of the last event that you saw, or nothing for all of them"
        raise Problem(422, f"{name!r} is not the id of an event", field=name, value=value, fix=fix) from error
