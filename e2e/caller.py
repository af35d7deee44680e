"""Calling an agent in a cluster, and reading what its scripted model was asked: shared by the demo and the cluster tests."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from e2e import holdfast
from e2e.cluster.faults import Fault

View = dict[str, Any]
T = TypeVar("T")
APP_PORT, MODEL_PORT = 8001, 8080
PLANNER, MODEL, SLOW_TOOL = "trip-planner", "scripted-model", "hold_seat"
"""The example that demo and tests use: an agent, its scripted model, and the one of its tools that takes twelve seconds."""
UNAVAILABLE = 503


def request(url: str, *, token: str = "", body: View | None = None, timeout: float = 15) -> View:
    """One HTTP request, JSON in and out.

    Raises:
        urllib.error.HTTPError: the status is 400 or more.
        OSError: nobody answered.
    """
    found: View = json.loads(_sent(url, token, json.dumps(body).encode() if body is not None else None, timeout))
    return found


def _sent(url: str, token: str, body: bytes | None, timeout: float) -> str:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    sent = urllib.request.Request(url, body, headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sent, timeout=timeout) as answer:
        return str(answer.read().decode())


@dataclass
class Caller:
    """Calls one agent's API with its token through kubectl port-forward, which is made anew when the pod behind it goes."""

    stack: ExitStack
    namespace: str
    agent: str
    token: str = field(init=False)
    base: str = field(default="", init=False)

    def __post_init__(self) -> None:
        """Read the token, as a user does."""
        self.token = holdfast.token(self.namespace, self.agent)

    def attempt(self, path: str, body: View | None = None) -> View | None:
        """One request; None when nobody answers or the answer is 503 (not connected, stopping)."""
        return self._tried(lambda base: request(base + path, token=self.token, body=body))

    def metrics(self) -> str | None:
        """The agent's metrics as text; None as for `attempt`."""
        return self._tried(lambda base: _sent(f"{base}/metrics", self.token, None, 15))

    def _tried(self, ask: Callable[[str], T]) -> T | None:
        try:
            if not self.base:
                self.base = self.stack.enter_context(holdfast.port_forward(self.namespace, f"service/{self.agent}", APP_PORT))
            return ask(self.base)
        except urllib.error.HTTPError as error:
            if error.code != UNAVAILABLE:
                raise
            return None
        except (OSError, Fault):
            self.base = ""
            return None


def ledger(namespace: str) -> list[View]:
    """All calls that the scripted model of that namespace and its tools got, read through the API server."""
    path = f"/api/v1/namespaces/{namespace}/services/{MODEL}:{MODEL_PORT}/proxy/ledger"
    found: list[View] = json.loads(holdfast.kubectl("get", "--raw", path))["calls"]
    return found
