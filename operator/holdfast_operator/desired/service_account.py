"""ServiceAccount `a`: an identity without any right, whose token is not mounted."""

from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import Manifest, child
from holdfast_operator.kinds import SERVICE_ACCOUNT


def service_account(agent: Agent) -> Manifest | None:
    """The ServiceAccount, or None when the Agent names an existing one."""
    if agent.spec.service_account_name:
        return None
    return child(SERVICE_ACCOUNT, agent, agent.metadata.name) | {"automountServiceAccountToken": False}
