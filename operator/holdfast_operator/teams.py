"""Keeps the ConfigMap of each team as its members want it. An Agent without a team costs nothing here, and a settled team one read a look.

A look at a member reads its team's ConfigMap. If its own entry is right, and nobody is listed who is known to have gone or to have another
team, that is all. Else all Agents of the namespace are read, because only they say who is in the team: an operator that has just started
knows a part of them.

A member may have left while no operator worked. If a member is looked at before it, the list is known when its turn comes; if after it,
its record says where it is by now.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from holdfast_api import conditions, names
from holdfast_operator.cluster import ApiError, Cluster
from holdfast_operator.desired import team as desired
from holdfast_operator.kinds import AGENT, CONFIG_MAP, Key
from holdfast_operator.memory import ChildId, Memory
from holdfast_operator.observe import Findings, failed
from holdfast_operator.queue import Retry
from holdfast_operator.refusals import Blocked

logger = logging.getLogger(__name__)
Manifest = dict[str, Any]
_LOOK_AGAIN = 5.0


class Teams:
    """The teams of all namespaces, as far as they have been seen."""

    def __init__(self, cluster: Cluster, memory: Memory) -> None:
        self._cluster, self._memory = cluster, memory
        self._listed: defaultdict[str, dict[str, frozenset[str]]] = defaultdict(dict)
        self._locks: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def settle(self, key: Key, manifest: Mapping[str, Any]) -> None:
        """Let the lists of teams say of one Agent what is so.

        Args:
            key: of the Agent.
            manifest: the Agent.

        Raises:
            Blocked: the ConfigMap's name is taken.
            Retry: somebody else has changed it in the meantime.
            ApiError: the API server does not answer.
        """
        namespace, name = key
        own = desired.team_of(manifest)
        self._memory.record(key).team = own or ""
        for other in [team for team, listed in self._listed[namespace].items() if team != own and name in listed]:
            await self._rewrite(namespace, other)
        if own is None:
            return
        self._memory.need(key, self._memory.record(key).references | {_place(own)})
        async with self._locks[namespace, own]:
            live = await self._read(namespace, own)
            if live is None or (_is_ours(live) and not self._is_right(namespace, live, manifest)):
                live = await self._write(namespace, own)
        if live and not _is_ours(live):
            name = names.team_config_map(own)
            message = f"ConfigMap {name!r} exists and is not the operator's, so it is left alone: delete it, or give the team another name"
            raise Blocked(Findings(accepted=failed(conditions.CHILD_NAME_TAKEN, message, stalled=True)), again=_LOOK_AGAIN)
        if live:
            self._told(namespace, own, live)

    def lists(self, key: Key) -> bool:
        """Whether an Agent is in the list of a team, so that its end has to be told there."""
        return any(key[1] in listed for listed in self._listed[key[0]].values())

    async def depart(self, key: Key) -> None:
        """An Agent is gone.

        Raises:
            Retry: somebody else has changed a list in the meantime.
            ApiError: the API server does not answer.
        """
        namespace, name = key
        for team in [team for team, listed in self._listed[namespace].items() if name in listed]:
            await self._rewrite(namespace, team)

    async def _rewrite(self, namespace: str, team: str) -> None:
        """Of a team that somebody is not in any more, so a ConfigMap that is not ours is no trouble of theirs."""
        async with self._locks[namespace, team]:
            live = await self._write(namespace, team)
        if live and _is_ours(live):
            self._told(namespace, team, live)

    def _is_right(self, namespace: str, live: Manifest, manifest: Mapping[str, Any]) -> bool:
        owners = {ref["name"]: ref["uid"] for ref in live["metadata"].get("ownerReferences", ()) if ref["kind"] == names.KIND}
        members, name = _members(live), manifest["metadata"]["name"]
        if set(members) != set(owners):
            return False
        own = owners.get(name) == manifest["metadata"]["uid"] and members.get(name) == desired.member(manifest)
        if not own and not (name not in members and desired.leaves_out(name, members)):
            return False
        found = [self._memory.find((namespace, other)) for other in members]
        return all(record is not None and record.team in {None, desired.team_of(manifest)} for record in found)

    async def _write(self, namespace: str, team: str) -> Manifest | None:
        """Make it as all Agents of the namespace want it; None when nobody does. What is not ours is left alone."""
        agents = [agent async for page in self._cluster.pages(AGENT, namespace) for agent in page.items if desired.team_of(agent) == team]
        live, name = await self._read(namespace, team), names.team_config_map(team)
        if live and not _is_ours(live):
            return live
        if not agents:
            if live and not await self._remove(live) and await self._read(namespace, team):
                raise Retry(f"ConfigMap {name} was changed in the meantime")
            self._listed[namespace].pop(team, None)
            return None
        wanted = desired.team(namespace, team, agents)
        if live and not desired.differs(live, wanted):
            return live
        if live:
            known = {field: live["metadata"][field] for field in ("uid", "resourceVersion")}
            wanted["metadata"] |= known
        try:
            written = await self._cluster.apply(CONFIG_MAP, wanted, force=live is not None)
        except ApiError as error:
            if error.status in {404, 409}:
                raise Retry(f"ConfigMap {name} was changed in the meantime") from None
            raise
        logger.info("%s: team %s has the members %s", namespace, team, ", ".join(agent["metadata"]["name"] for agent in agents))
        self._listed[namespace][team] = frozenset(agent["metadata"]["name"] for agent in agents)
        return written

    async def _remove(self, live: Manifest) -> bool:
        metadata = live["metadata"]
        return await self._cluster.delete(
            CONFIG_MAP, metadata["namespace"], metadata["name"], uid=metadata["uid"], version=metadata["resourceVersion"]
        )

    async def _read(self, namespace: str, team: str) -> Manifest | None:
        live = await self._cluster.get(CONFIG_MAP, namespace, names.team_config_map(team))
        self._listed[namespace][team] = frozenset(_members(live)) if live and _is_ours(live) else frozenset()
        return live

    def _told(self, namespace: str, team: str, live: Manifest) -> None:
        """What stands there is no news to any member, so one write makes nobody look."""
        kind, name = _place(team)
        for member in self._memory.needing(namespace, kind, name):
            self._memory.record(member).read[kind, name] = live["metadata"]["resourceVersion"]


def _place(team: str) -> ChildId:
    return CONFIG_MAP, names.team_config_map(team)


def _is_ours(live: Manifest) -> bool:
    return (live["metadata"].get("labels") or {}).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY


def _members(live: Manifest) -> dict[str, Manifest]:
    """Entries by name; none where somebody has made the text unreadable."""
    try:
        return {entry["name"]: entry for entry in json.loads((live.get("data") or {})[names.TEAM_KEY])}
    except (KeyError, ValueError, TypeError):
        return {}
