"""A pod that asks an Agent for its runs again and again, with one token after the other, and says what came of it.

It is within the cluster, so it comes through the Service as callers do, and no port-forward ends with a pod.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from e2e.tests.support import Manifest, Namespace, eventually

NAME = "prober"
RUNNING = 5
# One line a request: the token's name, and the status or what went wrong. A connection each, as from many callers.
PROGRAM = """
import os, sys, time, urllib.error, urllib.request
url, *names = sys.argv[1:]
while True:
    for name in names:
        sent = urllib.request.Request(url, headers={"Authorization": "Bearer " + os.environ[name]})
        try:
            with urllib.request.urlopen(sent, timeout=30) as answer:
                answer.read()
                said = str(answer.status)
        except urllib.error.HTTPError as error:
            said = str(error.code)
        except OSError as error:
            said = repr(error).replace(" ", "_")
        print(name, said, flush=True)
    time.sleep(0.05)
"""


@dataclass(frozen=True)
class Prober:
    """A prober at work."""

    namespace: Namespace

    def heard(self) -> list[tuple[str, str]]:
        """All answers so far, in order: the token's name and what was said to it."""
        lines = self.namespace.run("logs", NAME).splitlines()
        return [(name, said) for name, _, said in (line.partition(" ") for line in lines)]

    def settled(self, name: str, answer: str) -> int:
        """Wait until a token gets this answer several times running; returns a place in `heard` behind which no other may come."""

        def place() -> int | None:
            heard = self.heard()
            return len(heard) if [said for one, said in heard if one == name][-RUNNING:] == [answer] * RUNNING else None

        return eventually(place, within=60, what=f"{name} is answered with {answer}")


@contextlib.contextmanager
def probing(namespace: Namespace, image: str, url: str, tokens: Mapping[str, str]) -> Iterator[Prober]:
    """A prober of `url` with these tokens (name of a variable to value), which has had its first answer; gone at the end."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME}, "stringData": dict(tokens)}
    namespace.apply(secret, _pod(image, url, list(tokens)))
    try:
        prober = Prober(namespace)
        namespace.run("wait", "--for=condition=Ready", f"pod/{NAME}", "--timeout=60s", timeout=70)
        eventually(prober.heard, within=60, what="the prober has an answer")
        yield prober
    finally:
        namespace.run("delete", "pod,secret", NAME, "--grace-period=0", "--force", "--ignore-not-found")


def _pod(image: str, url: str, names: list[str]) -> Manifest:
    container = {
        "name": NAME,
        "image": image,
        "command": ["python3", "-c", PROGRAM, url, *names],
        "envFrom": [{"secretRef": {"name": NAME}}],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME}, "spec": spec}
