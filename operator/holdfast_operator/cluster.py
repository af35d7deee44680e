"""The only module that speaks to the API server: a thin transport that sends manifests and gives back JSON.

No client library: their typed models of every answer cost more than the requests themselves (figures in docs/decisions.md).

A write is sent only while `may_write()` holds, asked in the same step of the event loop in which the request starts, and once more when
a connection had to be made for it. So a replica that has lost its Lease, even one that was frozen and woke up, starts no further write.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from holdfast_api import names
from holdfast_operator.credentials import Credentials
from holdfast_operator.kinds import Kind

Manifest = dict[str, Any]
PAGE = 500
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=4)
WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=70)
"""A watch that says nothing for longer may be frozen. Most API servers send a bookmark each minute, but not where etcd tells seldom of its
progress and nothing of the kind changes."""

LONGEST_WAIT = 60.0
"""Seconds that we wait at most because an answer asks for it: a proxy that says a day would be believed for a day."""

_APPLY = "application/apply-patch+yaml"
_METADATA = "application/json;as={shape};g=meta.k8s.io;v=v1"
_UNREACHABLE = 0


class ApiError(Exception):
    """The API server said no, or nothing.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        reason: the server's one word, for example `Conflict`.
        message: its sentence.
        retry_after: seconds it asked to wait, if it did, and no more than `LONGEST_WAIT`.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"the API server cannot be reached: {message}")
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later without anybody changing anything."""
        return self.status in {_UNREACHABLE, 401, 408, 429} or (self.status >= 500 and not self.unfit)  # noqa: PLR2004 - HTTP

    @property
    def unfit(self) -> bool:
        """Whether the manifest has a field that this version of the API server does not know: it says 500 to such an apply."""
        return "failed to create typed patch object" in self.message

    @property
    def not_served(self) -> bool:
        """Whether the kind is unknown to the server, as opposed to one object not being there."""
        return self.status == 404 and not self.reason  # noqa: PLR2004 - HTTP


class NotLeading(Exception):  # noqa: N818 - it is a state, not an error
    """This replica does not hold the Lease any more."""


@dataclass(frozen=True)
class Page:
    """Part of a list, and the resourceVersion it was read at."""

    items: list[Manifest]
    version: str


class Cluster:
    """One API server."""

    def __init__(self, credentials: Credentials, *, in_flight: int = 16, may_write: Callable[[], bool] = lambda: True) -> None:
        """Connect lazily.

        Args:
            credentials: the API server's address, and who we are.
            in_flight: how many requests are under way at a time, watches aside. Each may need a connection, and TLS takes 0.3 MiB.
            may_write: asked right before each write.
        """
        self._credentials = credentials
        self._slots = asyncio.Semaphore(in_flight)
        self._may_write = may_write
        self._session: aiohttp.ClientSession | None = None
        self.observer: Callable[[str, str, int], None] = lambda verb, plural, status: None  # noqa: ARG005 - the metrics' place

    async def close(self) -> None:
        """End all connections."""
        if self._session:
            await self._session.close()

    async def get(self, kind: Kind, namespace: str, name: str, *, metadata_only: bool = False) -> Manifest | None:
        """Read one object, or its metadata; None when it does not exist."""
        accept = _METADATA.format(shape="PartialObjectMetadata") if metadata_only else None
        try:
            return await self._request("GET", kind, kind.path(namespace, name), accept=accept)
        except ApiError as error:
            if error.status == 404 and not error.not_served:  # noqa: PLR2004 - HTTP
                return None
            raise

    async def apply(
        self, kind: Kind, manifest: Manifest, *, manager: str = names.FIELD_MANAGER, subresource: str = "", force: bool = True
    ) -> Manifest:
        """Server-side apply, with `uid` and `resourceVersion` in the manifest as preconditions.

        Args:
            kind: of the object.
            manifest: what we want of it.
            manager: who wants it.
            subresource: part of the object to apply, such as `status`.
            force: take fields that another manager has set otherwise; without it they are a conflict.
        """
        metadata = manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"]) + (f"/{subresource}" if subresource else "")
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._request("PATCH", kind, path, body=manifest, query=query, content_type=_APPLY)

    async def create(self, kind: Kind, manifest: Manifest) -> bool:
        """Make an object.

        Returns:
            False when one of that name is there already.
        """
        try:
            await self._request("POST", kind, kind.path(manifest["metadata"]["namespace"]), body=manifest)
        except ApiError as error:
            if error.status == 409 and error.reason == "AlreadyExists":  # noqa: PLR2004 - HTTP
                return False
            raise
        return True

    async def update(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Replace an object, with its resourceVersion as precondition."""
        metadata = manifest["metadata"]
        return await self._request("PUT", kind, kind.path(metadata["namespace"], metadata["name"]), body=manifest)

    async def count_event(self, kind: Kind, namespace: str, name: str, now: str) -> None:
        """Say that an Event has happened once more. The first patch answers with the count, which nobody else changes."""
        path, merge = kind.path(namespace, name), "application/merge-patch+json"
        live = await self._request("PATCH", kind, path, body={"lastTimestamp": now}, content_type=merge)
        await self._request("PATCH", kind, path, body={"count": live.get("count", 1) + 1}, content_type=merge)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str, version: str | None = None) -> bool:
        """Delete exactly this object, in the background.

        Returns:
            False when it is not there any more, or has changed.
        """
        conditions = {"uid": uid} | ({"resourceVersion": version} if version else {})
        try:
            await self._request("DELETE", kind, kind.path(namespace, name), body={"preconditions": conditions})
        except ApiError as error:
            if error.status in {404, 409}:
                return False
            raise
        return True

    async def pages(self, kind: Kind, namespace: str | None, *, selector: str = "", metadata_only: bool = False) -> AsyncIterator[Page]:
        """List a kind in pages."""
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        accept = _METADATA.format(shape="PartialObjectMetadataList") if metadata_only else None
        while True:
            answer = await self._request("GET", kind, kind.path(namespace), query=query, accept=accept)
            yield Page(answer.get("items") or [], answer["metadata"]["resourceVersion"])
            if not (more := answer["metadata"].get("continue")):
                return
            query["continue"] = more

    async def watch(self, kind: Kind, namespace: str | None, version: str, *, selector: str = "") -> AsyncIterator[tuple[str, Manifest]]:
        """Events of a kind from a resourceVersion on, until the stream ends or says nothing for too long; of some kinds the metadata alone.

        Raises:
            ApiError: 410 when the version is too old to go on from; 0 when the stream breaks, or does not begin.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version, "timeoutSeconds": str(_watch_seconds())}
        query |= {"labelSelector": selector} if selector else {}
        info = self._credentials.current()
        headers = info.as_http_headers() | ({"Accept": _METADATA.format(shape="PartialObjectMetadata")} if kind.metadata_only else {})
        url = _url(info.server, kind.path(namespace), query)
        try:
            async with self._connected().get(url, headers=headers, timeout=WATCH_TIMEOUT) as answer:
                if answer.status == 401:  # noqa: PLR2004 - HTTP
                    self._credentials.renew()
                if answer.status >= 400:  # noqa: PLR2004 - HTTP
                    raise _error(answer, await answer.read())
                with contextlib.suppress(aiohttp.SocketTimeoutError):
                    async for line in _lines(answer.content):
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            status = event["object"]
                            raise ApiError(status.get("code", 500), status.get("reason", ""), status.get("message", ""))
                        yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            # ValueError: half a line, where a stream was cut in the middle of an event.
            raise ApiError(_UNREACHABLE, "", str(error) or type(error).__name__) from None

    async def served(self, group: str, version: str) -> frozenset[str]:
        """Plurals that the server has in a group's version and lets people make; empty when it has no such group.

        A kind whose CRD is being deleted is none of them. Its objects can be patched still, and an apply even makes them anew, so that the
        server's clean-up would never see the last one go.
        """
        probe = Kind(group, version, "", "")
        try:
            answer = await self._request("GET", probe, probe.root)
        except ApiError as error:
            if error.status == 404:  # noqa: PLR2004 - HTTP
                return frozenset()
            raise
        return frozenset(resource["name"] for resource in answer["resources"] if "create" in resource["verbs"])

    async def _request(
        self,
        method: str,
        kind: Kind,
        path: str,
        *,
        body: Manifest | None = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
    ) -> Manifest:
        info = self._credentials.current()
        headers = info.as_http_headers() | {"Content-Type": content_type} | ({"Accept": accept} if accept else {})
        url = _url(info.server, path, query)
        data = json.dumps(body, separators=(",", ":")).encode() if body is not None else None
        status = _UNREACHABLE
        try:
            async with self._slots:
                if method != "GET" and not self._may_write():
                    raise NotLeading(f"{method} {path} was not sent")
                async with self._connected().request(method, url, data=data, headers=headers, timeout=TIMEOUT) as answer:
                    status = answer.status
                    content = await answer.read()
            if status == 401:  # noqa: PLR2004 - HTTP
                self._credentials.renew()
            if status >= 400:  # noqa: PLR2004 - HTTP
                raise _error(answer, content)
            return _parsed(content)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(_UNREACHABLE, "", str(error) or type(error).__name__) from None
        finally:
            self.observer(method, kind.plural, status)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._credentials.current().as_ssl_context(), limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                read_bufsize=2**20,
                headers={"User-Agent": names.FIELD_MANAGER},
                # Lists of more than 128 KiB would come compressed, which costs both sides more than a cluster's network does.
                skip_auto_headers={"Accept-Encoding"},
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=self._guarded(),
            )
        return self._session

    def _guarded(self) -> type[aiohttp.ClientRequest]:
        """Requests that are held back when there is a connection for them and the Lease is gone.

        A handshake takes long enough to lose a Lease in, or to be frozen in. A request class, since aiohttp's traces of connections cost
        an eighth of each request.
        """
        may_write = self._may_write

        class Guarded(aiohttp.ClientRequest):
            async def send(self, conn: Connection) -> aiohttp.ClientResponse:
                if self.method != "GET" and not may_write():
                    raise NotLeading(f"{self.method} {self.url.path} was not sent")
                return await super().send(conn)

        return Guarded


def _url(server: str, path: str, query: dict[str, str] | None) -> URL:
    """The address, quoted here once and not parsed and quoted again for each request."""
    return URL(f"{server}{quote(path)}" + (f"?{urlencode(query)}" if query else ""), encoded=True)


def _watch_seconds() -> int:
    """How long a watch is to last, so that not all of them end at once."""
    return random.randint(300, 600)  # noqa: S311 - spreads load, guards nothing


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length, as many at once as have come; what is left without an end is given, too, and is half a line."""
    left: list[bytes] = []
    async for chunk in stream.iter_any():
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join((*left, whole[0]))
            left.clear()
            for line in whole:
                yield line
        if rest:
            left.append(rest)
    if left:
        yield b"".join(left)


def _parsed(content: bytes) -> Manifest:
    parsed: Manifest = json.loads(content)
    return parsed


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait, no more than `LONGEST_WAIT`; None when it does not, or names a date."""
    text = headers.get("Retry-After", "")
    return min(float(text), LONGEST_WAIT) if text.isdecimal() else None


def _error(answer: aiohttp.ClientResponse, content: bytes) -> ApiError:
    """The server's own words: a Status, or plain text where nothing is served."""
    after = asked_to_wait(answer.headers)
    try:
        status = json.loads(content)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        # A busy API server answers 429 in plain text, and its Retry-After counts all the same.
        return ApiError(answer.status, "", content.decode(errors="replace")[:300].strip(), retry_after=after)
    return ApiError(answer.status, str(status.get("reason", "")), str(status.get("message", "")), retry_after=after)
