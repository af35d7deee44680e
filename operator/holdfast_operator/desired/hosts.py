"""Which hosts an Agent names, and how a NetworkPolicy can say them. Pure.

A NetworkPolicy knows pods, namespaces and addresses, never names. A Service's name tells its namespace; of any other name no address is
known here, so it becomes *everything outside private ranges* on its port. That keeps an agent away from the cluster, from neighbours and
from the cloud's metadata address, not from other hosts of the internet.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from holdfast_api.resolve import Resolved
from holdfast_operator.desired.meta import Manifest

PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
PRIVATE_6 = ("fc00::/7", "fe80::/10", "::1/128")

Host = tuple[str, int | None]
"""A name or address, and its port where one is known."""

_PORTS = {"http": 80, "https": 443, "postgres": 5432, "postgresql": 5432, "redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
_HTTPS = 443
_KEYWORDS = re.compile(r"\bhost=(\S+)(?:.*?\bport=(\d+))?")
_HOST_AND_PORT = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\]):(\d{1,5})$")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_SERVICE = re.compile(r"^(?:[^.]+\.)+?([^.]+)\.svc(?:\..+)?$")


def hosts_of(resolved: Resolved) -> list[Host]:
    """Hosts of the tools, of the Components that are made for this Agent, and of collectors of traces, each once, in a fixed order."""
    found: set[Host] = set()
    for tool in resolved.config.tools:
        for server in (tool.http, tool.mcp):
            if server and server.url:
                found.update(_in_text(server.url))
    if tracing := resolved.observability.tracing:
        found.update(host for url in (tracing.otlp, tracing.zipkin) if url for host in _in_url(url))
    for spec in resolved.components.values():
        named = {host for entry in spec.get("metadata", ()) for host in _in_text(entry.get("value", ""))}
        if not named and spec["type"].startswith("conversation.") and spec["type"] != "conversation.echo":
            named = {("", _HTTPS)}  # the provider's own address
        found |= named
    return sorted((host for host in found if host[0] not in _LOCAL), key=str)


def rules(hosts: Iterable[Host], namespace: str) -> list[Manifest]:
    """Egress rules that let through to these hosts, each once."""
    found: dict[str, Manifest] = {}
    for host, port in hosts:
        for rule in _rules(host, port, namespace):
            found[repr(rule)] = rule
    return list(found.values())


def _rules(host: str, port: int | None, namespace: str) -> list[Manifest]:
    on_port: Manifest = {"ports": [{"port": port, "protocol": "TCP"}]} if port else {}
    if address := _address(host):
        width = 32 if address.version == 4 else 128  # noqa: PLR2004 - IP versions
        return [{"to": [{"ipBlock": {"cidr": f"{address}/{width}"}}]} | on_port]
    if service := _SERVICE.match(host):
        # Not by port: a Service's port is not its pods'.
        return [{"to": [{"namespaceSelector": _named(service[1])}]}]
    if host and "." not in host:
        return [{"to": [{"namespaceSelector": _named(namespace)}]}]
    outside = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(PRIVATE)}},
        {"ipBlock": {"cidr": "::/0", "except": list(PRIVATE_6)}},
    ]
    # `redis.databases` is a Service to a resolver in the cluster, and `example.com` is none.
    within = [{"to": [{"namespaceSelector": _named(host.split(".")[1])}]}] if host.count(".") == 1 else []
    return [{"to": outside} | on_port, *within]


def _named(namespace: str) -> Mapping[str, Any]:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _in_text(text: str) -> Iterator[Host]:
    """Hosts in a URL, in `host:port,host:port`, or in a connection string of keywords."""
    if "://" in text:
        yield from _in_url(text)
    elif keywords := _KEYWORDS.search(text):
        yield keywords[1], int(keywords[2]) if keywords[2] else None
    else:
        for part in text.split(","):
            if match := _HOST_AND_PORT.match(part.strip()):
                yield match[1].strip("[]"), int(match[3])


def _in_url(text: str) -> Iterator[Host]:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return  # the field is refused or fails elsewhere; here it names no host
    if host:
        yield host, port
