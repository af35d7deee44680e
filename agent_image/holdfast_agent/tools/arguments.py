"""Arguments against their JSON Schema, and what to tell the model when they do not fit."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_PROBLEMS = 5
MAX_VALUE = 120


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """A validator of the schema.

    Raises:
        ValueError: the schema itself is wrong; the message says where.
    """
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(str(part) for part in error.absolute_path)
        raise ValueError(f"inputSchema{'.' if where else ''}{where} is no JSON Schema: {_short(error.message)}") from None
    # With a registry of its own it looks nothing up in the network.
    return Draft202012Validator(schema, registry=Registry())


def problem(check: Validator, arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments, in one line for the model; None when they fit."""
    try:
        found = sorted(check.iter_errors(arguments), key=lambda error: [str(part) for part in error.absolute_path])
    except Unresolvable as error:
        return f"the tool's own inputSchema refers to {error.ref}, which is not in it"
    if not found:
        return None
    lines = [_line(error) for error in found[:MAX_PROBLEMS]]
    if len(found) > MAX_PROBLEMS:
        lines.append(f"and {len(found) - MAX_PROBLEMS} more")
    return "; ".join(lines)


def _line(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    return f"{where}: {_short(error.message)}" if where else _short(error.message)


def _short(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
