"""A real MCP server made with the official SDK, on this machine, and a Service by which the pods of a namespace reach it.

The agent's image has no SDK of MCP, and the server is to be killed for real: so it is a process of the test's own. It listens where this
machine is seen by the cluster's node, which is the kind network's bridge, or the network that both are in.
"""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from e2e import holdfast
from e2e.cluster import shell
from e2e.cluster.faults import Fault
from e2e.holdfast import ROOT
from e2e.tests.support import Manifest, Namespace, eventually

PROGRAM = ROOT / "tests/agent/mcp_program.py"
NAME, PORT = "maps", 8000


def own_address() -> str:
    """The address that this machine has towards the cluster's node."""
    (node, *_) = holdfast.get("nodes")["items"]
    (address, *_) = [each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.connect((address, 9))  # sends nothing: it only asks for the way
        return str(asked.getsockname()[0])


@dataclass
class McpServer:
    """A server that is started and killed at will; what was asked of it outlives that."""

    folder: Path
    address: str = field(default_factory=own_address)
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, on the same port as before, and wait until it answers."""
        if not self.port:
            with socket.create_server((self.address, 0)) as free:
                self.port = free.getsockname()[1]
        argv: shell.Words = [sys.executable, PROGRAM, str(self.port), self._ledger, self.address]
        with (self.folder / "mcp.log").open("ab") as log:
            self.process = process = shell.start(argv, log)

        def answers() -> bool:
            if process.poll() is not None:
                raise Fault("the MCP server ended at once", log=self.folder / "mcp.log")
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=5):
                return True
            return False

        eventually(answers, within=60, what="the MCP server answers")

    def kill(self) -> None:
        """End it at once."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def calls(self, tool: str) -> list[Manifest]:
        """What was asked of a tool."""
        lines = self._ledger.read_text().splitlines() if self._ledger.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["tool"] == tool]

    @property
    def _ledger(self) -> Path:
        return self.folder / "mcp-ledger.jsonl"

    def manifests(self) -> list[Manifest]:
        """The Service `maps`, which leads out of the cluster."""
        family = "IPv6" if ":" in self.address else "IPv4"
        port = {"name": "http", "port": PORT}
        return [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": {"ports": [port]}},
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": f"{NAME}-outside", "labels": {"kubernetes.io/service-name": NAME}},
                "addressType": family,
                "ports": [{"name": "http", "port": self.port}],
                "endpoints": [{"addresses": [self.address]}],
            },
        ]


@contextlib.contextmanager
def serving(namespace: Namespace, folder: Path) -> Iterator[McpServer]:
    """A server that is up, as `http://maps:8000/mcp` of a namespace; gone at the end."""
    server = McpServer(folder)
    server.start()
    try:
        namespace.apply(*server.manifests())
        yield server
    finally:
        server.kill()
