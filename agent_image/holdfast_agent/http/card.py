"""The agent card of A2A: what the agent is and can do, at the place where agents and tools of other makers look for it.

Whoever has no token yet must be able to read it, so it is open and says no more than name and description. With the token it tells of each
thing that the agent can do. Of A2A it is the card alone: `preferredTransport` names this API, not one of A2A's.
"""

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from holdfast_agent.http.problems import Handler
from holdfast_agent.http.site import Site, answer
from holdfast_api import names
from holdfast_api.config import AgentConfig

PROTOCOL: Final = "0.3.0"
_TEXT: Final = "text/plain"
_JSON: Final = "application/json"


def card(config: AgentConfig, url: str, *, whole: bool) -> dict[str, Any]:
    """The card.

    Args:
        config: of the agent.
        url: where its API is reached.
        whole: for somebody who may call.
    """
    name, description = config.name, config.description or f"The agent {config.name}"
    skills = [_skill("run", name, description), *(_abilities(config) if whole else [])]
    found: dict[str, Any] = {
        "protocolVersion": PROTOCOL,
        "name": name,
        "description": description,
        "url": url,
        "preferredTransport": names.GROUP_VERSION,
        "documentationUrl": f"{url}/openapi.json",
        "version": config.revision if whole else names.VERSION,
        "capabilities": {"streaming": False, "pushNotifications": False},
        "defaultInputModes": [_TEXT],
        "defaultOutputModes": [_JSON if config.output else _TEXT],
        "skills": skills,
    }
    if config.auth == "token":
        found["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"bearer": []}]
    return found


class CardRoutes:
    """Code of the operation."""

    def __init__(self, site: Site, knows: Callable[[web.Request], bool]) -> None:
        """Keep the parts; `knows` tells whether a request comes from somebody who may call."""
        self._site, self._knows = site, knows

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {"card": self._card}

    async def _card(self, request: web.Request) -> web.Response:
        config = self._site.connected().runs.config
        whole = config.auth != "token" or self._knows(request)
        return answer(card(config, f"{request.scheme}://{request.host}", whole=whole), headers={"Cache-Control": "no-store"})


def _abilities(config: AgentConfig) -> list[dict[str, Any]]:
    if config.capabilities:
        return [_skill(f"capability-{number}", phrase, phrase) for number, phrase in enumerate(config.capabilities, start=1)]
    return [_skill(tool.name, tool.name, (tool.description or tool.name).strip().split("\n")[0]) for tool in config.tools]


def _skill(identity: str, name: str, description: str) -> dict[str, Any]:
    return {"id": identity, "name": name, "description": description, "tags": []}
