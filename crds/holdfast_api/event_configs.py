"""`spec.pubsub` and `spec.triggers` -> the events of the AgentConfig, and the Component that they come and go by."""

from dataclasses import dataclass, field
from typing import Any

from holdfast_api import conditions, dapr, names
from holdfast_api.config import PubsubConfig, ScheduleConfig, TopicConfig, TriggerConfig
from holdfast_api.cron import Cron, CronError
from holdfast_api.refused import Refused
from holdfast_api.v1alpha1 import Agent, ComponentSource, Schedule, Trigger
from holdfast_api.v1alpha1.types import seconds


@dataclass(frozen=True)
class Events:
    """What an Agent's events come to.

    Attributes:
        pubsub: its own topics; None: it has none.
        triggers: what begins runs.
        source: the broker's Component, or what one is made of; None: none is needed.
        components: the Component to make, name -> `spec`; empty when there is one already.
    """

    pubsub: PubsubConfig | None = None
    triggers: tuple[TriggerConfig, ...] = ()
    source: ComponentSource | None = None
    components: dict[str, dict[str, Any]] = field(default_factory=dict)


def event_configs(agent: Agent, default: ComponentSource | None) -> Events:
    """The events of an Agent.

    Args:
        agent: the Agent.
        default: the administrator's broker.

    Raises:
        Refused: a topic is used and nothing says by which broker.
    """
    spec, source = agent.spec, source_of(agent, default)
    component = (source.component or names.pubsub_component(agent.metadata.name)) if source else None
    if spec.pubsub and component is None:
        raise Refused(
            conditions.PUBSUB_MISSING,
            "spec.pubsub names neither component nor type, and the operator has no default: set one of them, or the chart's agents.pubsub",
        )
    pubsub = None
    if spec.pubsub and component:
        topics = spec.pubsub
        pubsub = PubsubConfig(component=component, topic=topics.topic, broadcast=topics.broadcast, publish_results=topics.publish_results)
    triggers = tuple(_trigger(index, trigger, component) for index, trigger in enumerate(spec.triggers))
    made = {component: dapr.pubsub_spec(source, agent)} if source and component and not source.component else {}
    return Events(pubsub, triggers, source, made)


def source_of(agent: Agent, default: ComponentSource | None) -> ComponentSource | None:
    """The broker that the Agent's own topics are on; None where it has none, or every trigger names its own."""
    own = agent.spec.pubsub
    if own and (own.component or own.type):
        return own
    relies = any(trigger.topic and not trigger.topic.component for trigger in agent.spec.triggers)
    return default if own or relies else None


def _trigger(index: int, trigger: Trigger, component: str | None) -> TriggerConfig:
    topic = None
    if trigger.topic:
        broker = trigger.topic.component or component
        if broker is None:
            raise Refused(
                conditions.PUBSUB_MISSING,
                f"spec.triggers[{index}].topic ({trigger.name}) names no component, and there is no spec.pubsub: set one of them, "
                "or the chart's agents.pubsub",
            )
        topic = TopicConfig(component=broker, name=trigger.topic.name, dead_letter=trigger.topic.dead_letter)
    schedule = _schedule(trigger.schedule) if trigger.schedule else None
    if schedule:
        try:
            Cron.parse(schedule.cron, schedule.time_zone)
        except CronError as error:
            raise Refused(conditions.INVALID_SPEC, f"spec.triggers[{index}].schedule ({trigger.name}): {error}") from None
    return TriggerConfig(name=trigger.name, task=trigger.task, schedule=schedule, topic=topic)


def _schedule(schedule: Schedule) -> ScheduleConfig:
    return ScheduleConfig(
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        suspend=schedule.suspend,
        concurrency_policy=schedule.concurrency_policy,
        starting_deadline_seconds=seconds(schedule.starting_deadline) if schedule.starting_deadline else None,
    )
