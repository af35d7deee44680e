"""`spec.pubsub`: the broker that events come and go by, and the agent's own topics on it."""

from typing import Annotated

from pydantic import Field, StringConstraints

from holdfast_api.v1alpha1.store import AT_MOST_ONE, OF_THE_COMPONENT, ComponentSource
from holdfast_api.v1alpha1.types import ObjectName, Rule

Topic = Annotated[str, StringConstraints(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/#:+~%-]*$")]

_DIFFERENT = Rule(
    "!((has(self.topic) && has(self.broadcast) && self.topic == self.broadcast)"
    " || (has(self.topic) && has(self.publishResults) && self.topic == self.publishResults)"
    " || (has(self.broadcast) && has(self.publishResults) && self.broadcast == self.publishResults))",
    "topic, broadcast and publishResults must differ: a result must not begin the next run, nor one event two runs",
    lambda pubsub: _differ([topic for topic in (pubsub.topic, pubsub.broadcast, pubsub.publish_results) if topic]),
)


def _differ(topics: list[str]) -> bool:
    return len(set(topics)) == len(topics)


class Broker(ComponentSource):
    """A Dapr pub/sub Component."""

    component: ObjectName | None = Field(default=None, description="Name of an existing pub/sub Component.")
    type: Annotated[str, StringConstraints(max_length=63, pattern=r"^pubsub\.[a-z0-9.-]+$")] | None = Field(
        default=None, description="Type of the Component to make, for example pubsub.redis or pubsub.kafka."
    )


class Pubsub(Broker):
    """The broker, and what the agent does with it. Without component and type it is the operator's default."""

    RULES = (AT_MOST_ONE, OF_THE_COMPONENT, _DIFFERENT)

    topic: Topic | None = Field(
        default=None, description="An event `{task}` on it begins a run. Left out: the agent has no topic of its own."
    )
    broadcast: Topic | None = Field(default=None, description="The same, for every agent that names this topic: each gets every event.")
    publish_results: Topic | None = Field(default=None, description="The end of every run is published here. Left out: nowhere.")
