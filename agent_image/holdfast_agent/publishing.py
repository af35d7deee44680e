"""Publishing through the sidecar. What is published is a CloudEvent whose id its publisher chooses, so whoever gets it twice can tell."""

import json
from dataclasses import dataclass
from typing import Any, Final

import grpc
from dapr.proto import api_v1

from holdfast_agent.outcome import one_line
from holdfast_agent.sidecar import Sidecar

_CALL_SECONDS: Final = 5.0
_SAID_CHARACTERS: Final = 500
_NO_COMPONENT: Final = "have a pub/sub Component of that name in this namespace that this agent may use, or change spec.pubsub"
_FIXES: Final = {
    # Dapr's codes for a Component that is not loaded differ by version.
    grpc.StatusCode.NOT_FOUND: _NO_COMPONENT,
    grpc.StatusCode.INVALID_ARGUMENT: _NO_COMPONENT,
    grpc.StatusCode.FAILED_PRECONDITION: _NO_COMPONENT,
    grpc.StatusCode.PERMISSION_DENIED: "let this agent publish to it: publishingScopes, allowedTopics and protectedTopics of the Component",
}
_FIX: Final = "see whether the broker runs, and whether the Component's address and credentials are right"


class PublishError(Exception):
    """The broker did not take it, in time. The message says what mends it."""


@dataclass(frozen=True)
class Publication:
    """One event.

    Attributes:
        component: name of the pub/sub Component.
        topic: where it goes.
        data: JSON-ready.
        id: of the event. Dapr fills in its source, our app id.
        type: of the event.
    """

    component: str
    topic: str
    data: dict[str, Any]
    id: str
    type: str


async def publish(sidecar: Sidecar, publication: Publication) -> None:
    """Publish one event.

    Raises:
        PublishError: see there.
    """
    component, topic = publication.component, publication.topic
    request = api_v1.PublishEventRequest(
        pubsub_name=component,
        topic=topic,
        data=json.dumps(publication.data, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"),
        data_content_type="application/json",
        metadata={"cloudevent.id": publication.id, "cloudevent.type": publication.type},
    )
    try:
        await sidecar.stub.PublishEvent(request, timeout=_CALL_SECONDS, metadata=sidecar.metadata)
    except grpc.RpcError as error:
        said = one_line(error.details() or error.code().name, _SAID_CHARACTERS)
        raise PublishError(f"pub/sub {component!r}, topic {topic!r}: {said}: {_FIXES.get(error.code(), _FIX)}") from error
