"""ConfigMap `holdfast-team-<team>`: who is in a team, what they can do, and whom they let call. Pure.

It belongs to all members alike: each is an owner and none the controller, so the garbage collector removes it with the last of them. Who is
in it follows from the Agents' specs alone, so no rollout, no missing pod and no condition ever takes a member out.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from holdfast_api import names
from holdfast_api.teams import member

__all__ = ["differs", "leaves_out", "member", "owner", "team", "team_of", "team_volumes"]

Manifest = dict[str, Any]
_MOST_BYTES: Final = 900_000
"""A ConfigMap holds a mebibyte. Of a team that is too large for it only names, places and callers are told."""
_MOST_MEMBERS: Final = 200
"""Those fit in any case, with as many callers as an Agent may name; of more, the first by name are listed."""


def team_of(manifest: Mapping[str, Any]) -> str | None:
    """The team of an Agent as the API server has it; one that is being deleted has none."""
    team = None if manifest["metadata"].get("deletionTimestamp") else (manifest.get("spec") or {}).get("team")
    return team if isinstance(team, str) and team else None


def owner(manifest: Mapping[str, Any]) -> Manifest:
    """An Agent as one owner among others."""
    metadata = manifest["metadata"]
    return {"apiVersion": names.GROUP_VERSION, "kind": names.KIND, "name": metadata["name"], "uid": metadata["uid"]}


def team(namespace: str, name: str, agents: Iterable[Mapping[str, Any]]) -> Manifest:
    """The ConfigMap of a team.

    Args:
        namespace: of all its members.
        name: of the team.
        agents: its members, as the API server has them.
    """
    ordered = sorted(agents, key=lambda agent: str(agent["metadata"]["name"]))[:_MOST_MEMBERS]
    members = [member(agent) for agent in ordered]
    text = names.canonical(members)
    if len(text.encode()) > _MOST_BYTES:
        text = names.canonical([one | {"description": "", "capabilities": []} for one in members])
    labels = {
        "app.kubernetes.io/name": "holdfast-team",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/part-of": "holdfast",
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_TEAM: name,
    }
    metadata = {"name": names.team_config_map(name), "namespace": namespace, "labels": labels, "ownerReferences": list(map(owner, ordered))}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {names.TEAM_KEY: text}}


def team_volumes(team: str | None) -> list[Manifest]:
    """The pods' volume with the list. It may come later, and a new one takes its place in running pods."""
    if team is None:
        return []
    return [{"name": names.TEAM_VOLUME, "configMap": {"name": names.team_config_map(team), "optional": True}}]


def leaves_out(name: str, listed: Collection[str]) -> bool:
    """Whether a team is so large that a member of that name is not listed. Else it is missing.

    Args:
        name: of the member.
        listed: names of those that are.
    """
    return len(listed) >= _MOST_MEMBERS and name > max(listed)


def differs(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the ConfigMap is not as it should be. What others add to it is theirs."""
    owners = {str(ref["uid"]) for ref in live["metadata"].get("ownerReferences", ()) if ref["kind"] == names.KIND}
    same_owners = owners == {ref["uid"] for ref in wanted["metadata"]["ownerReferences"]}
    labels = (live["metadata"].get("labels") or {}).items() >= wanted["metadata"]["labels"].items()
    return not (same_owners and labels and (live.get("data") or {}).get(names.TEAM_KEY) == wanted["data"][names.TEAM_KEY])
