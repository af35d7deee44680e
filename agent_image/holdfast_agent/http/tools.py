"""What the model may call: the list of it, and how the servers stand that have such tools."""

from aiohttp import web

from holdfast_agent.http import requests
from holdfast_agent.http.problems import Handler
from holdfast_agent.http.site import Site, answer
from holdfast_agent.http.steps import View
from holdfast_agent.http.steps import time as moment
from holdfast_agent.tools.sources import Health


class ToolRoutes:
    """Code of the operation on tools."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {"tools": self._tools}

    async def _tools(self, request: web.Request) -> web.Response:
        requests.query(request, ())
        toolbox = self._site.connected().toolbox
        tools = [{"name": spec.name, "description": spec.description} for spec in toolbox.specs]
        return answer({"tools": tools, "servers": [_server(health) for health in toolbox.health]})


def _server(health: Health) -> View:
    view: View = {"name": health.tool, "up": bool(health.up), "since": moment(health.since), "tools": list(health.functions)}
    reason = health.reason or ("" if health.up else "it was not asked yet")
    return view | ({"reason": reason} if not health.up else {}) | ({"left_out": health.left_out} if health.left_out else {})
