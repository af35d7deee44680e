"""The team of an agent: who is in it and what they can do, from the list that the operator keeps. Read anew, never at the start only.

The list is a file of a ConfigMap that is mounted; Kubernetes puts a new one in its place when a member joins, leaves or changes. Whoever
is in it and lets this agent call is told to the model; `spec.access.callers` of each member says whom it lets.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from holdfast_agent.outcome import Failure
from holdfast_api import names
from holdfast_api.config import AgentConfig

_LOG = logging.getLogger(__name__)
_LISTED: Final = 64
_MARK = tuple[int, int, int]
_NAME: Final = re.compile(names.AGENT_NAME)


@dataclass(frozen=True)
class Member:
    """One member.

    Attributes:
        name: its app id.
        capabilities: what it can do, a phrase each.
        callers: app ids that it lets call.
    """

    name: str
    description: str = ""
    capabilities: tuple[str, ...] = ()
    callers: tuple[str, ...] = ()

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> "Member":
        """From the list; what a newer operator writes besides is left out.

        Raises:
            ValueError: it has no name.
        """
        name = document.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError("a member has no name")
        listed = {field: tuple(map(str, document.get(field) or ())) for field in ("capabilities", "callers")}
        return cls(name, str(document.get("description") or ""), **listed)


class Team:
    """The members as they are now."""

    def __init__(self, agent: str, team: str, path: Path) -> None:
        """Nothing is read yet.

        Args:
            agent: app id of the agent whose team it is.
            team: its name.
            path: of the list; it need not exist.
        """
        self._agent, self.name, self._path = agent, team, path
        self._mark: _MARK | None = None
        self._members: tuple[Member, ...] = ()

    @classmethod
    def of(cls, config: AgentConfig, environ: Mapping[str, str]) -> "Team":
        """The team of an agent, where the environment says its list is."""
        return cls(config.name, config.team or "", Path(environ.get(names.ENV_TEAM) or names.TEAM_PATH))

    @property
    def others(self) -> tuple[Member, ...]:
        """Everybody but this agent itself. A list that cannot be read leaves the last good one."""
        try:
            stat = self._path.stat()
            mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if mark != self._mark:
                self._members = tuple(map(Member.load, json.loads(self._path.read_text())))
                self._mark = mark
        except FileNotFoundError:
            self._members, self._mark = (), None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _LOG.warning("the list of team %s cannot be read: %s", self.name, error)
        return tuple(member for member in self._members if member.name != self._agent)

    @property
    def reachable(self) -> tuple[Member, ...]:
        """Those who let this agent call."""
        return tuple(member for member in self.others if self._agent in member.callers)

    def address(self, arguments: Mapping[str, Any], *, begun: bool) -> str | Failure:
        """The member that a call means. Who has left the list since is still followed if the call was `begun` there."""
        name, others = str(arguments["name"]), self.others
        if begun and _NAME.fullmatch(name):
            return name
        if name not in {member.name for member in others}:
            have = ", ".join(member.name for member in self.reachable) or "nobody that may be asked"
            return Failure("permanent", f"there is no member {name[:60]!r} in the team {self.name!r}; there is: {have}", reach="unsent")
        return name

    def prompt(self) -> str:
        """What the model is told about the team."""
        members = self.reachable
        if not members:
            return f"You belong to the team {self.name!r}. No other member can be asked at the moment: do what you can by yourself."
        lines = [_line(member) for member in members[:_LISTED]]
        lines += [f"- and {len(members) - _LISTED} more"] if len(members) > _LISTED else []
        return (
            f"You belong to the team {self.name!r}. You can give tasks to its other members with the tool {names.TEAM_TOOL}. "
            "The members:\n" + "\n".join(lines)
        )


def _line(member: Member) -> str:
    text = f"- {member.name}" + (f": {' '.join(member.description.split())}" if member.description else "")
    return text + (f" (can: {'; '.join(member.capabilities)})" if member.capabilities else "")
