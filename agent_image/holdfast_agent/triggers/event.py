"""What daprd delivers, read into an event and the id of its run. Pure.

Subscriptions are made with Dapr's `rawPayload`, so what arrives is the broker's bytes in an envelope of daprd's. Dapr by itself takes
CloudEvents only; read here, other JSON and plain text are taken too. An envelope has an id of its own at every delivery, so it is not the
event's: that is the id that the CloudEvent inside has, with its source, or the digest of the bytes.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from holdfast_api import names

_DAPR: Final = "Dapr"
_TOLD: Final = ("id", "source", "type", "subject", "time")
_DIGITS: Final = 20


class MalformedError(Exception):
    """No run can be begun for this event, however often it comes; the message says why."""


@dataclass(frozen=True)
class Event:
    """An event.

    Attributes:
        key: what is the same at every delivery of it.
        data: JSON-ready, or text.
        said: what a CloudEvent says of itself: `id`, `source`, `type`, `subject`, `time`; empty for what is none.
        trace: traceparent of its publisher.
        expires: when nobody wants it any more, in seconds since the epoch.
    """

    key: str
    data: Any
    said: dict[str, str] = field(default_factory=dict)
    trace: str | None = None
    expires: float | None = None


@dataclass(frozen=True)
class Asked:
    """What is to be begun: a task under an id, and the session it belongs to.

    Attributes:
        chosen: whether the publisher has chosen the id.
    """

    task: str
    run: str
    session: str | None = None
    chosen: bool = False


def read(body: bytes) -> Event:
    """The event in what was delivered.

    Raises:
        MalformedError: there is none.
    """
    envelope = as_json(body)
    if not isinstance(envelope, dict):
        raise MalformedError("the delivery is no CloudEvent")
    if envelope.get("source") == _DAPR and isinstance(envelope.get("data_base64"), str):
        return _inner(_decoded(envelope["data_base64"]))
    return _cloud_event(envelope)


def run_id(route: str, path: str, event: Event) -> str:
    """The id of the run that an event begins.

    Args:
        route: what took it, for people.
        path: how it came: no two routes have the same.
        event: see there.
    """
    return f"{route}-{names.digest([path, event.key], _DIGITS)}"


def payload(body: bytes) -> bytes:
    """What the broker holds, as far as it can be made out: the same at every delivery."""
    try:
        envelope = as_json(body)
        return _decoded(envelope["data_base64"]) if envelope["source"] == _DAPR else body
    except (MalformedError, KeyError, TypeError):
        return body


def _inner(data: bytes) -> Event:
    """What the broker holds: a CloudEvent, other JSON, or text."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("the event is neither JSON nor text in UTF-8") from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    if isinstance(found, dict) and "specversion" in found:
        return _cloud_event(found)
    return Event(hashlib.sha256(data).hexdigest(), found)


def _cloud_event(document: dict[str, Any]) -> Event:
    said = {name: value for name in _TOLD if isinstance(value := document.get(name), str) and value}
    missing = next((name for name in ("id", "source") if name not in said), None)
    if missing:
        raise MalformedError(f"the CloudEvent has no {missing!r}: without it nobody can tell whether it has come before")
    unsayable = next((name for name, value in said.items() if not _sayable(value)), None)
    if unsayable:
        raise MalformedError(f"{unsayable!r} of the CloudEvent holds half of a surrogate pair: send well-formed Unicode")
    data = document.get("data")
    if "data_base64" in document:
        data = _inner(_decoded(document["data_base64"])).data
    trace = document.get("traceparent")
    return Event(
        key=json.dumps([said["source"], said["id"]]),
        data=data,
        said=said,
        trace=trace if isinstance(trace, str) else None,
        expires=_moment(document.get("expiration")),
    )


def _sayable(text: str) -> bool:
    """Whether a store can take it. JSON in ASCII can hold what is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _moment(value: object) -> float | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp() if found else None


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (ValueError, binascii.Error) as error:
        raise MalformedError("data_base64 is not base64") from error


def as_json(data: bytes) -> Any:  # noqa: ANN401 - any JSON
    """JSON.

    Raises:
        MalformedError: it is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedError('the event is no JSON: publish for example {"task": "Find a flight to Paris"}') from error
