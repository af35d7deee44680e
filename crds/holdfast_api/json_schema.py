"""Is this a JSON Schema (draft 2020-12)? Pure, and in time proportional to its length.

The agent's program asks a library the same question when it starts; here it is asked before there are pods. The library takes seconds of
one core for a schema of the largest size, in which an operator would do nothing else. So here are the rules of the draft's own
meta-schema as a table: keyword -> what its value must be. A test holds both to the same verdicts.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from holdfast_api import conditions
from holdfast_api.refused import Refused

Path = tuple[str | int, ...]
Trail = tuple["Trail", Path] | None
"""A path as a chain of its parts, so that a step down costs the same at any depth."""

_SHOWN: Final = 80
_COMPILED: Final = 32 * 1024
"""Characters of regular expressions that are tried in one schema: a compiler takes microseconds for each. The rest is left to the agent."""
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_ANCHOR: Final = re.compile(r"^[A-Za-z_][-A-Za-z0-9._]*$")


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a schema.

    Attributes:
        path: keys and indexes that lead to it.
        message: the value and what it must be, to be put behind the path.
    """

    path: Path
    message: str

    def told(self, field: str) -> str:
        """The flaw with the whole path, from the field that holds the schema."""
        return field + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path) + f" {self.message}"


def checked(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself.

    Raises:
        Refused: it is none; the message has the path from `field` on, the value and the fix.
    """
    if found := flaw(schema):
        raise Refused(conditions.INVALID_SCHEMA, found.told(field))
    return schema


def flaw(schema: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    """The first thing that is wrong, None when nothing is. Nesting costs no stack."""
    left, waiting = _COMPILED, list[tuple[Trail, Any]]([(None, schema)])
    while waiting:
        trail, node = waiting.pop()
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            return Flaw(_path(trail), f"is {_shown(node)}: a JSON Schema is an object, or true or false")
        for keyword, value in node.items():
            if (check := _KEYWORDS.get(keyword)) and (wrong := check(value)):
                return Flaw((*_path(trail), keyword, *wrong.path), wrong.message)
            for place, expression in _expressions(keyword, value):
                left -= len(expression)
                if left >= 0 and (problem := _no_expression(expression)):
                    return Flaw((*_path(trail), keyword, *place), problem)
            waiting += [((trail, (keyword, *place)), part) for place, part in _parts(keyword, value)]
    return None


def _path(trail: Trail) -> Path:
    steps = []
    while trail:
        trail, step = trail
        steps.append(step)
    return tuple(part for step in reversed(steps) for part in step)


def _expressions(keyword: str, value: Any) -> Iterator[tuple[Path, str]]:  # noqa: ANN401 - JSON
    """The regular expressions in the value of a keyword, and where in it."""
    if keyword == "pattern":
        yield (), value
    elif keyword == "patternProperties":
        yield from (((name,), name) for name in value)


def _no_expression(text: str) -> str | None:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        return f"is {_shown(text)}, which is no regular expression: {_short(str(error))}"
    return None


def _parts(keyword: str, value: Any) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - JSON
    """The schemas in the value of a keyword, and where in it."""
    if keyword in _SCHEMAS:
        yield (), value
    elif keyword in _LISTS:
        yield from (((number,), part) for number, part in enumerate(value))
    elif keyword in _MAPS or keyword == "dependencies":
        yield from (((name,), part) for name, part in value.items() if keyword != "dependencies" or not isinstance(part, list))


def _type(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return None if value in _TYPES else Flaw((), f"is {_shown(value)}: give one of {', '.join(_TYPES)}")
    if not isinstance(value, list) or not value:
        return Flaw((), f"is {_shown(value)}: give one of {', '.join(_TYPES)}, or a list of these")
    for number, one in enumerate(value):
        if not isinstance(one, str) or one not in _TYPES:
            return Flaw((number,), f"is {_shown(one)}: give one of {', '.join(_TYPES)}")
    return _texts(value)


def _texts(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    if not isinstance(value, list):
        return Flaw((), f"is {_shown(value)}: give a list of names")
    seen: set[str] = set()
    for number, one in enumerate(value):
        if not isinstance(one, str):
            return Flaw((number,), f"is {_shown(one)}: give a name")
        if one in seen:
            return Flaw((number,), f"is {_shown(one)}, which is there twice: name each once")
        seen.add(one)
    return None


def _texts_by_name(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    return _object(value) or _first(value.items(), _texts)


def _schemas(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    if isinstance(value, list) and value:
        return None
    return Flaw((), f"is {_shown(value)}: give a list of schemas, at least one")


def _dependencies(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    return _object(value) or _first(((name, part) for name, part in value.items() if isinstance(part, list)), _texts)


def _vocabulary(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    return _object(value) or _first(value.items(), _boolean)


def _first(parts: Any, check: Callable[[Any], Flaw | None]) -> Flaw | None:  # noqa: ANN401 - pairs of a place and what is there
    for place, part in parts:
        if found := check(part):
            return Flaw((place, *found.path), found.message)
    return None


def _text(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    return None if isinstance(value, str) else Flaw((), f"is {_shown(value)}: give a text")


def _anchor(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    if isinstance(value, str) and _ANCHOR.search(value):
        return None
    return Flaw((), f"is {_shown(value)}: give a name of letters, digits, -, _ and dots that begins with a letter or _")


def _identifier(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    if isinstance(value, str) and re.search(r"^[^#]*#?$", value):
        return None
    return Flaw((), f"is {_shown(value)}: give an address without a part behind #")


def _object(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    return None if isinstance(value, dict) else Flaw((), f"is {_shown(value)}: give an object")


def _list(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    return None if isinstance(value, list) else Flaw((), f"is {_shown(value)}: give a list")


def _boolean(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    return None if isinstance(value, bool) else Flaw((), f"is {_shown(value)}: give true or false")


def _number(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    return None if isinstance(value, int | float) and not isinstance(value, bool) else Flaw((), f"is {_shown(value)}: give a number")


def _step(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    return _number(value) or (None if value > 0 else Flaw((), f"is {_shown(value)}: give a number above 0"))


def _count(value: Any) -> Flaw | None:  # noqa: ANN401 - JSON
    if _number(value) is None and value >= 0 and (isinstance(value, int) or value.is_integer()):
        return None
    return Flaw((), f"is {_shown(value)}: give a whole number, 0 or more")


def _shown(value: Any) -> str:  # noqa: ANN401 - JSON
    return _short(json.dumps(value, default=str))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


_SCHEMAS: Final = frozenset(
    {"additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_KEYWORDS: Final[dict[str, Callable[[Any], Flaw | None]]] = (
    dict.fromkeys(_LISTS, _schemas)
    | dict.fromkeys(_MAPS, _object)
    | dict.fromkeys(("$schema", "$ref", "$dynamicRef", "$recursiveRef", "$comment", "title", "description", "format", "pattern"), _text)
    | dict.fromkeys(("contentEncoding", "contentMediaType"), _text)
    | dict.fromkeys(("$anchor", "$dynamicAnchor", "$recursiveAnchor"), _anchor)
    | dict.fromkeys(("deprecated", "readOnly", "writeOnly", "uniqueItems"), _boolean)
    | dict.fromkeys(("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"), _number)
    | dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"), _count)
    | dict.fromkeys(("maxContains", "minContains"), _count)
    | dict.fromkeys(("enum", "examples"), _list)
    | {
        "$id": _identifier,
        "$vocabulary": _vocabulary,
        "dependencies": _dependencies,
        "dependentRequired": _texts_by_name,
        "multipleOf": _step,
        "required": _texts,
        "type": _type,
    }
)
