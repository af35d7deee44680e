"""Fields of requests: how each is read, and the JSON Schema by which the OpenAPI document tells of it. Pure, but for the exceptions.

A field is declared once. Whoever reads a request and whoever documents it use the same declaration, so neither can be wrong alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from holdfast_agent import lineage
from holdfast_agent.documents import ID_PATTERN
from holdfast_agent.http.problems import Problem
from holdfast_api.durations import seconds

MAX_TASK_BYTES: Final = 256 * 1024
MAX_REASON_CHARACTERS: Final = 2000
MAX_NAME_CHARACTERS: Final = 200
MAX_WAIT_SECONDS: Final = 60.0
CALL_PATTERN: Final = re.compile(r"[1-9][0-9]{0,8}\.[0-9]{1,9}")
_MAX_DIGITS: Final = 9
_MAX_CURSOR: Final = 200
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]{0,64})?")

Schema = dict[str, Any]
Read = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Field:
    """One field of a body, or one parameter of a query, a path or a header.

    Attributes:
        schema: what it may be, with a description.
        read: from its name and what was sent to the value; raises Problem. Parameters are sent as strings.
        required: whether it must be there.
    """

    name: str
    schema: Schema
    read: Read
    required: bool = False


def run_id(name: str, value: object) -> str:
    """The id of a run.

    Raises:
        Problem: it cannot be one.
    """
    return _id(name, value, "a run")


def session_id(name: str, value: object) -> str:
    """The id of a session.

    Raises:
        Problem: it cannot be one.
    """
    return _id(name, value, "a session")


def task(name: str, value: object) -> str:
    """What is asked of the agent.

    Raises:
        Problem: it is no text, empty or too long.
    """
    fix = 'send for example {"task": "Find a flight to Paris"}'
    found = _text(name, value, fix)
    if not found.strip():
        raise Problem(422, f"{name!r} is empty", field=name, value=value, fix="say what the agent is to do")
    size = len(found.encode())
    if size > MAX_TASK_BYTES:
        raise Problem(
            413,
            f"{name!r} has {size} bytes, {MAX_TASK_BYTES} are allowed",
            field=name,
            value=value,
            fix="send a shorter task, or give the agent a tool that reads the rest",
        )
    return found


def reason(name: str, value: object) -> str:
    """Why somebody decided something; kept with the run and told to the model.

    Raises:
        Problem: it is no text or too long.
    """
    return _short(name, value, MAX_REASON_CHARACTERS)


def somebody(name: str, value: object) -> str:
    """Who decided something; kept with the run.

    Raises:
        Problem: it is no text or too long.
    """
    return _short(name, value, MAX_NAME_CHARACTERS)


def _short(name: str, value: object, most: int) -> str:
    found = _text(name, value, f"leave it out, or send a text of at most {most} characters")
    if len(found) > most:
        told = f"{name!r} has {len(found)} characters, {most} are allowed"
        raise Problem(422, told, field=name, value=value, fix="say it in fewer words")
    return found


def call(name: str, value: str) -> str:
    """A tool call of a run.

    Raises:
        Problem: it cannot be one.
    """
    if not CALL_PATTERN.fullmatch(value):
        fix = "name the turn and the call in it, such as 3.0, as GET /runs/{id} does"
        raise Problem(422, f"{name!r} is not the name of a call", field=name, value=value, fix=fix)
    return value


def cursor(name: str, value: str) -> str:
    """Where a page begins; the list knows its own places.

    Raises:
        Problem: it is empty or too long to be one.
    """
    if not 0 < len(value) <= _MAX_CURSOR:
        raise Problem(422, f"{name!r} is no place in this list", field=name, value=value, fix="follow `next` of the page before as it is")
    return value


def boolean(name: str, value: object) -> bool:
    """True or false as JSON has them.

    Raises:
        Problem: it is something else.
    """
    if not isinstance(value, bool):
        raise Problem(
            422, f"{name!r} is not true or false but {kind(value)}", field=name, value=value, fix=f'send {{"{name}": true}} or false'
        )
    return value


def flag(name: str, value: str) -> bool:
    """True or false as a query has them.

    Raises:
        Problem: it is something else.
    """
    if value not in ("true", "false"):
        raise Problem(422, f"{name!r} is not true or false", field=name, value=value, fix=f"write {name}=true, or leave it out for false")
    return value == "true"


def wait(name: str, value: str) -> float:
    """How long to wait for the end, in seconds.

    Raises:
        Problem: it is not a duration, or it is more than a minute.
    """
    try:
        found = seconds(value)
    except ValueError as error:
        raise Problem(422, f"{name!r} is not a duration", field=name, value=value, fix=f"write for example {name}=30s") from error
    if found > MAX_WAIT_SECONDS:
        fix = f"write {name}={MAX_WAIT_SECONDS:g}s or less, and ask GET /runs/{{id}} after that"
        raise Problem(422, f"{name!r} is more than a minute", field=name, value=value, fix=fix)
    return found


def number(most: int, *, default: int) -> Read:
    """Reads a number from 1 to `most`; what is told to be used without one is `default`."""

    def read(name: str, value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS and 1 <= int(value) <= most):
            raise Problem(422, f"{name!r} is not a number from 1 to {most}", field=name, value=value, fix=f"leave it out for {default}")
        return int(value)

    return read


def one_of(*words: str) -> Read:
    """Reads one of some words."""

    def read(name: str, value: str) -> str:
        if value not in words:
            raise Problem(422, f"{name!r} is none of its values", field=name, value=value, fix=f"use one of {', '.join(words)}")
        return value

    return read


def traceparent(_: str, value: str) -> str | None:
    """The trace that the caller is in; one that is malformed counts as none, as the standard wants it."""
    return value if _TRACEPARENT.fullmatch(value) and not value.startswith("ff") else None


def callers(name: str, value: str) -> tuple[str, ...]:
    """Who led to a request.

    Raises:
        Problem: it is no list of app ids.
    """
    try:
        return lineage.read_callers(value)
    except ValueError as error:
        raise Problem(422, f"{name!r} is wrong: {error}", field=name, value=value, fix="send app ids, separated by commas") from error


def time_left(name: str, value: str) -> float:
    """Seconds that a run may take.

    Raises:
        Problem: it is no number above 0.
    """
    try:
        return lineage.read_time_left(value)
    except ValueError as error:
        raise Problem(
            422, f"{name!r} is no number of seconds above 0", field=name, value=value, fix=f"send for example {name}: 600"
        ) from error


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "something else")


def _id(name: str, value: object, of: str) -> str:
    if not isinstance(value, str) or not ID_PATTERN.fullmatch(value):
        raise Problem(
            422,
            f"{name!r} is not the id of {of}",
            field=name,
            value=value,
            fix="use 1 to 64 letters, digits, '-' and '_', beginning with a letter or a digit",
        )
    return value


def _text(name: str, value: object, fix: str) -> str:
    if not isinstance(value, str):
        raise Problem(422, f"{name!r} is not a string but {kind(value)}", field=name, value=value, fix=fix)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Problem(422, f"{name!r} holds half of a surrogate pair", field=name, value="…", fix="send well-formed Unicode") from error
    return value
