"""A tool that is an HTTP request.

Every call carries its key as `Idempotency-Key`: the loop repeats a call whose answer it never saw, and a server that knows the key
then does the work once. Nothing of an answer is trusted: its length, its end and where it redirects to are all bounded.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from holdfast_agent import scope
from holdfast_agent.outcome import Failure
from holdfast_agent.tools import reply
from holdfast_agent.tools.arguments import problem, validator
from holdfast_agent.tools.redaction import without
from holdfast_agent.tools.spec import MAX_RESULT_BYTES, ToolboxError, ToolResult, ToolSpec
from holdfast_agent.tools.url import UnusableArgument, UrlTemplate
from holdfast_api.config import HttpToolConfig, McpToolConfig, ToolConfig

IDEMPOTENCY_KEY = "Idempotency-Key"
MAX_REDIRECTS = 5
_BODYLESS = frozenset({"GET", "DELETE"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SEE_OTHER = 303
_MOVED = frozenset({301, 302})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class HttpTool:
    """One HTTP tool; see `open`."""

    def __init__(
        self, tool: ToolConfig, config: HttpToolConfig, headers: dict[str, str], session: aiohttp.ClientSession, secrets: Sequence[str] = ()
    ) -> None:
        """Check the configuration.

        Args:
            tool: the tool.
            config: its `http` part.
            headers: from `headers`, with the secret ones filled in.
            session: shared by all tools; closed by its owner.
            secrets: parts of `headers` that nobody else is told, should the server send them back.

        Raises:
            ToolboxError: the URL or the schema cannot be used.
        """
        schema = config.input_schema
        known = set(schema.get("properties", {}))
        try:
            self._template = UrlTemplate.parse(config.url, known)
            # The model must see that the URL cannot be built without these.
            required = sorted({*schema.get("required", ()), *self._template.names})
            schema = {"type": "object", "properties": {}} | schema | ({"required": required} if required else {})
            self._check = validator(schema)
        except ValueError as error:
            raise ToolboxError(f"tool {tool.name!r}: http.{error}") from None
        self.spec = ToolSpec(tool.name, tool.description or "", schema)
        self._method, self._headers, self._session, self._secrets = config.method, headers, session, secrets
        self._bodyless = config.method in _BODYLESS
        self._timeout = self.longest = tool.timeout_seconds

    async def check(self, arguments: Mapping[str, Any]) -> Failure | None:
        """Check the arguments; see `Tool.check`."""
        url = self._url(arguments)
        return url if isinstance(url, Failure) else None

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> ToolResult | Failure:
        """Make the request; see `Tool.call`."""
        return without(await self._call(arguments, key=key), self._secrets)

    async def _call(self, arguments: Mapping[str, Any], *, key: str) -> ToolResult | Failure:
        url = self._url(arguments)
        if isinstance(url, Failure):
            return url
        body = None if self._bodyless else {name: value for name, value in arguments.items() if name not in self._template.names}
        headers = self._headers | {IDEMPOTENCY_KEY: quote(key, safe="/-_.:~")} | scope.headers()
        try:
            async with asyncio.timeout(self._timeout):
                return await self._follow(self._method, URL(url, encoded=True), headers, body)
        except TimeoutError:
            message = f"no complete answer within {self._timeout:g} s"
            return Failure("transient", message, reach="lost", public=message)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            message = f"cannot reach {URL(url, encoded=True).host}: {_reason(error)}"
            return Failure("transient", message, reach="lost", public=f"no connection: {type(error).__name__}")

    def _url(self, arguments: Mapping[str, Any]) -> str | Failure:
        if wrong := problem(self._check, arguments):
            return Failure("permanent", f"invalid arguments: {wrong}", reach="unsent")
        try:
            return self._template.fill(arguments, rest_in_query=self._bodyless)
        except UnusableArgument as error:
            return Failure("permanent", f"invalid arguments: {error}", reach="unsent")

    async def _follow(self, method: str, url: URL, headers: dict[str, str], body: dict[str, Any] | None) -> ToolResult | Failure:
        handed_on = False
        for hop in range(MAX_REDIRECTS + 1):
            try:
                async with self._session.request(method, url, headers=headers, json=body, allow_redirects=False) as response:
                    target = response.headers.get("Location")
                    if response.status not in _REDIRECTS or not target:
                        result = await _read(response)
                        return replace(result, reach="lost") if handed_on and isinstance(result, Failure) else result
            except aiohttp.ClientConnectorError as error:
                # Whoever redirected may have done the work before.
                message, public = f"cannot reach {url.host}: {_reason(error)}", f"no connection: {type(error).__name__}"
                return Failure("transient", message, reach="lost" if hop else "unsent", public=public)
            following = url.join(URL(target))
            if following.scheme not in {"http", "https"}:
                return _astray(f"redirected to {following.scheme or 'nothing'}://, which is not followed")
            if not _at_home(url, following):
                return _astray(f"redirected to {following.origin()}, which is another server: if it is meant, set url to where it leads")
            if response.status in _MOVED and method not in {"GET", "POST"}:
                # Servers and clients disagree on the method that follows; with the wrong one, something else would happen.
                return _astray(f"{method} was redirected to {following} with {response.status}: set url to where it leads")
            if response.status == _SEE_OTHER or (response.status in _MOVED and method == "POST"):
                # What is fetched now is what the call came to; its failure is not the call's.
                handed_on, method, body = handed_on or method != "GET", "GET", None
            url = following
        return _astray(f"more than {MAX_REDIRECTS} redirects")


def _at_home(url: URL, following: URL) -> bool:
    """Whether a redirect stays with the server that url names, or goes on to TLS there.

    Whom else it names, a server must not choose: what only this pod can reach would be open to it, and its headers would be told.
    """
    upgraded = url.scheme == "http" and following.scheme == "https" and url.is_default_port() and following.is_default_port()
    return following.origin() == url.origin() or (upgraded and following.host == url.host)


def _astray(message: str) -> Failure:
    """Redirected, and not followed. Whoever redirected may have done the work before."""
    return Failure("permanent", message, reach="lost")


async def _read(response: aiohttp.ClientResponse) -> ToolResult | Failure:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_RESULT_BYTES:
            # The rest is not wanted, and a connection with a rest in it must not be used again.
            response.close()
            return reply.unusable(response.status, f"HTTP {response.status} with more than {MAX_RESULT_BYTES // 1024} KiB; ask for less")
    return reply.meaning(response.status, response.headers, bytes(body), charset=response.charset, now=datetime.now(UTC))


def secret_headers(tool: ToolConfig, config: HttpToolConfig | McpToolConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """All headers of the tool but the key.

    Raises:
        ToolboxError: a variable is missing, or a value cannot be sent.
    """
    headers = dict(config.headers)
    for source in config.headers_from:
        value = environ.get(source.env, "").strip()
        if not value:
            raise ToolboxError(
                f"tool {tool.name!r}: header {source.name} needs the environment variable {source.env}, which is not set: "
                "check the Secret and its key that headersFrom names"
            )
        headers[source.name] = source.prefix + value
    for name, value in headers.items():
        if name.lower() == IDEMPOTENCY_KEY.lower():
            raise ToolboxError(f"tool {tool.name!r}: header {name} is sent with every call by itself: remove it")
        if _CONTROL.search(value):
            raise ToolboxError(f"tool {tool.name!r}: header {name} has a line break or control character in it: remove it from the value")
    return headers


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
