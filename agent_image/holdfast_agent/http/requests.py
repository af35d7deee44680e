"""What callers send, read into values or refused with the field, the value and the fix."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from holdfast_agent import lineage
from holdfast_agent.documents import ID_PATTERN
from holdfast_agent.http import fields, places
from holdfast_agent.http.fields import CALL_PATTERN, Field, Schema
from holdfast_agent.http.problems import Problem
from holdfast_agent.waits import WAITING

MAX_BODY_BYTES: Final = 1024 * 1024
DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 500
MAX_TURN: Final = 1_000_000
_MAX_DIGITS: Final = 100
STATUSES: Final = ("RUNNING", "SUSPENDED", "COMPLETED", "FAILED", "CANCELED")
# What curl sends unless told otherwise is taken too, because a body that is JSON is JSON.
_CONTENT_TYPES: Final = frozenset({"application/json", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain"})
_ID: Final = {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"}

TASK: Final = Field(
    "task",
    {"type": "string", "minLength": 1, "description": f"What the agent is to do; {fields.MAX_TASK_BYTES} bytes at most."},
    fields.task,
    required=True,
)
NEW_ID: Final = Field("id", _ID | {"description": "Id of the run. The same id with the same body is the same run."}, fields.run_id)
SESSION: Final = Field("session_id", _ID | {"description": "The conversation that the run belongs to."}, fields.session_id)
RERUN_ID: Final = Field("id", _ID | {"description": "Id of the new run; left out, one is made."}, fields.run_id)
REASON: Final = Field(
    "reason", {"type": "string", "maxLength": fields.MAX_REASON_CHARACTERS, "description": "Why; kept with the run."}, fields.reason
)
BY: Final = Field(
    "by",
    {
        "type": "string",
        "maxLength": fields.MAX_NAME_CHARACTERS,
        "description": "Who says so; kept with the run. Left out: the calling app.",
    },
    fields.somebody,
)
APPROVED: Final = Field("approved", {"type": "boolean", "description": "Whether the call may be made."}, fields.boolean, required=True)

RUN_PATH: Final = Field("id", _ID | {"description": "Id of a run."}, fields.run_id, required=True)
SESSION_PATH: Final = Field("id", _ID | {"description": "Id of a session."}, fields.session_id, required=True)
WAIT: Final = Field(
    "wait",
    {"type": "string", "description": "How long to wait for the end, such as 30s; a minute at most.", "examples": ["30s"]},
    fields.wait,
)
LIMIT: Final = Field(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE, "description": "Size of the page."},
    fields.number(MAX_PAGE, default=DEFAULT_PAGE),
)
TURN: Final = Field(
    "turn",
    {"type": "integer", "minimum": 1, "maximum": MAX_TURN, "default": 1, "description": "The first turn of the page."},
    fields.number(MAX_TURN, default=1),
)
STATUS: Final = Field(
    "status", {"type": "string", "enum": list(STATUSES), "description": "Only runs that stand so."}, fields.one_of(*STATUSES)
)
WAITING_FOR: Final = Field(
    "waiting_for", {"type": "string", "enum": list(WAITING), "description": "Only runs that wait for this."}, fields.one_of(*WAITING)
)
OF_SESSION: Final = Field("session_id", _ID | {"description": "Only runs of this session."}, fields.session_id)
FORCE: Final = Field(
    "force",
    {"type": "boolean", "default": False, "description": "End it where it stands: nothing is undone, nothing is awaited."},
    fields.flag,
)

TRACEPARENT: Final = Field("traceparent", {"type": "string", "description": "The trace that the caller is in (W3C)."}, fields.traceparent)

CALLERS: Final = Field(
    lineage.CALLERS,
    {"type": "string", "description": "App ids of the agents that led to this request, separated by commas; a circle is refused."},
    fields.callers,
)
TIME_LEFT: Final = Field(
    lineage.TIME_LEFT,
    {"type": "string", "description": "Seconds in which the answer is of use: the run takes no longer.", "examples": ["600"]},
    fields.time_left,
)

DOCUMENTS: Final = Field(
    "documents",
    {"type": "boolean", "default": False, "description": "Everything that is stored of the run, a line each: what `verify` reads."},
    fields.flag,
)
LAST_EVENT: Final = Field(
    "last_event_id", {"type": "string", "description": "As the header Last-Event-ID, for clients that cannot set one."}, places.read
)
LAST_EVENT_HEADER: Final = Field(
    "Last-Event-ID", {"type": "string", "description": "The id of the last event that was seen; those after it are sent."}, places.read
)

CALL_PATH: Final = Field(
    "call",
    {"type": "string", "pattern": f"^{CALL_PATTERN.pattern}$", "description": "The call: `<turn>.<call>`, as GET /runs/{id} names it."},
    fields.call,
    required=True,
)
CURSOR: Final = Field("cursor", {"type": "string", "description": "Where the page begins: from `next` of the page before."}, fields.cursor)


def path(base: str, **parameters: object) -> str:
    """A path with those parameters that there are."""
    return f"{base}?{urlencode({name: str(value) for name, value in parameters.items() if value is not None})}"


def body_schema(known: tuple[Field, ...]) -> Schema:
    """JSON Schema of a body with these fields."""
    properties = {field.name: field.schema if field.required else _or_null(field.schema) for field in known}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [field.name for field in known if field.required]
    return schema | ({"required": required} if required else {})


def _or_null(schema: Schema) -> Schema:
    """An optional field may be there and say nothing."""
    return schema | {"type": [schema["type"], "null"]}


async def body(request: web.Request, known: tuple[Field, ...]) -> dict[str, Any]:
    """The values of a body's fields, None for what is not there; a body without required fields may be left out.

    Raises:
        Problem: it is not what it should be.
    """
    try:
        text = await request.read()
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        fix = "send it whole, and as its Content-Encoding and Transfer-Encoding say"
        # Nobody knows where the next request on this connection would begin.
        raise Problem(400, "the body cannot be read to its end", field="body", fix=fix, headers={"Connection": "close"}) from error
    if text.strip():
        _check_content_type(request)
    return read_body(text, known)


def read_body(text: bytes, known: tuple[Field, ...]) -> dict[str, Any]:
    """As `body`, from what was sent.

    Raises:
        Problem: it is not what it should be.
    """
    example = _example(known)
    document = _object(text, example) if text.strip() or any(field.required for field in known) else {}
    names = [field.name for field in known]
    unknown = next((name for name in document if name not in names), None)
    if unknown is not None:
        detail, fix = f"there is no field {unknown!r}"[:200], f"known fields: {', '.join(names)}" if names else "send no body"
        raise Problem(422, detail, field=unknown[:100], value=document[unknown], fix=fix)
    missing = next((field.name for field in known if field.required and field.name not in document), None)
    if missing:
        raise Problem(422, f"the field {missing!r} is missing", field=missing, value=None, fix=example)
    return {field.name: _value(field, document.get(field.name)) for field in known}


def query(request: web.Request, known: tuple[Field, ...]) -> dict[str, Any]:
    """The values of a query's parameters, None for what is not there.

    Raises:
        Problem: one is wrong, unknown or there twice.
    """
    names = [field.name for field in known]
    unknown = next((name for name in request.query if name not in names), None)
    if unknown is not None:
        fix = f"known parameters: {', '.join(names)}" if names else "leave it out: this path takes no parameters"
        raise Problem(422, f"there is no parameter {unknown!r}"[:200], field=unknown[:100], value=request.query[unknown], fix=fix)
    twice = next((name for name in names if len(request.query.getall(name, ())) > 1), None)
    if twice is not None:
        raise Problem(422, f"{twice!r} is there more than once", field=twice, value=request.query.getall(twice), fix="send it once")
    return values(request.query, known)


def values(sent: Mapping[str, str], known: tuple[Field, ...]) -> dict[str, Any]:
    """The values of parameters, None for what is not there.

    Raises:
        Problem: one is wrong.
    """
    return {field.name: field.read(field.name, sent[field.name]) if field.name in sent else None for field in known}


def _value(field: Field, sent: object) -> Any:  # noqa: ANN401 - as the field reads it
    return None if sent is None and not field.required else field.read(field.name, sent)


def _check_content_type(request: web.Request) -> None:
    sent = request.content_type
    charset = request.charset or "utf-8"
    if (sent in _CONTENT_TYPES or sent.endswith("+json")) and charset.lower().replace("-", "") in ("utf8", "usascii"):
        return
    value = request.headers.get("Content-Type")
    raise Problem(415, "the body is not sent as JSON", field="Content-Type", value=value, fix="send Content-Type: application/json")


def _object(text: bytes, example: str) -> dict[str, Any]:
    try:
        document = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)
    except RecursionError as error:
        raise Problem(400, "the body is nested too deeply", field="body", value=_start(text), fix=example) from error
    except UnicodeDecodeError as error:
        raise Problem(400, "the body is not UTF-8", field="body", value=_start(text), fix="send UTF-8") from error
    except ValueError as error:
        detail = "the body is empty" if not text.strip() else f"the body is not JSON: {error}"
        raise Problem(400, detail, field="body", value=_start(text), fix=example) from error
    if not isinstance(document, dict):
        raise Problem(422, f"the body is not a JSON object but {fields.kind(document)}", field="body", value=document, fix=example)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that is there twice, one reader takes the first value and another the last: nobody knows what was meant."""
    document = dict(pairs)
    if len(document) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise Problem(
            400, f"the field {twice!r} is there more than once"[:200], field=twice[:100], value=document[twice], fix="send it once"
        )
    return document


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a value")


def _integer(text: str) -> int:
    """Python reads thousands of digits, and then complains in words of its own. No field takes even a hundred."""
    if len(text) > _MAX_DIGITS:
        fix = f"send numbers of at most {_MAX_DIGITS} digits"
        raise Problem(400, f"the body has a number of {len(text)} digits", field="body", value=_start(text.encode()), fix=fix)
    return int(text)


def _start(text: bytes) -> str:
    return text[:100].decode(errors="replace")


def _example(known: tuple[Field, ...]) -> str:
    shown: dict[str, Any] = {"task": "Find a flight to Paris", "approved": True, "reason": "checked by hand", "id": "trip-42"}
    fields_ = [field for field in known if field.required] or list(known[:1])
    return f"send for example {json.dumps({field.name: shown[field.name] for field in fields_})}" if fields_ else "send no body"
