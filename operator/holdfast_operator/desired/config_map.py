"""ConfigMap `a-config-<revision>`: one revision of the AgentConfig, immutable, the only thing that the agent's image reads."""

from holdfast_api import names
from holdfast_api.config import AgentConfig
from holdfast_api.v1alpha1 import Agent
from holdfast_operator.desired.meta import ANNOTATION_KEEP, Manifest, child
from holdfast_operator.desired.pins import ANNOTATION_PINS, Pins
from holdfast_operator.kinds import CONFIG_MAP


def config_map(agent: Agent, config: AgentConfig, pins: Pins, *, keep_seconds: int) -> Manifest:
    """The ConfigMap of this revision."""
    revision = config.revision
    return child(
        CONFIG_MAP,
        agent,
        names.config_map(agent.metadata.name, revision),
        more_labels={names.LABEL_REVISION: revision},
        annotations={ANNOTATION_KEEP: str(keep_seconds), ANNOTATION_PINS: pins.text()},
    ) | {"immutable": True, "data": {names.CONFIG_KEY: names.canonical(config.document())}}
