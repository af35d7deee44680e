"""Several Agents served side by side: where their sidecars find each other, and what the members of a team are told.

Each has everything of its own, as if it were served alone: folder, database, placement, scheduler, daprd. So a run that has not ended goes
on however its Agent is served the next time. All that they share is the file in which their sidecars look each other up.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast_agent.local.documents import Documents
from holdfast_agent.local.workspace import Workspace
from holdfast_api.teams import member
from holdfast_api.v1alpha1 import Agent


@dataclass(frozen=True)
class Beside:
    """What one of them knows of all.

    Attributes:
        agents: all of them, itself too.
        folder: for what they share.
    """

    agents: tuple[Agent, ...]
    folder: Path

    @property
    def lookup(self) -> Path:
        """The file in which sidecars look each other up."""
        return self.folder / "names.db"

    def here(self, agent: Agent) -> frozenset[str]:
        """Names of those that an Agent can call: Dapr looks in its own namespace."""
        return frozenset(one.metadata.name for one in self.agents if one.metadata.namespace == agent.metadata.namespace) - {
            agent.metadata.name
        }

    def members(self, agent: Agent) -> Path | None:
        """The list of an Agent's team, written down; None: it has none."""
        team, namespace = agent.spec.team, agent.metadata.namespace
        if team is None:
            return None
        found = [one for one in self.agents if one.spec.team == team and one.metadata.namespace == namespace]
        path = self.folder / f"members-{agent.metadata.name}.json"
        path.write_text(json.dumps([member(one.model_dump(by_alias=True, exclude_none=True, mode="json")) for one in found]))
        return path

    def refused(self, agent: Agent) -> list[str]:
        """Who is called here and would refuse it in a cluster, for people."""
        called = {tool.agent.name for tool in agent.spec.tools if tool.agent} & self.here(agent)
        closed = [one for one in self.agents if one.metadata.name in called and agent.metadata.name not in one.spec.access.callers]
        return [
            f"in a cluster {one.metadata.name} refuses calls of {agent.metadata.name}: put it into spec.access.callers there"
            for one in closed
        ]


def beside(found: Sequence[Documents], place: Workspace) -> Beside:
    """All Agents that are served together.

    Args:
        found: what they are.
        place: of one of them, which nobody else uses meanwhile. What was shared there before is forgotten.
    """
    folder = place.folder / "together"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return Beside(tuple(documents.agent for documents in found), folder)
