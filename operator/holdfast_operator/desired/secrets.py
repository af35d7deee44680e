"""Secrets `a-dapr-token`, `a-app-token` and `a-audit`: the sidecar's key, the callers' bearer, and what signs the records of runs.

They must differ, and Dapr's injector fixes the key name `token` for the first two, hence a Secret for each. They are created once and
never changed or read. One that is there already is used as it is, so whoever wants a token of their own makes the Secret first.
"""

from holdfast_api import names
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import Manifest, child
from holdfast_operator.kinds import SECRET


def token_names(agent: str) -> tuple[str, str, str]:
    """Names of the three Secrets."""
    return names.dapr_token_secret(agent), names.app_token_secret(agent), names.audit_secret(agent)


def token_secret(agent: Agent, name: str, token: str) -> Manifest:
    """One token Secret."""
    return child(SECRET, agent, name) | {"type": "Opaque", "stringData": {names.TOKEN_KEY: token}}
