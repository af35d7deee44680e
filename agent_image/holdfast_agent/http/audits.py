"""What a run left on record, and what Prometheus reads."""

from aiohttp import web

from holdfast_agent.audit.lines import MEDIA_TYPE, line
from holdfast_agent.http import requests
from holdfast_agent.http.problems import Handler
from holdfast_agent.http.site import Site, answer, run_of
from holdfast_agent.metrics import CONTENT_TYPE
from holdfast_agent.store import StoreError


class AuditRoutes:
    """Code of the operations that give account."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {"audit": self._audit, "metrics": self._metrics}

    async def _audit(self, request: web.Request) -> web.StreamResponse:
        whole = requests.query(request, (requests.DOCUMENTS,))["documents"]
        head = await self._site.head(run_of(request))
        if not whole:
            return answer(await self._site.connected().audits.view(head.id))
        if request.method == "HEAD":
            return web.Response(headers={"Content-Type": MEDIA_TYPE})
        return await self._documents(request, head.id)

    async def _documents(self, request: web.Request, run: str) -> web.StreamResponse:
        """The documents as they come out of the store, so that none but the present one is held."""
        response = web.StreamResponse(headers={"Content-Type": MEDIA_TYPE})
        await response.prepare(request)
        try:
            async for key, document in self._site.connected().audits.documents(run):
                await response.write(line(key, document).encode(errors="surrogatepass"))
        except StoreError:
            # What was sent looks whole up to here: only a connection that breaks off says that it is not.
            if request.transport:
                request.transport.abort()
        return response

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._site.connected().metrics.page(), headers={"Content-Type": CONTENT_TYPE})
