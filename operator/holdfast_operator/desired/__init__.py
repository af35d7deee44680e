"""What an Agent comes to: its children as manifests, in the order they have to be there. Pure."""

import math

from holdfast_api import conditions, names
from holdfast_api.defaults import AgentDefaults
from holdfast_api.resolve import Refused, Resolved
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.component import component
from holdfast_operator.desired.config_map import config_map
from holdfast_operator.desired.configuration import configuration
from holdfast_operator.desired.deployment import PodInputs, deployment, template
from holdfast_operator.desired.disruption_budget import disruption_budget
from holdfast_operator.desired.meta import Manifest
from holdfast_operator.desired.network_policy import network_policy
from holdfast_operator.desired.pins import Kept, Past, choose, pins_of
from holdfast_operator.desired.resiliency import resiliency
from holdfast_operator.desired.service import service
from holdfast_operator.desired.service_account import service_account
from holdfast_operator.desired.standing import Writing
from holdfast_operator.desired.steps import Child, Steps
from holdfast_operator.desired.subscription import agent_subscriptions
from holdfast_operator.kinds import (
    COMPONENT,
    CONFIG_MAP,
    CONFIGURATION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    RESILIENCY,
    SERVICE,
    SERVICE_ACCOUNT,
    SUBSCRIPTION,
    Kind,
)

DAPR_NAMESPACE = "dapr-system"
"""Where Dapr's control plane is, unless the operator is told otherwise."""

KEEP_MARGIN_SECONDS = 3600
"""A superseded child stays for its run time-out and this much longer, for compensation and for the reader of a result."""


def desired(
    agent: Agent,
    resolved: Resolved,
    defaults: AgentDefaults,
    past: Past | None = None,
    *,
    writing: Writing | None = None,
    dapr_namespace: str = DAPR_NAMESPACE,
) -> Steps:
    """The children of an Agent, the token Secrets aside.

    Args:
        agent: the Agent.
        resolved: what it comes to.
        defaults: the administrator's.
        past: earlier revisions that runs are pinned to; None when there are none.
        writing: who writes this down, and the pods that an earlier program wrote; None for nobody and none.
        dapr_namespace: where Dapr's control plane is.

    Raises:
        Refused: nothing says which image to run.
    """
    image = agent.spec.image or defaults.image
    if image is None:
        raise Refused(
            conditions.INVALID_SPEC, "spec.image is missing and the operator has no default: set spec.image, or the chart's agents.image"
        )
    config, pins, before, now = resolved.config, pins_of(resolved), past or Past(), writing or Writing()
    keep = math.ceil(config.limits.run_timeout_seconds) + KEEP_MARGIN_SECONDS

    def dapr_objects(kept: Kept) -> list[tuple[Kind, Manifest]]:
        return [
            *((COMPONENT, component(agent, name, spec, keep_seconds=keep)) for name, spec in resolved.components.items()),
            (CONFIGURATION, configuration(agent, resolved, kept.apis)),
            (RESILIENCY, resiliency(agent, config, sorted(kept.models))),
            *((SUBSCRIPTION, manifest) for manifest in agent_subscriptions(agent, config)),
        ]

    def inputs(kept: Kept) -> PodInputs:
        contents = [[manifest.get("spec"), manifest["metadata"]["name"]] for _, manifest in dapr_objects(kept)]
        return PodInputs(image=image, resolved=resolved, defaults=defaults, dapr_digest=names.digest(contents), kept=kept, writing=now)

    kept = choose(pins, before, lambda: names.digest(template(agent, inputs(Kept()))))
    first = [
        (SERVICE_ACCOUNT, service_account(agent)),
        (CONFIG_MAP, config_map(agent, config, pins, keep_seconds=keep)),
        *dapr_objects(kept),
        (SERVICE, service(agent)),
        (NETWORK_POLICY, network_policy(agent, resolved, dapr_namespace=dapr_namespace)),
    ]
    second = [(DEPLOYMENT, deployment(agent, inputs(kept))), (DISRUPTION_BUDGET, disruption_budget(agent))]
    steps = _step(first), _step(second)
    return now.instead(steps, agent.metadata.name, frozenset(name for name, _ in pins.models), before)


def _step(manifests: list[tuple[Kind, Manifest | None]]) -> tuple[Child, ...]:
    return tuple(Child(kind, manifest["metadata"]["name"], manifest) for kind, manifest in manifests if manifest)
