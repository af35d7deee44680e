"""/healthz, /readyz and /metrics, on the leader and on standbys alike."""

from collections.abc import Callable, Mapping

from aiohttp import web

from holdfast_operator.metrics import CONTENT_TYPE


class HealthServer:
    """The operator's own small HTTP server."""

    def __init__(
        self,
        *,
        port: int,
        ready: Callable[[], bool],
        metrics: Callable[[], bytes],
        unreadable: Callable[[], Mapping[str, str]] = dict,
        host: str | None = None,
    ) -> None:
        """Prepare.

        Args:
            port: port to listen on.
            ready: whether this replica is warm, or stands by.
            metrics: text of /metrics.
            unreadable: namespaces that cannot be read, and why. The others are looked after, so the replica is ready all the same.
            host: address to listen on, all of them when None.
        """
        self._port, self._host, self._ready, self._metrics, self._unreadable = port, host, ready, metrics, unreadable
        app = web.Application()
        app.add_routes([web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/metrics", self._text)])
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        # Answering at all is the proof: a stuck event loop cannot. Tasks that end take the process with them.
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="\n".join(("ok", *self._unreadable().values(), "")))
        return web.Response(status=503, text="taking stock of what exists\n")

    async def _text(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": CONTENT_TYPE})
