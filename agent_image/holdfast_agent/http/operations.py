"""Every operation of the API: its route, what it takes and what it answers. Routes are made from these, and so is the OpenAPI document.

A route that is not here cannot be called, and an operation that no code carries out keeps the agent from starting.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from holdfast_agent.audit.lines import MEDIA_TYPE
from holdfast_agent.http import requests
from holdfast_agent.http.fields import Field
from holdfast_agent.http.shapes import Schema, ref

_ERRORS: Final = (401, 503)
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
LINES: Final = MEDIA_TYPE
TEXT: Final = "text/plain"


@dataclass(frozen=True)
class Answer:
    """What one status means; `schema` None: there is no body; `also`: another media type, of text."""

    description: str
    schema: Schema | None = None
    media: str = JSON
    also: str | None = None


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        id: the name by which its code is found.
        answers: by status; problems are told by `errors`.
        errors: statuses that come as problem details, beside those that everything can have.
        open: whether it needs no token.
    """

    id: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    answers: dict[int, Answer]
    tag: str = "runs"
    place: tuple[Field, ...] = ()
    query: tuple[Field, ...] = ()
    headers: tuple[Field, ...] = ()
    body: tuple[Field, ...] | None = None
    errors: tuple[int, ...] = ()
    open: bool = False
    all_errors: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        takes = (422,) if self.place or self.query or self.headers or self.body is not None else ()
        sends = (400, 413, 415) if self.body is not None else ()
        common = (503,) if self.open else _ERRORS
        object.__setattr__(self, "all_errors", tuple(sorted({*takes, *sends, *common, *self.errors})))


def _json(description: str, name: str) -> Answer:
    return Answer(description, ref(name))


_RUN: Final = (requests.RUN_PATH,)
_SESSION: Final = (requests.SESSION_PATH,)
_STANDS: Final = {200: _json("How the run stands now.", "Run")}

OPERATIONS: Final = (
    Operation(
        "begin",
        "POST",
        "/run",
        "Begin a run, or find the one that the same request began",
        {
            202: _json("The run is stored and will be carried out, whatever happens to this process.", "Accepted"),
            200: _json("It ended while it was waited for.", "Finished"),
        },
        query=(requests.WAIT,),
        headers=(requests.TRACEPARENT, requests.CALLERS, requests.TIME_LEFT),
        body=(requests.TASK, requests.SESSION, requests.NEW_ID),
        errors=(409, 429),
    ),
    Operation(
        "runs",
        "GET",
        "/runs",
        "All runs, newest first",
        {200: _json("A page of them. With a filter a page may be short, or empty, and still have a next one.", "RunPage")},
        query=(requests.CURSOR, requests.LIMIT, requests.STATUS, requests.WAITING_FOR, requests.OF_SESSION),
    ),
    Operation("run", "GET", "/runs/{id}", "How a run stands", _STANDS, place=_RUN, errors=(404,)),
    Operation(
        "steps",
        "GET",
        "/runs/{id}/steps",
        "The timeline of a run",
        {200: _json("A page of it.", "StepPage")},
        place=_RUN,
        query=(requests.TURN, requests.LIMIT),
        errors=(404,),
    ),
    Operation(
        "events",
        "GET",
        "/runs/{id}/events",
        "What a run does, as it does it: server-sent events `step`, `status` and `end`",
        {200: Answer("The stream; it ends with the run.", {"type": "string"}, EVENTS), 204: Answer("Its end had been seen already.")},
        place=_RUN,
        query=(requests.LAST_EVENT,),
        headers=(requests.LAST_EVENT_HEADER,),
        errors=(404, 429),
    ),
    Operation(
        "audit",
        "GET",
        "/runs/{id}/audit",
        "What a run did, as a chain of records that shows any change",
        {200: Answer("The records and the anchor; or the documents themselves, one a line.", ref("Audit"), also=LINES)},
        place=_RUN,
        query=(requests.DOCUMENTS,),
        errors=(404,),
    ),
    Operation(
        "cancel",
        "POST",
        "/runs/{id}/cancel",
        "End a run: what is in flight settles, and what it did is undone",
        _STANDS,
        place=_RUN,
        query=(requests.FORCE,),
        body=(requests.REASON, requests.BY),
        errors=(404, 409),
    ),
    Operation("suspend", "POST", "/runs/{id}/suspend", "Hold a run before its next step", _STANDS, place=_RUN, body=(), errors=(404, 409)),
    Operation("resume", "POST", "/runs/{id}/resume", "Let a held run go on", _STANDS, place=_RUN, body=(), errors=(404, 409)),
    Operation(
        "approve",
        "POST",
        "/runs/{id}/approvals/{call}",
        "Decide about a call that waits for it",
        _STANDS,
        place=(requests.RUN_PATH, requests.CALL_PATH),
        body=(requests.APPROVED, requests.REASON, requests.BY),
        errors=(404, 409),
    ),
    Operation(
        "rerun",
        "POST",
        "/runs/{id}/rerun",
        "Begin another run with the same task, as the agent is today",
        {202: _json("The new run is stored.", "Accepted")},
        place=_RUN,
        headers=(requests.TRACEPARENT,),
        body=(requests.RERUN_ID,),
        errors=(404, 409, 429),
    ),
    Operation(
        "sessions",
        "GET",
        "/sessions",
        "All sessions",
        {200: _json("A page of them.", "SessionPage")},
        tag="sessions",
        query=(requests.CURSOR, requests.LIMIT),
    ),
    Operation(
        "session",
        "GET",
        "/sessions/{id}",
        "What a session holds",
        {200: _json("The session.", "Session")},
        tag="sessions",
        place=_SESSION,
        errors=(404,),
    ),
    Operation(
        "forget",
        "DELETE",
        "/sessions/{id}",
        "Forget a session; runs that were accepted before do not bring it back",
        {200: _json("It is forgotten, or there was none.", "Deleted")},
        tag="sessions",
        place=_SESSION,
    ),
    Operation(
        "tools",
        "GET",
        "/tools",
        "What the model may call, and how the MCP servers stand",
        {200: _json("All tools of the current revision.", "Tools")},
        tag="agent",
        errors=(422,),
    ),
    Operation(
        "triggers",
        "GET",
        "/triggers",
        "What begins runs by itself, and what became of it",
        {200: _json("All triggers.", "Triggers")},
        tag="agent",
        errors=(422,),
    ),
    Operation(
        "dapr",
        "GET",
        "/v1.0/workflows/dapr/{id}",
        "How a run stands, in the shape of Dapr's workflow API",
        {200: _json("How the run stands.", "DaprWorkflow")},
        place=_RUN,
        errors=(404,),
    ),
    Operation("openapi", "GET", "/openapi.json", "This document", {200: Answer("OpenAPI 3.1.", {"type": "object"})}, tag="agent"),
    Operation(
        "metrics",
        "GET",
        "/metrics",
        "What Prometheus reads",
        {200: Answer("Metrics of this process.", {"type": "string"}, TEXT)},
        tag="agent",
    ),
    Operation(
        "card",
        "GET",
        "/.well-known/agent-card.json",
        "The agent card of A2A; with the token it tells of more than name and description",
        {200: _json("The card.", "AgentCard")},
        tag="agent",
        open=True,
    ),
    Operation("healthz", "GET", "/healthz", "The process lives", {200: _json("It does.", "Health")}, tag="agent", open=True),
    Operation(
        "readyz", "GET", "/readyz", "The agent works", {200: _json("A workflow worker is connected.", "Health")}, tag="agent", open=True
    ),
)
