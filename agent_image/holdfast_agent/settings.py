"""What the program is told from outside: the resolved AgentConfig in a file, the rest in the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from pydantic import ValidationError

from holdfast_agent.audit import Auditor
from holdfast_agent.logs import LEVELS
from holdfast_api import names
from holdfast_api.config import AgentConfig

_IN_A_POD: Final = "KUBERNETES_SERVICE_HOST"
"""Every pod has it."""
_LINGER_SECONDS: Final = 5.0
"""Nodes and ingress controllers hear a second or more after the pod itself that it is to end; docs/decisions.md says what was measured."""


class SettingsError(Exception):
    """The program cannot start like this; the message says what to mend."""


@dataclass(frozen=True)
class Settings:
    """How to serve one agent.

    Attributes:
        token: what callers must send; None when everybody may call.
        sidecar_token: what the sidecar sends, whoever may call.
        former_token: what callers may send as well, while the token is being replaced.
        host: address to listen on; None for all, IPv4 and IPv6.
        pod: names this process among the agent's replicas.
        auditor: who this agent is in the records of its runs, and with which key it signs them.
        linger_seconds: how long it goes on as before once it is asked to end, since callers are still sent to it.
    """

    config: AgentConfig
    token: str | None
    host: str | None
    port: int
    log_level: str
    pod: str
    auditor: Auditor = field(default_factory=Auditor)
    sidecar_token: str | None = field(default=None, repr=False)
    former_token: str | None = field(default=None, repr=False)
    linger_seconds: float = 0.0

    @classmethod
    def read(cls, environ: Mapping[str, str], *, host: str | None, port: int | None) -> Self:
        """Read and check everything before anything starts.

        Raises:
            SettingsError: something is missing or wrong.
        """
        path = Path(environ.get(names.ENV_CONFIG) or names.CONFIG_PATH)
        config = _config(path)
        token = environ.get(names.ENV_APP_TOKEN) or None
        if config.auth == "token" and token is None:
            raise SettingsError(
                f"{names.ENV_APP_TOKEN} is not set, so no caller could be admitted: set it (the operator takes it from Secret "
                f"{names.app_token_secret(config.name)}), or set spec.access.auth to none"
            )
        level = (environ.get(names.ENV_LOG_LEVEL) or "info").lower()
        if level not in LEVELS:
            raise SettingsError(f"{names.ENV_LOG_LEVEL} is {level!r}: use one of {', '.join(LEVELS)}")
        return cls(
            config=config,
            token=token if config.auth == "token" else None,
            host=host,
            port=names.APP_PORT if port is None else port,
            log_level=level,
            pod=environ.get(names.ENV_POD) or f"{os.uname().nodename}-{os.getpid()}",
            auditor=Auditor(environ.get(names.ENV_SPIFFE_ID, ""), environ.get(names.ENV_AUDIT_KEY) or None),
            sidecar_token=token,
            former_token=environ.get(names.ENV_FORMER_TOKEN) or None,
            linger_seconds=_LINGER_SECONDS if _IN_A_POD in environ else 0.0,
        )


def _config(path: Path) -> AgentConfig:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"the configuration {str(path)!r} cannot be read ({error.strerror}): set {names.ENV_CONFIG} to a resolved AgentConfig"
        ) from error
    try:
        return AgentConfig.parse(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise SettingsError(f"the configuration {str(path)!r} is not an AgentConfig: {where}: {first['msg']}") from error
