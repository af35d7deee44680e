"""What callers send, read into values or refused with the field, the value and the fix. Pure, but for the exceptions."""

import json
from dataclasses import dataclass
from typing import Any, Final

from holdfast_agent.documents import ID_PATTERN
from holdfast_agent.http.problems import Problem
from holdfast_api.durations import seconds

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_TASK_BYTES: Final = 256 * 1024
MAX_WAIT_SECONDS: Final = 60.0
_FIELDS: Final = ("task", "id")
_EXAMPLE: Final = 'send for example {"task": "Find a flight to Paris"}'


@dataclass(frozen=True)
class RunRequest:
    """The body of `POST /run`."""

    task: str
    id: str | None


def run_request(body: bytes) -> RunRequest:
    """Read the body of `POST /run`.

    Raises:
        Problem: it is not what it should be.
    """
    document = _object(body)
    unknown = next((name for name in document if name not in _FIELDS), None)
    if unknown is not None:
        raise Problem(
            422,
            f"there is no field {unknown!r}"[:200],
            field=unknown[:100],
            value=document[unknown],
            fix=f"known fields: {', '.join(_FIELDS)}",
        )
    if "task" not in document:
        raise Problem(422, "the field 'task' is missing", field="task", value=None, fix=_EXAMPLE)
    return RunRequest(_task(document["task"]), None if document.get("id") is None else run_id(document["id"], field="id"))


def run_id(value: object, *, field: str) -> str:
    """A run's id.

    Raises:
        Problem: it cannot be one.
    """
    if not isinstance(value, str) or not ID_PATTERN.fullmatch(value):
        raise Problem(
            422,
            f"{field!r} is not the id of a run",
            field=field,
            value=value,
            fix="use 1 to 64 letters, digits, '-' and '_', beginning with a letter or a digit",
        )
    return value


def wait_seconds(value: str | None) -> float:
    """The query parameter `wait`: how long to wait for the end, 0 when it is not there; more than a minute counts as a minute.

    Raises:
        Problem: it is not a duration.
    """
    if value is None:
        return 0.0
    try:
        return min(seconds(value), MAX_WAIT_SECONDS)
    except ValueError as error:
        raise Problem(422, "'wait' is not a duration", field="wait", value=value, fix="write for example wait=30s") from error


def number(value: str | None, *, field: str, default: int, most: int) -> int:
    """A query parameter that is a number from 1 to `most`.

    Raises:
        Problem: it is not.
    """
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most):  # noqa: PLR2004 - fits an int
        raise Problem(422, f"{field!r} is not a number from 1 to {most}", field=field, value=value, fix=f"leave it out for {default}")
    return int(value)


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except RecursionError as error:
        raise Problem(400, "the body is nested too deeply", fix=_EXAMPLE) from error
    except ValueError as error:
        detail = "the body is empty" if not body.strip() else f"the body is not JSON: {error}"
        raise Problem(400, detail, field="body", value=body[:100].decode(errors="replace"), fix=_EXAMPLE) from error
    if not isinstance(document, dict):
        raise Problem(422, f"the body is not a JSON object but {_kind(document)}", field="body", value=document, fix=_EXAMPLE)
    return document


def _task(value: object) -> str:
    if not isinstance(value, str):
        raise Problem(422, f"'task' is not a string but {_kind(value)}", field="task", value=value, fix=_EXAMPLE)
    if not value.strip():
        raise Problem(422, "'task' is empty", field="task", value=value, fix="say what the agent is to do")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise Problem(422, "'task' holds half of a surrogate pair", field="task", value="…", fix="send well-formed Unicode") from error
    if size > MAX_TASK_BYTES:
        raise Problem(
            413,
            f"'task' has {size} bytes, {MAX_TASK_BYTES} are allowed",
            field="task",
            value=value,
            fix="send a shorter task, or give the agent a tool that reads the rest",
        )
    return value


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "something else")
