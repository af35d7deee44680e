"""The arguments of a call: from the text that the model wrote. Pure."""

import json
from typing import Any

from holdfast_agent.outcome import Failure
from holdfast_api.names import canonical


def read(text: str) -> dict[str, Any] | Failure:
    """The arguments, or why there are none, for the model."""
    try:
        arguments = json.loads(text or "{}")
        canonical(arguments).encode()
    except UnicodeEncodeError:
        return Failure("permanent", "the arguments hold half of a surrogate pair, which is no text", reach="unsent")
    except (ValueError, RecursionError) as error:
        return Failure("permanent", f"the arguments are not JSON: {error}", reach="unsent")
    if not isinstance(arguments, dict):
        return Failure("permanent", f"the arguments must be a JSON object, not {type(arguments).__name__}", reach="unsent")
    return arguments


def undoing(schema: dict[str, Any], *, arguments: dict[str, Any], result: str, reason: str) -> dict[str, Any]:
    """What the tool that undoes a call gets.

    For each property of its input schema: the field of that name in the call's result, if that is a JSON object; else the argument of that
    name in the call. A property `arguments`, `result` or `reason` that is in neither gets all arguments, the whole result, or why.

    Args:
        schema: of the undoing tool's arguments.
        arguments: of the call.
        result: what the call returned, or the empty text if nobody knows.
        reason: why the run ends.
    """
    whole = _json(result)
    fields = whole if isinstance(whole, dict) else {}
    known = {"arguments": arguments, "result": whole, "reason": reason} | arguments | fields
    return {name: known[name] for name in schema.get("properties", {}) if known.get(name) is not None}


def _json(text: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text
