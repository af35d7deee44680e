"""What the routes work with once the agent is connected."""

from dataclasses import dataclass

from holdfast_agent.audit.export import Audits
from holdfast_agent.controls import Controls
from holdfast_agent.listing import Listing
from holdfast_agent.metrics import Metrics
from holdfast_agent.runs import Runs
from holdfast_agent.sessions import Sessions
from holdfast_agent.timelines import Timelines
from holdfast_agent.tools import Toolbox
from holdfast_agent.triggers.intake import Intake
from holdfast_agent.triggers.ticker import Ticker
from holdfast_api.config import AgentConfig


@dataclass(frozen=True)
class Parts:
    """The parts of a connected agent."""

    runs: Runs
    controls: Controls
    timelines: Timelines
    listing: Listing
    sessions: Sessions
    audits: Audits
    metrics: Metrics
    config: AgentConfig
    toolbox: Toolbox
    ticker: Ticker
    intake: Intake
