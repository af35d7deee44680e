"""The connection to the Dapr sidecar: one gRPC channel for the life of the process, and the two questions asked over HTTP.

The generated stub that the SDK publishes is used rather than its `DaprClient`, because every call here has a deadline of its own that
daprd must see too (gRPC passes it on), and because a transcript's messages are converted once and sent many times.
"""

import asyncio
import contextlib
import logging
from typing import Any, Final

import aiohttp
import grpc
from dapr.conf import settings
from dapr.conf.helpers import GrpcEndpoint
from dapr.proto import api_service_v1

from holdfast_agent import scope

_LOG = logging.getLogger(__name__)
_TOKEN_HEADER: Final = "dapr-api-token"  # noqa: S105 - the name of a header
_POLL_SECONDS: Final = 0.2
_HTTP_TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)
_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
NO_PROXY: Final = ("grpc.enable_http_proxy", 0)
"""A proxy in spec.env is for tools; the sidecar is next door."""
CHANNEL_OPTIONS: Final = (
    NO_PROXY,
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # gRPC's own back-off grows to two minutes, far longer than a sidecar takes to restart.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

Metadata = tuple[tuple[str, str], ...]


class Sidecar:
    """The sidecar as one process sees it. Must be made and used on one event loop.

    Attributes:
        stub: Dapr's gRPC API. Pass `timeout=` and `metadata=sidecar.metadata` with every call.
        metadata: the API token, where there is one, and the trace that the sidecar's own spans join.
    """

    def __init__(self) -> None:
        token = settings.DAPR_API_TOKEN
        self._credentials: Metadata = ((_TOKEN_HEADER, token),) if token else ()
        endpoint = GrpcEndpoint(settings.DAPR_GRPC_ENDPOINT or f"{settings.DAPR_RUNTIME_HOST}:{settings.DAPR_GRPC_PORT}")
        self._channel = (
            grpc.aio.secure_channel(endpoint.endpoint, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
            if endpoint.tls
            else grpc.aio.insecure_channel(endpoint.endpoint, options=CHANNEL_OPTIONS)
        )
        self.stub = api_service_v1.DaprStub(self._channel)
        self._url = (settings.DAPR_HTTP_ENDPOINT or f"http://{settings.DAPR_RUNTIME_HOST}:{settings.DAPR_HTTP_PORT}").rstrip("/")
        self._http = aiohttp.ClientSession(headers=dict(self._credentials), timeout=_HTTP_TIMEOUT)

    @property
    def metadata(self) -> Metadata:
        """See above; different from step to step."""
        return (*self._credentials, *scope.headers().items())

    async def healthy(self) -> bool:
        """Whether the sidecar's outbound APIs serve: components are loaded, the app's port need not be open."""
        try:
            async with self._http.get(f"{self._url}/v1.0/healthz/outbound") as response:
                return response.status < 300  # noqa: PLR2004 - any success
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def wait_healthy(self) -> None:
        """Return as soon as the sidecar serves. It may take long (images, certificates), so the waiting is told, not bounded."""
        waited = 0
        while not await self.healthy():
            if waited % 50 == 0:
                _LOG.info("waiting for the Dapr sidecar at %s", self._url)
            waited += 1
            await asyncio.sleep(_POLL_SECONDS)

    async def connected_workers(self) -> int:
        """How many workflow workers the sidecar counts; 0 also when it cannot be asked."""
        document = await self._said_of_itself()
        return int((document.get("workflows") or {}).get("connectedWorkers") or 0)

    async def components(self) -> frozenset[str] | None:
        """Names of the Components that work, None when it cannot be asked. One that failed when the sidecar started is not tried again."""
        document = await self._said_of_itself()
        return frozenset(component["name"] for component in document.get("components") or ()) if document else None

    async def _said_of_itself(self) -> dict[str, Any]:
        try:
            async with self._http.get(f"{self._url}/v1.0/metadata") as response:
                document: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return {}
        return document

    async def end(self) -> None:
        """Ask the sidecar to end, so that whoever keeps it running starts it again. It may not have heard."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._http.post(f"{self._url}/v1.0/shutdown") as response:
                if response.status >= 300:  # noqa: PLR2004 - no success
                    _LOG.error("the sidecar does not end: it answers %d", response.status)

    async def close(self) -> None:
        """Close both connections."""
        await self._http.close()
        await self._channel.close()
