# ruff: noqa: INP001, T201 - a script that runs in the pod of `helm test` and prints what it finds
"""`helm test`: is the API served, are its rules in force, and does the operator answer for an Agent?

Applies a broken Agent, which must be refused, and a suspended one (no pods), which the operator must look after. Standard library only.

What an administrator forbids, or a default that names what this namespace lacks, is no fault of the installation: it is told and passes.
"""

import json
import os
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

IDENTITY = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATIENCE_SECONDS = 60
# Why an Agent waits with the installation being well: the chart's `agents` and what this namespace has do not make a whole Agent.
OF_THE_NAMESPACE = {"ComponentNotFound", "ComponentUnfit", "ModelMissing", "StateMissing"}
NAMESPACE = sys.argv[1]


def call(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """One request to the API server as this pod's ServiceAccount.

    Returns:
        The status code and the answer, which is a Status object when the request failed.
    """
    url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}/apis/holdfast.dev/v1alpha1/{path}"
    token = (IDENTITY / "token").read_text()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers, method=method)
    context = ssl.create_default_context(cafile=str(IDENTITY / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def agent(name: str, **spec: object) -> dict[str, Any]:
    """An Agent that asks for no pods, no provider and no store outside the sidecar."""
    common = {"suspend": True, "model": {"provider": "echo"}, "state": {"type": "state.in-memory"}}
    return {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": {"name": name}, "spec": common | spec}


def create(name: str) -> str:
    """Apply the Agent; where `policy.allow` refuses what it names, one that names nothing, which every list lets in.

    Returns:
        An empty text when it was taken, else why not.
    """
    path = f"namespaces/{NAMESPACE}/agents"
    code, answer = call("POST", path, agent(name))
    if code == HTTPStatus.FORBIDDEN and "policy.allow." in str(answer.get("message")):
        print(f"ok: the policy is in force, and goes on with an Agent of defaults alone: {answer['message']}")
        code, answer = call("POST", path, agent(name) | {"spec": {"suspend": True}})
    return str(answer.get("message")) if code >= HTTPStatus.BAD_REQUEST else ""


def looked_after(name: str) -> tuple[bool, str]:
    """Poll the Agent's status until the operator has judged it.

    Returns:
        Whether all is well, and what is to be told.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    trouble = "no answer"
    while time.monotonic() < deadline:
        code, found = call("GET", f"namespaces/{NAMESPACE}/agents/{name}")
        status = found.get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", [])}
        ready = conditions.get("Ready", {})
        if code == HTTPStatus.OK and status.get("observedGeneration") == found["metadata"]["generation"]:
            if ready.get("status") == "True":
                return True, "the operator looked after a new Agent and it is Ready"
            if ready.get("reason") in OF_THE_NAMESPACE:
                return True, f"the operator looked after a new Agent, which waits for its namespace: {ready['reason']}: {ready['message']}"
            trouble = "; ".join(f"{each['reason']}: {each['message']}" for each in conditions.values() if each["status"] != "True")
        else:
            trouble = "the operator has not looked at it: see the logs of the operator's Deployment"
        time.sleep(1)
    return False, f"not Ready after {PATIENCE_SECONDS} s: {trouble}"


def main() -> int:
    """Returns 0 when all is well."""
    name = f"holdfast-test-{secrets.token_hex(3)}"
    agents = f"namespaces/{NAMESPACE}/agents"
    code, answer = call("POST", f"{agents}?dryRun=All", agent(name, model={"provider": "openai", "component": "both"}))
    if code != HTTPStatus.UNPROCESSABLE_ENTITY:
        print(f"FAILED: an Agent with both provider and component was answered with {code} and not refused: {answer.get('message', '')}")
        return 1
    print("ok: the API server refuses a broken Agent")
    if trouble := create(name):
        print(f"FAILED: {trouble}")
        return 1
    try:
        well, told = looked_after(name)
    finally:
        call("DELETE", f"{agents}/{name}")
    print(f"{'ok' if well else 'FAILED'}: {told}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
