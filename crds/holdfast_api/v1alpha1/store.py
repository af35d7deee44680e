"""`spec.state` and `spec.memory`: where runs and documents are kept, and the Dapr Component that a store or a broker is."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from holdfast_api.v1alpha1.model import OneModel
from holdfast_api.v1alpha1.types import ApiModel, ObjectName, Rule, SecretKeyRef, list_map, obeys, unique

_ONE_OF_VALUE = Rule(
    "has(self.value) != has(self.secretKeyRef)",
    "give exactly one of value and secretKeyRef",
    lambda entry: (entry.value is None) != (entry.secret_key_ref is None),
)
_ONE_OF = Rule(
    "has(self.component) != has(self.type)",
    "give exactly one of component (the name of one that exists) and type (Holdfast makes the Dapr Component)",
    lambda source: bool(source.component) != bool(source.type),
)
AT_MOST_ONE = Rule(
    "!(has(self.component) && has(self.type))",
    "give component (the name of one that exists) or type (Holdfast makes the Dapr Component), not both",
    lambda source: not (source.component and source.type),
)
OF_THE_COMPONENT = Rule(
    "has(self.type) || !(has(self.metadata) || has(self.version))",
    "metadata and version belong to the Component: set them there, or give type instead of component",
    lambda source: source.type is not None or (source.metadata is None and source.version is None),
)


_NO_ACTORS = (
    "state.aerospike",
    "state.alicloud.tablestore",
    "state.azure.blobstorage",
    "state.azure.tablestorage",
    "state.cassandra",
    "state.cloudflare.workerskv",
    "state.coherence",
    "state.couchbase",
    "state.gcp.firestore",
    "state.hashicorp.consul",
    "state.hazelcast",
    "state.jetstream",
    "state.memcached",
    "state.oci.objectstorage",
    "state.rethinkdb",
    "state.zookeeper",
)
"""Dapr's own types without transactions or without ETags, as their components in 1.18 say, and some that it had before."""

_TRANSACTS = Rule(
    f"!has(self.type) || !(self.type in {list(_NO_ACTORS)})",
    "type cannot keep workflows: they need transactions and ETags, which this store lacks. Use state.redis or state.postgresql, "
    "which are tested, or state.mysql, state.mongodb, state.sqlserver, state.azure.cosmosdb, "
    "state.aws.dynamodb, state.oracledatabase, state.etcd",
    lambda state: state.type not in _NO_ACTORS,
)


_ONE_SPELLING = Rule(
    "self.all(e, self.exists_one(o, o.name.lowerAscii() == e.name.lowerAscii()))",
    "metadata must hold each name once: to Dapr redisHost and RedisHost are the same",
    lambda entries: len({entry.name.lower() for entry in entries}) == len(entries),
)


class ComponentMetadata(ApiModel):
    """One metadata entry of a Dapr Component."""

    RULES = (_ONE_OF_VALUE,)

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="Name of the entry, as the Component's reference calls it."
    )
    value: Annotated[str, StringConstraints(max_length=4096)] | None = Field(default=None, description="The value, in clear.")
    secret_key_ref: SecretKeyRef | None = Field(default=None, description="The Secret's key that holds the value.")


_NAMED_ONCE = list_map("name", rules=(_ONE_SPELLING,), max_length=32)


class ComponentSource(ApiModel):
    """A Dapr Component: one that exists, or what one is to be made of."""

    RULES: ClassVar[tuple[Rule, ...]] = (_ONE_OF, OF_THE_COMPONENT)

    component: ObjectName | None = Field(default=None, description="Name of an existing Component.")
    type: Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z]+\.[a-z0-9.-]+$")] | None = Field(
        default=None, description="Type of the Component to make."
    )
    version: Annotated[str, StringConstraints(max_length=8, pattern=r"^v[0-9]+$")] | None = Field(
        default=None, description="Version of the Component's type. Left out: v1, and v2 for state.postgresql."
    )
    metadata: Annotated[list[ComponentMetadata], _NAMED_ONCE, unique("name"), obeys(_ONE_SPELLING)] | None = Field(
        default=None, description="Metadata of the Component, in the words of Dapr's reference of this type."
    )


class State(ComponentSource):
    """The Dapr state store that workflows live in. It must be transactional and support ETags."""

    RULES = (_ONE_OF, OF_THE_COMPONENT, _TRANSACTS)

    component: ObjectName | None = Field(default=None, description="Name of an existing state Component with actorStateStore true.")
    type: Annotated[str, StringConstraints(max_length=63, pattern=r"^state\.[a-z0-9.-]+$")] | None = Field(
        default=None, description="Type of the Component to make, for example state.redis or state.postgresql."
    )


class Memory(ApiModel):
    """What an agent remembers: the store of its documents, and how much of a session a run begins with."""

    component: ObjectName | None = Field(
        default=None,
        description="Name of an existing state Component for documents: heads of runs, messages, results, sessions. "
        "Left out: the same store as the workflows'. Cannot be changed later.",
    )
    max_messages: Annotated[int, Field(ge=2, le=10_000)] = Field(
        default=50,
        description="Messages of a session that are kept as they are, a task and its answer being two; what is older is compacted.",
    )
    compaction: Literal["summarize", "truncate"] = Field(
        default="summarize", description="summarize: the model sums up what is older. truncate: it is dropped."
    )
    model: OneModel | None = Field(
        default=None, description="The model that sums up, sessions and runs that grow too long. Left out: the agent's own."
    )
