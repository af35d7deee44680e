"""The API of external metrics, for one metric of one agent: what Prometheus, a recording rule and an adapter come to (docs/scaling.md).

kube-apiserver takes it in by an APIService, as it does any adapter's, and the autoscaler asks it there. It is served by the test's own
process, on the address at which the cluster's node sees this machine.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from e2e.cluster import shell
from e2e.holdfast import kubectl
from e2e.tests.mcp_server import own_address
from e2e.tests.support import Manifest, Namespace, eventually

GROUP, VERSION, SERVICE = "external.metrics.k8s.io", "v1beta1", "external-metrics"
API = f"/apis/{GROUP}/{VERSION}"
AVAILABLE = 'jsonpath={.status.conditions[?(@.status=="True")].type}'
RESOURCES = [{"name": "externalmetrics", "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}]


def discovery() -> Manifest:
    """What the API has, as kube-apiserver asks before it sends anybody here."""
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}", "resources": RESOURCES}


def values(metric: str, *found: float) -> Manifest:
    """The answer to who asks for a metric; none where there is no such series."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    items = [{"metricName": metric, "metricLabels": {}, "timestamp": now, "value": f"{value:g}"} for value in found]
    return {"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": items}


def handler(namespace: str, metric: str, agent: str, read: Callable[[], float | None]) -> type[BaseHTTPRequestHandler]:
    """Serve one series: `metric` with the label `agent` in `namespace`, as `read` tells it; None where nobody tells it now."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == API:
                return self.answer(200, discovery())
            if url.path != f"{API}/namespaces/{namespace}/{metric}":
                return self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})
            asked = parse_qs(url.query).get("labelSelector") == [f"agent={agent}"]
            value = read() if asked else None
            return self.answer(200, values(metric, *([] if value is None else [value])))

        def answer(self, status: int, document: Manifest) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:  # noqa: ANN401 - as the base class has it
            """Every look of the API server would be a line."""

    return Handler


def manifests(namespace: str, address: str, port: int) -> list[Manifest]:
    """The APIService, and the Service that leads out of the cluster."""
    service = {"name": SERVICE, "namespace": namespace, "port": 443}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE}, "spec": {"ports": [{"name": "https", "port": 443}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": SERVICE, "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv6" if ":" in address else "IPv4",
            "ports": [{"name": "https", "port": port}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "service": service,
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]


@contextmanager
def served(namespace: Namespace, metric: str, agent: str, read: Callable[[], float | None], folder: Path) -> Iterator[None]:
    """Serve the metric for as long as it is asked for; afterwards the cluster is without that API again."""
    address = own_address()
    server = ThreadingHTTPServer((address, 0), handler(namespace.name, metric, agent, read))
    server.socket = certified(folder).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        namespace.apply(*manifests(namespace.name, address, server.server_port))
        eventually(
            lambda: bool(kubectl("get", "apiservice", f"{VERSION}.{GROUP}", "-o", AVAILABLE)), within=60, what="the API is available"
        )
        yield
    finally:
        # An API that does not answer would keep every namespace from being deleted.
        kubectl("delete", "apiservice", f"{VERSION}.{GROUP}", "--ignore-not-found")
        namespace.run("delete", "service,endpointslice", SERVICE, "--ignore-not-found")
        server.shutdown()
        server.server_close()


def certified(folder: Path) -> ssl.SSLContext:
    """A certificate that nobody has signed, for a day."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    argv: shell.Words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=external-metrics"]
    shell.run([*argv, "-keyout", key, "-out", certificate], folder / "openssl.log", timeout=60, fix="apt-get install openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
