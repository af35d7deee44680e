"""What the administrator can turn, from environment variables; the chart sets them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import ValidationError

from holdfast_api.defaults import AgentDefaults
from holdfast_api.manifest import explain
from holdfast_api.v1alpha1.types import seconds

_YES, _NO = {"true", "1", "yes"}, {"false", "0", "no", ""}
_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("json", "text")


class SettingError(Exception):
    """A variable cannot be used; the message names it, its value and the fix."""


@dataclass(frozen=True)
class Settings:
    """Everything that is decided before the operator starts.

    Attributes:
        namespaces: namespaces to watch; empty means the whole cluster.
        defaults: what an Agent that says nothing gets.
        http_port: port of /healthz, /readyz and /metrics.
        leader_election: hold a Lease while working, so that replicas can stand by.
        lease_name: name of that Lease.
        lease_seconds: how long a Lease that is not renewed keeps others waiting.
        pod_name: identity in the Lease.
        pod_namespace: namespace of the Lease.
        log_level: debug, info, warning or error.
        log_format: json or text.
        dapr_namespace: where Dapr is meant to be installed; named in messages, and let through by NetworkPolicies.
        resync_seconds: how often everything is listed and compared, a net under lost events.
        workers: how many Agents are reconciled at a time.
        watch_secrets: roll pods when a Secret that they carry changes; needs the right to read Secrets.
    """

    namespaces: tuple[str, ...] = ()
    defaults: AgentDefaults = field(default_factory=AgentDefaults)
    http_port: int = 8080
    leader_election: bool = False
    lease_name: str = "holdfast-operator"
    lease_seconds: float = 10.0
    pod_name: str = "holdfast-operator"
    pod_namespace: str = "default"
    log_level: str = "info"
    log_format: str = "json"
    dapr_namespace: str = "dapr-system"
    resync_seconds: float = 600.0
    workers: int = 16
    watch_secrets: bool = False


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        SettingError: a variable has a value that cannot be used.
    """
    plain = Settings()
    return Settings(
        namespaces=tuple(dict.fromkeys(part.strip() for part in environ.get("HOLDFAST_NAMESPACES", "").split(",") if part.strip())),
        defaults=_defaults(environ.get("HOLDFAST_DEFAULTS_FILE")),
        http_port=_number(environ, "HOLDFAST_HTTP_PORT", plain.http_port, most=65535),
        leader_election=_flag(environ, "HOLDFAST_LEADER_ELECTION"),
        lease_name=environ.get("HOLDFAST_LEASE_NAME") or plain.lease_name,
        lease_seconds=_duration(environ, "HOLDFAST_LEASE_DURATION", plain.lease_seconds),
        pod_name=environ.get("HOLDFAST_POD_NAME") or environ.get("HOSTNAME") or plain.pod_name,
        pod_namespace=environ.get("HOLDFAST_POD_NAMESPACE") or plain.pod_namespace,
        log_level=_choice(environ, "HOLDFAST_LOG_LEVEL", plain.log_level, _LEVELS),
        log_format=_choice(environ, "HOLDFAST_LOG_FORMAT", plain.log_format, _FORMATS),
        dapr_namespace=environ.get("HOLDFAST_DAPR_NAMESPACE") or plain.dapr_namespace,
        resync_seconds=_duration(environ, "HOLDFAST_RESYNC", plain.resync_seconds),
        workers=_number(environ, "HOLDFAST_WORKERS", plain.workers, most=256),
        watch_secrets=_flag(environ, "HOLDFAST_WATCH_SECRETS"),
    )


def _defaults(path: str | None) -> AgentDefaults:
    if not path:
        return AgentDefaults()
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        return AgentDefaults.model_validate(data)
    except OSError as error:
        raise SettingError(
            f"HOLDFAST_DEFAULTS_FILE={path}: cannot be read ({error.strerror}): mount the file, or unset the variable"
        ) from None
    except yaml.YAMLError as error:
        raise SettingError(f"HOLDFAST_DEFAULTS_FILE={path}: is not YAML: {error}") from None
    except ValidationError as error:
        raise SettingError(f"HOLDFAST_DEFAULTS_FILE={path}: {explain(error)}") from None


def _number(environ: Mapping[str, str], name: str, default: int, *, most: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise SettingError(f"{name}={text}: give a whole number from 1 to {most}")
    return int(text)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").lower()
    if text not in _YES | _NO:
        raise SettingError(f"{name}={text}: give true or false")
    return text in _YES


def _choice(environ: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    text = (environ.get(name) or default).lower()
    if text not in choices:
        raise SettingError(f"{name}={text}: give one of {', '.join(choices)}")
    return text


def _duration(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        return seconds(text)
    except ValueError as error:
        raise SettingError(f"{name}={text}: {error}") from None
