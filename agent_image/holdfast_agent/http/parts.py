"""What the routes work with once the agent is connected."""

from dataclasses import dataclass

from holdfast_agent.runs import Runs
from holdfast_agent.timelines import Timelines


@dataclass(frozen=True)
class Parts:
    """The parts of a connected agent."""

    runs: Runs
    timelines: Timelines
