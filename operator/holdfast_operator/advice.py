"""What the cluster says about a pod -> the reason a program can match and the sentence that tells a person the fix. Pure."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from holdfast_api import conditions, names
from holdfast_api.v1alpha1 import SecretKeyRef
from holdfast_operator.desired.secrets import token_names
from holdfast_operator.facts import Problem

_NO_SECRET = re.compile(r'secrets? "([^"]+)" not found')
_NO_SECRET_KEY = re.compile(r"couldn't find key (\S+) in Secret \S+?/(\S+)")
_NO_CONFIG_MAP = re.compile(r'configmaps? "([^"]+)" not found')
_NO_CONFIG_MAP_KEY = re.compile(r"couldn't find key (\S+) in ConfigMap \S+?/(\S+)")
_NO_SERVICE_ACCOUNT = re.compile(r'serviceaccount "([^"]+)" not found', re.IGNORECASE)


class Advice(NamedTuple):
    """Type of the condition it belongs to, reason, message."""

    condition: str
    reason: str
    message: str


def advise_pod(agent: str, problem: Problem, secrets: Sequence[SecretKeyRef]) -> Advice:
    """What to say about a pod that does not work."""
    where = f"container {problem.container}"
    logs = f"kubectl logs -l holdfast.dev/agent={agent} -c {problem.container} --previous"
    match problem.reason:
        case conditions.CONTAINER_CONFIG_ERROR:
            return _config_error(agent, problem, secrets)
        case conditions.SIDECAR_NOT_INJECTED:
            message = (
                "A pod was admitted without Dapr's sidecar; it is replaced, since it cannot gain one. If this goes on: is the pod "
                "dapr-sidecar-injector running, and does its webhook match this namespace?"
            )
        case conditions.IMAGE_PULL_FAILED:
            message = f"The image of {where} cannot be pulled: {problem.detail}. Check spec.image and spec.imagePullSecrets"
        case conditions.SIDECAR_CRASHING:
            message = f"Dapr's sidecar ends: {problem.detail}. See `{logs}`"
        case conditions.AGENT_CRASHING:
            message = f"The agent ends: {problem.detail}. See `{logs}`"
        case conditions.UNSCHEDULABLE:
            message = f"No node takes the pod: {problem.detail}"
        case conditions.POD_FAILED:
            message = f"The cluster ended a pod, and another one takes its place: {problem.detail}"
        case _:
            message = problem.detail
    return Advice(conditions.AVAILABLE, problem.reason, message)


def advise_refusal(message: str) -> Advice:
    """What to say when the API server refuses the Deployment's pods."""
    if match := _NO_SERVICE_ACCOUNT.search(message):
        text = f"spec.serviceAccountName: ServiceAccount {match[1]!r} does not exist: create it, or leave the field out"
        return Advice(conditions.REFERENCES_RESOLVED, conditions.SERVICE_ACCOUNT_NOT_FOUND, text)
    if "violates PodSecurity" in message:
        text = (
            f"Pod Security refuses the pods: {message}. If it is container daprd that has to drop capabilities, install Dapr with "
            "`--set dapr_sidecar_injector.sidecarDropALLCapabilities=true`"
        )
        return Advice(conditions.AVAILABLE, conditions.POD_SECURITY_REFUSED, text)
    return Advice(conditions.AVAILABLE, conditions.POD_REFUSED, f"The API server refuses the pods: {message}")


def missing_token_secret(agent: str, problem: Problem | None) -> bool:
    """Whether a pod waits for one of the token Secrets that the operator makes."""
    if problem is None or problem.reason != conditions.CONTAINER_CONFIG_ERROR:
        return False
    match = _NO_SECRET.search(problem.detail)
    return match is not None and match[1] in token_names(agent)


def waits_for(problem: Problem | None, secret: str, key: str) -> bool:
    """Whether a pod cannot start because this Secret, or this key of it, is not there."""
    if problem is None or problem.reason != conditions.CONTAINER_CONFIG_ERROR:
        return False
    if match := _NO_SECRET.search(problem.detail):
        return match[1] == secret
    match = _NO_SECRET_KEY.search(problem.detail)
    return match is not None and (match[1], match[2].rstrip(".,")) == (key, secret)


def _config_error(agent: str, problem: Problem, secrets: Sequence[SecretKeyRef]) -> Advice:
    detail = problem.detail
    if match := _NO_SECRET.search(detail):
        return _secret_missing(match[1], secrets)
    if match := _NO_SECRET_KEY.search(detail):
        return _secret_key_missing(agent, match[2].rstrip(".,"), match[1])
    if match := _NO_CONFIG_MAP.search(detail):
        text = f"ConfigMap {match[1]!r} does not exist: create it in the Agent's namespace"
        return Advice(conditions.REFERENCES_RESOLVED, conditions.CONFIG_MAP_NOT_FOUND, text)
    if match := _NO_CONFIG_MAP_KEY.search(detail):
        text = f"ConfigMap {match[2]!r} has no key {match[1]!r}: add it"
        return Advice(conditions.REFERENCES_RESOLVED, conditions.CONFIG_MAP_KEY_NOT_FOUND, text)
    return Advice(conditions.AVAILABLE, conditions.CONTAINER_CONFIG_ERROR, f"Container {problem.container} cannot be made: {detail}")


def _secret_missing(name: str, secrets: Sequence[SecretKeyRef]) -> Advice:
    keys = [ref.key for ref in secrets if ref.name == name]
    literals = " ".join(f"--from-literal={key}=VALUE" for key in keys) or "--from-literal=KEY=VALUE"
    of_keys = f" (key {', '.join(repr(key) for key in keys)})" if keys else ""
    text = f"Secret {name!r}{of_keys} does not exist: `kubectl create secret generic {name} {literals}` in the Agent's namespace"
    return Advice(conditions.REFERENCES_RESOLVED, conditions.SECRET_NOT_FOUND, text)


def _secret_key_missing(agent: str, name: str, key: str) -> Advice:
    if name in token_names(agent):
        text = f"Secret {name!r} is not Holdfast's and has no key {names.TOKEN_KEY!r}: add it, or delete the Secret and it is made anew"
    else:
        patch = f'kubectl patch secret {name} -p \'{{"stringData":{{"{key}":"VALUE"}}}}\''
        text = f"Secret {name!r} has no key {key!r}: `{patch}` in the Agent's namespace"
    return Advice(conditions.REFERENCES_RESOLVED, conditions.SECRET_KEY_NOT_FOUND, text)
