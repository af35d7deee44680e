"""The activities: every side effect of a run. Each finds its stored result first, so a second execution changes nothing and pays nothing.

    steps       what they share: one flight per key, failures as answers, results written once
    waiting     what keeps a run from its next step: what people want of it, and what it waits for
    ending      the end of a head, sealed
    model       asks the model for one turn
    tool        carries out one call of a tool, with `approval` (a person decides first), `delivery` (how the call reaches the tool, with
                `intents`), `arguments` and `outcomes`
    compensate  undoes one call
    recall      takes down what a run knows of its session
    compact     sums up the oldest turns
    evaluate    lets a critic read an answer; the run may end with it
    completion  the good end of a run
    pack        puts the messages of some turns into segments
    finish      writes down that a run did not end well

An activity takes and returns ids, counters and tool names, writes messages as documents before it returns, and never raises for what
can be expected: a failure is an answer (`failures.envelope`). The final answer also ends the head, so that a run costs no activity
beyond its calls. A module of an activity has a `key` (of the effect, from the input) and a function that does the work.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from holdfast_agent import loop
from holdfast_agent.activities import compact, compensate, evaluate, finish, model, pack, recall, tool
from holdfast_agent.activities.steps import Activity, Input, Output, Steps, bounded

__all__ = ["ACTIVITIES", "Activity", "Steps", "bounded", "table"]

ACTIVITIES: Final = {
    loop.MODEL: Activity(model.key, model.ask),
    loop.TOOL: Activity(tool.key, tool.carry_out),
    loop.RECALL: Activity(recall.key, recall.recall),
    loop.COMPACT: Activity(compact.key, compact.compact),
    loop.EVALUATE: Activity(evaluate.key, evaluate.evaluate),
    loop.COMPENSATE: Activity(compensate.key, compensate.undo),
    loop.PACK: Activity(pack.key, pack.pack),
    loop.FINISH: Activity(finish.key, finish.finish),
}
"""By the names that histories hold."""


def table(steps: Steps) -> dict[str, Callable[[Input], Awaitable[Output]]]:
    """The activities as the workflow engine calls them."""
    return {name: partial(steps.once, activity) for name, activity in ACTIVITIES.items()}
