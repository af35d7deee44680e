"""JSON Schemas of what the API answers: the components of the OpenAPI document. Tests hold real answers against them.

Objects are closed: an answer with a field that is not described here fails the tests, so nothing is answered that nobody was told of.
"""

from typing import Any, Final

from holdfast_agent import loop
from holdfast_agent.http.requests import STATUSES
from holdfast_agent.waits import STATES, WAITING

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """One of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _text(description: str = "") -> Schema:
    return {"type": "string"} | ({"description": description} if description else {})


def _count(description: str = "") -> Schema:
    return {"type": "integer", "minimum": 0} | ({"description": description} if description else {})


def _list(items: Schema, description: str = "") -> Schema:
    return {"type": "array", "items": items} | ({"description": description} if description else {})


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None, description: str = "") -> Schema:
    schema: Schema = {"type": "object", "properties": required | (optional or {}), "additionalProperties": False}
    schema |= {"required": list(required)} if required else {}
    return schema | ({"description": description} if description else {})


ERROR_TYPES: Final = (
    loop.LIMIT_EXCEEDED,
    loop.RUN_TIMEOUT,
    loop.CANCELED,
    loop.MODEL_FAILED,
    loop.OUTPUT_INVALID,
    loop.TOOL_FAILED,
    loop.STORE_FAILED,
    loop.WORKFLOW_ENDED,
)
_TIME: Final = {"type": "string", "format": "date-time"}
_STATUS: Final = {"type": "string", "enum": list(STATUSES)}
_BOOLEAN: Final = {"type": "boolean"}
_NUMBER: Final = {"type": "number", "minimum": 0}
_STEP_STATUSES: Final = [*STATES, "completed", "failed", "unknown", "rejected", "skipped", "abandoned"]
_POLICIES: Final = ["Allow", "Forbid", "Replace"]
_NEXT: Final = _text("Path of the next page; absent on the last one.")
_ASKED: Final[dict[str, Schema]] = {"asked": _TIME, "until": _TIME, "on_timeout": {"type": "string", "enum": ["reject", "approve", "fail"]}}
_ANSWERED: Final[dict[str, Schema]] = {
    "decision": {"type": "string", "enum": ["approved", "rejected", "timedOut"]},
    "decided": _TIME,
    "reason": _text(),
    "by": _text("Who did, as the caller said."),
}
_RUN: Final[dict[str, Schema]] = {
    "id": _text(),
    "status": _STATUS,
    "task": _text("Its beginning."),
    "turn": _count("The turn that it is in, or how many it took."),
    "tool_calls": _count(),
    "tokens": ref("Tokens"),
    "revision": _text("Of the configuration that it began with and keeps."),
    "created": _TIME,
    "deadline": _TIME,
}
_RUN_MORE: Final[dict[str, Schema]] = {
    "session_id": _text(),
    "rerun_of": _text("The run that this one repeats."),
    "callers": _list(_text(), "App ids of the agents that led to it, the first one first."),
    "pending": _list(
        _object({"kind": _text(), "name": _text(), "key": _text(), "status": {"type": "string", "enum": _STEP_STATUSES}}),
        "Steps under way.",
    ),
    "approvals": _list(ref("PendingApproval"), "Calls that a person must decide on."),
    "retrying": _object(
        {"key": _text(), "failed_attempts": _count(), "message": _text(), "next_attempt": _TIME},
        description="The step that is tried again next.",
    ),
    "suspended": _TIME,
    "cancel": _object({"at": _TIME, "forced": _BOOLEAN}, {"reason": _text(), "by": _text()}, "That it is to end, and since when."),
    "ending": _object({"status": _text(), "error": ref("Error")}, description="How it will end, once what it did has been undone."),
    "trigger": ref("Origin"),
    "publishing": _object(
        {"component": _text(), "topic": _text()},
        {"failed_attempts": _count(), "message": _text("What is wrong, and what mends it."), "next_attempt": _TIME},
        "Where its end is still to be published, and what the replica that answers knows of why it is not yet.",
    ),
    "ended": _TIME,
    "result": _text("The answer; JSON if the agent has an output schema."),
    "error": ref("Error"),
    "exceeded": _text("The limit that made the model answer early."),
    "evaluation": _object({"accepted": _BOOLEAN, "rounds": _count()}, description="What the critic said in the end."),
    "audit": ref("Anchor"),
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": {
        "type": "object",
        "description": "Problem details, RFC 9457.",
        "properties": {
            "type": _text(),
            "title": _text(),
            "status": {"type": "integer"},
            "detail": _text("What is wrong."),
            "field": _text("With which field."),
            "value": {"description": "What was sent; its beginning."},
            "fix": _text("What mends it."),
            "instance_id": _text("Of a run that may be stored already: ask again with it as id."),
        },
        "required": ["type", "title", "status", "detail"],
        "additionalProperties": False,
    },
    "Tools": _object(
        {
            "tools": _list(_object({"name": _text(), "description": _text()}), "As the model sees them now."),
            "servers": _list(ref("McpServer"), "The MCP servers among them."),
        }
    ),
    "McpServer": _object(
        {
            "name": _text("Of the item of `spec.tools`."),
            "up": {"type": "boolean", "description": "Whether it listed its tools when it was last asked."},
            "since": _TIME,
            "tools": _list(_text(), "Names that the model calls; while the server is down, those that it had."),
        },
        {"reason": _text("Why it is down."), "left_out": _text("Tools that are not offered, and why.")},
    ),
    "Triggers": _object({"triggers": _list(ref("Trigger"))}),
    "Trigger": _object(
        {"name": _text("Of the trigger; `topic` and `broadcast` are those of `spec.pubsub`.")},
        {
            "schedule": _object(
                {"cron": _text(), "time_zone": _text(), "suspend": _BOOLEAN, "concurrency_policy": {"type": "string", "enum": _POLICIES}}
            ),
            "topic": _object({"component": _text(), "name": _text()}, {"dead_letter": _text("Topic of the events that were refused.")}),
            "next_tick": _TIME,
            "last_tick": _TIME,
            "last_run": _text("The id of the run that the newest tick began."),
            "owed_tick": _TIME,
            "begun": _count("Ticks that began a run."),
            "missed": _count("Ticks that could not begin a run in time; the newest of a stretch is made up for and not among them."),
            "skipped": _count("Ticks that were left out because an earlier run was not over."),
        },
        "A schedule or a topic.",
    ),
    "Tokens": _object({"input": _count(), "output": _count()}),
    "Error": _object(
        {"type": {"type": "string", "enum": list(ERROR_TYPES)}, "message": _text()}, description="Why a run did not end well."
    ),
    "Anchor": _object(
        {"count": _count(), "hash": _text()},
        {"spiffe": _text("Identity of the agent."), "kid": _text("Which key."), "mac": _text()},
        "Length and end of the run's audit chain; `mac` if the agent has a key for it.",
    ),
    "Audit": _object(
        {
            "id": _text(),
            "status": _text("As it is stored: a run that is held is RUNNING."),
            "revision": _text(),
            "records": _list(ref("Record")),
            "anchor": {"anyOf": [ref("Anchor"), {"type": "null"}], "description": "null until the run has ended."},
        }
    ),
    "Record": _object(
        {
            "kind": {
                "type": "string",
                "enum": ["recall", "decision", "tool", "approval", "evaluation", "compaction", "compensation", "cancel", "limit", "end"],
            }
        },
        {
            "record": _text("Its name in the chain."),
            "link": {
                "type": "integer",
                "minimum": 1,
                "description": "The link that binds it; absent if the chain does not have it, or not yet.",
            },
            "digest": _text(),
            "began": _TIME,
            "at": _TIME,
            "model": _text(),
            "calls": _list(_object({"tool": _text(), "arguments": _text("Their digest.")})),
            "tokens": ref("Tokens"),
            "tool": _text(),
            "outcome": _text(),
            "arguments": _text("Their digest."),
            "accepted": _BOOLEAN,
            "decision": _text(),
            "reason": _text(),
            "by": _text(),
            "asked": _TIME,
            "decided": _TIME,
            "forced": _BOOLEAN,
            "limit": _text(),
            "status": _text(),
            "error": _text("Its type."),
        },
        "One thing that happened, without a word of what was said.",
    ),
    "Accepted": _object({"instance_id": _text(), "status_url": _text("Path of the run in Dapr's shape.")}),
    "Run": _object(_RUN, _RUN_MORE),
    "Finished": _object({"instance_id": _text(), "status_url": _text()} | _RUN, _RUN_MORE, "A run that ended while it was waited for."),
    "Origin": _object(
        {"kind": {"type": "string", "enum": ["schedule", "topic"]}, "name": _text("Of the trigger; of the agent's own topics, which one.")},
        {"tick": _TIME, "component": _text(), "topic": _text(), "event_id": _text(), "event_source": _text()},
        "What began the run by itself; absent where a request did.",
    ),
    "RunSummary": _object(
        {"id": _text(), "status": _STATUS, "task": _text("Its beginning."), "created": _TIME},
        {
            "session_id": _text(),
            "trigger": ref("Origin"),
            "waiting_for": {"type": "string", "enum": list(WAITING), "description": "Why nothing goes on; absent while it works."},
            "ended": _TIME,
            "error": ref("Error"),
        },
    ),
    "RunPage": _object({"runs": _list(ref("RunSummary"))}, {"next": _NEXT}),
    "PendingApproval": _object(
        {
            "call": _text("`<turn>.<call>`"),
            "tool": _text(),
            "arguments": _text("Their beginning, as the model wrote them."),
            "decide": _text("Path to POST the decision to."),
            **_ASKED,
        },
        _ANSWERED,
    ),
    "Approval": _object(_ASKED, _ANSWERED),
    "Step": _object(
        {
            "id": _text("`<turn>.<step>`, its place in the run."),
            "turn": _count(),
            "kind": {"type": "string", "enum": ["recall", "compaction", "model", "tool", "evaluation", "compensation"]},
            "name": _text(),
            "key": _text("Of the step, as it is stored; a tool gets it as idempotency key, with the moment at which the run began in it."),
            "status": {"type": "string", "enum": _STEP_STATUSES},
        },
        {
            "started": _TIME,
            "ended": _TIME,
            "seconds": _NUMBER,
            "attempt": _count(),
            "tokens": ref("Tokens"),
            "estimated": {**_BOOLEAN, "description": "The provider did not count the tokens."},
            "calls": _list(_text(), "Tools that the model called."),
            "arguments": _text("Their beginning, as the model wrote them."),
            "output": _text("Its beginning."),
            "feedback": _text("What the model was told about its answer."),
            "approval": ref("Approval"),
            "late": _text("What the call came to after its outcome had been given up as unknown; nothing was done with it."),
            "undoes": _text("Key of the call that was undone."),
            "child_run": _text("Id of the run that a call of another agent began there."),
            "accepted": _BOOLEAN,
            "through": _count("The last turn that the summary stands for."),
            "entries": _count("Runs of the session that the run began with."),
            "summarized": _BOOLEAN,
        },
    ),
    "StepPage": _object({"id": _text(), "status": _STATUS, "steps": _list(ref("Step"))}, {"next": _NEXT}),
    "DaprWorkflow": _object(
        {
            "instanceID": _text(),
            "workflowName": _text(),
            "createdAt": _TIME,
            "lastUpdatedAt": _TIME,
            "runtimeStatus": {"type": "string", "enum": ["RUNNING", "SUSPENDED", "COMPLETED", "FAILED", "TERMINATED"]},
            "properties": {"type": "object", "additionalProperties": _text()},
        }
    ),
    "Health": _object({"status": _text()}),
    "AgentCard": _object(
        {name: _text() for name in ("protocolVersion", "name", "description", "url", "preferredTransport", "documentationUrl", "version")}
        | {
            "capabilities": _object({"streaming": _BOOLEAN, "pushNotifications": _BOOLEAN}),
            "defaultInputModes": _list(_text()),
            "defaultOutputModes": _list(_text()),
            "skills": _list(_object({"id": _text(), "name": _text(), "description": _text(), "tags": _list(_text())})),
        },
        {"securitySchemes": {"type": "object"}, "security": _list({"type": "object"})},
        "As A2A 0.3 describes it.",
    ),
    "SessionPage": _object({"sessions": _list(_object({"id": _text()}))}, {"next": _NEXT}),
    "Session": _object(
        {"id": _text(), "entries": _list(_object({"run": _text(), "task": _text(), "answer": _text(), "at": _TIME}))},
        {"summary": _text("What stands for everything before the entries."), "used": _TIME},
    ),
    "Deleted": _object({"id": _text(), "deleted": _BOOLEAN}),
}
