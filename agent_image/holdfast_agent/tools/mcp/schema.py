"""Schemas that a server hands out: followed, but never so far that the agent stands still.

A schema is a program, and a hostile one runs long: regular expressions that try every way, references that double at each step. So what
costs more than it says is left to the server (it checks its own arguments again), and the rest is counted. Pure.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry

from holdfast_agent.tools import arguments
from holdfast_api.names import canonical

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 32
"""Providers and protobuf give up at about a hundred levels, and take the whole conversation with them."""
MAX_STEPS: Final = 10_000
MAX_NESTED: Final = 64
"""Keywords within keywords: far below the depth at which Python gives up, in which the library's native parts panic."""
_LEFT_TO_THE_SERVER: Final = ("pattern", "patternProperties", "uniqueItems", "unevaluatedProperties", "unevaluatedItems")
_REFUSED_BY_PROVIDERS: Final = frozenset({"$schema", "$id", "oneOf", "anyOf", "allOf", "not", "enum", "const", "if", "then", "else"})
"""At the top of a schema of a function."""
_PROPERTY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""As Anthropic takes them."""
_LARGEST: Final = 1e300


class _Spent:
    """Steps of the check that is under way, and how deep it is. There is one at a time: nothing waits within one."""

    steps = 0
    depth = 0


class _TooLongError(Exception):
    """The schema is followed no further."""


def usable(schema: object) -> dict[str, Any]:
    """A schema that can be shown to a model and checked against.

    Raises:
        ValueError: it cannot; the message says why.
    """
    if not isinstance(schema, dict):
        raise ValueError("inputSchema is no object")  # noqa: TRY004 - for whoever asks it is the value that is wrong
    _plain(schema, MAX_DEPTH)
    if len(canonical(schema).encode()) > MAX_BYTES:
        raise ValueError(f"inputSchema is longer than {MAX_BYTES // 1024} KiB")
    properties = schema.get("properties", {})
    if schema.get("type", "object") != "object" or not isinstance(properties, dict):
        raise ValueError("inputSchema describes no object")
    if not all(map(_PROPERTY.fullmatch, properties)):
        raise ValueError("inputSchema has an argument whose name no provider takes")
    return {"type": "object", "properties": {}} | schema


def shown(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What of a usable schema a provider accepts: one that it refuses would cost the whole run. The call is checked against all of it."""
    return {name: _whole(value) for name, value in schema.items() if name not in _REFUSED_BY_PROVIDERS}


def _whole(part: Any) -> Any:  # noqa: ANN401 - any JSON value
    """With something said about what is in each array, without which OpenAI refuses it."""
    if isinstance(part, list):
        return [_whole(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {name: _whole(value) for name, value in part.items()}
    return found | {"items": {}} if found.get("type") == "array" and "items" not in found else found


def checker(schema: Mapping[str, Any]) -> Validator:
    """What checks arguments against a usable schema; see `problem`.

    Raises:
        ValueError: it is no JSON Schema.
    """
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except (SchemaError, RecursionError) as error:
        raise ValueError(f"inputSchema is no JSON Schema: {str(error).splitlines()[0][:200]}") from None
    made: Validator = _bounded(kind)(schema, registry=Registry())
    return made


def problem(check: Validator, given: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments, for the model; None if they fit, or if that takes too long to say: then the server says it."""
    _Spent.steps = _Spent.depth = 0
    try:
        return arguments.problem(check, given)
    except _TooLongError:
        return None


def _plain(value: object, depth: int) -> None:
    """Refuse what cannot be sent on."""
    if depth == 0:
        raise ValueError(f"inputSchema is more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for name, part in value.items():
            _plain(name, depth)
            _plain(part, depth - 1)
    elif isinstance(value, list):
        for part in value:
            _plain(part, depth - 1)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("inputSchema has half a character in it") from None
    elif isinstance(value, int | float) and not -_LARGEST < value < _LARGEST:
        raise ValueError("inputSchema has a number in it that is too large")


@functools.cache
def _bounded(kind: type[Validator]) -> type[Validator]:
    known = {name: _counted(keyword) for name, keyword in kind.VALIDATORS.items() if name not in _LEFT_TO_THE_SERVER}
    known |= dict.fromkeys(_LEFT_TO_THE_SERVER, _nothing)
    known["additionalProperties"] = _without_patterns(known["additionalProperties"])
    made: type[Validator] = extend(kind, known)  # type: ignore[no-untyped-call]
    return made


Keyword = Callable[..., Any]


def _counted(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:  # noqa: ANN401 - the library's shapes
        _Spent.steps += 1
        _Spent.depth += 1
        if _Spent.steps > MAX_STEPS or _Spent.depth > MAX_NESTED:
            raise _TooLongError
        try:
            yield from keyword(validator, value, instance, schema) or ()
        finally:
            _Spent.depth -= 1

    return check


def _without_patterns(keyword: Keyword) -> Keyword:
    """It looks at `patternProperties` too."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:  # noqa: ANN401 - the library's shapes
        return () if "patternProperties" in schema else keyword(validator, value, instance, schema)

    return check


def _nothing(*_: object) -> tuple[()]:
    return ()
