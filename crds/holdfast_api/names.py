"""Names that more than one part relies on: groups, labels, ports, files, environment variables, and how children are called.

One fact, one place. What is written here reaches users' clusters, so changing a value is a change of the API.
"""

import hashlib
import json
from typing import Any, Final

GROUP: Final = "holdfast.dev"
VERSION: Final = "v1alpha1"
GROUP_VERSION: Final = "holdfast.dev/v1alpha1"
KIND: Final = "Agent"
PLURAL: Final = "agents"

FIELD_MANAGER: Final = "holdfast-operator"
MANAGED_BY: Final = "holdfast-operator"
LABEL_AGENT: Final = "holdfast.dev/agent"
LABEL_REVISION: Final = "holdfast.dev/revision"
ANNOTATION_REVISION: Final = "holdfast.dev/revision"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"

APP_PORT: Final = 8001
CONTAINER: Final = "agent"
CONFIG_VOLUME: Final = "holdfast-config"
TMP_VOLUME: Final = "holdfast-tmp"
CONFIG_DIR: Final = "/etc/holdfast"
CONFIG_KEY: Final = "agent.json"
CONFIG_PATH: Final = "/etc/holdfast/agent.json"
ENV_CONFIG: Final = "HOLDFAST_CONFIG"
ENV_POD: Final = "HOLDFAST_POD"
ENV_LOG_LEVEL: Final = "HOLDFAST_LOG_LEVEL"
ENV_DAPR_TOKEN: Final = "DAPR_API_TOKEN"  # noqa: S105 - the name of a variable
ENV_APP_TOKEN: Final = "APP_API_TOKEN"  # noqa: S105 - the name of a variable
ENV_FORMER_TOKEN: Final = "HOLDFAST_FORMER_TOKEN"  # noqa: S105 - the name of a variable
ENV_AUDIT_KEY: Final = "HOLDFAST_AUDIT_KEY"
ENV_SPIFFE_ID: Final = "HOLDFAST_SPIFFE_ID"
TOKEN_KEY: Final = "token"  # noqa: S105 - Dapr's injector fixes this key
FORMER_TOKEN_KEY: Final = "previous"  # noqa: S105 - the name of a key
TRUST_DOMAIN: Final = "public"  # of the agents' sidecars; their Configuration says so too

AGENT_NAME: Final = "[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
TEAM_TOOL: Final = "ask_teammate"
TEAM_VOLUME: Final = "holdfast-team"
MCP_SEPARATOR: Final = "__"
"""Between the name of an item of `tools` and the name that a tool has on its MCP server."""
MCP_ITEM_CHARACTERS: Final = 40
"""Longest name of such an item: providers take 64, and there has to be room for the rest."""
TEAM_DIR: Final = "/etc/holdfast-team"
TEAM_KEY: Final = "members.json"
TEAM_PATH: Final = "/etc/holdfast-team/members.json"
ENV_TEAM: Final = "HOLDFAST_TEAM"
LABEL_TEAM: Final = "holdfast.dev/team"

MAX_CONFIG_BYTES: Final = 512 * 1024


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """JSON text that is equal for equal values: sorted keys, no spaces."""
    return _CANONICAL.encode(value)


def digest(value: Any, length: int = 12) -> str:  # noqa: ANN401 - any JSON value
    """First `length` hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def dapr_token_secret(agent: str) -> str:
    """Secret whose key `token` opens the sidecar's API to the agent's container."""
    return f"{agent}-dapr-token"


def app_token_secret(agent: str) -> str:
    """Secret whose key `token` callers of the agent send."""
    return f"{agent}-app-token"


def audit_secret(agent: str) -> str:
    """Secret whose key `token` signs the records of runs."""
    return f"{agent}-audit"


def spiffe_id(agent: str, namespace: str) -> str:
    """Identity that Dapr's Sentry gives to the agent's sidecar."""
    return f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/{agent}"


def config_map(agent: str, revision: str) -> str:
    """The immutable ConfigMap that holds one revision of the AgentConfig."""
    return f"{agent}-config-{revision}"


def team_config_map(team: str) -> str:
    """The ConfigMap with the members of a team."""
    return f"holdfast-team-{team}"


def state_component(agent: str) -> str:
    """The Component made for `spec.state.type` or the operator's default store."""
    return f"{agent}-state"


def pubsub_component(agent: str) -> str:
    """The Component made for `spec.pubsub.type` or the operator's default broker."""
    return f"{agent}-pubsub"


def llm_component(agent: str, spec: dict[str, Any]) -> str:
    """The conversation Component, named after its content so that a superseded one can stay for the runs pinned to it."""
    return f"{agent}-llm-{digest(spec, 8)}"


def secret_env(name: str, key: str) -> str:
    """Environment variable that carries one key of one Secret, in the agent's container or in daprd's."""
    readable = "".join(c if c.isalnum() else "_" for c in f"{name}_{key}").upper()[:80]
    return f"HOLDFAST_SECRET_{readable}_{digest([name, key], 6).upper()}"


def endpoint(agent: str, namespace: str) -> str:
    """URL of the agent's HTTP API inside the cluster."""
    return f"http://{agent}.{namespace}.svc:{APP_PORT}"
