"""Values for every leaf of a structural schema: what is allowed, what is just allowed, what is odd. Pure, and the same for the same seed.

The schema says all there is to know: types, bounds, patterns, enumerations, what is required beside a leaf. So a field that is new in the
CRD is covered on the day it comes. Only a few words are known by heart (`KNOWN`): names of things that exist in the tests.
"""

import copy
import random
import re
import re._parser as sre  # type: ignore[import-untyped]
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
Path = tuple[str, ...]

ITEM = "[]"
KNOWN: dict[Path, list[Any]] = {
    ("configMapKeyRef", "name"): ["texts", "absent"],
    ("configMapKeyRef", "key"): ["prompt", "book.py", "absent"],
    ("configMap", "name"): ["texts", "absent"],
    ("component",): ["store", "absent"],
    ("function",): ["book"],
    ("key",): ["key", "prompt", "book.py"],
    ("topologyKey",): ["kubernetes.io/hostname", "topology.kubernetes.io/zone"],
    ("whenUnsatisfiable",): ["DoNotSchedule", "ScheduleAnyway"],
    ("operator",): ["In", "Exists", "Equal", "DoesNotExist"],
    ("effect",): ["NoSchedule", "NoExecute"],
    ("weight",): [1, 50, 100],
    ("maxSkew",): [1, 2],
    ("volumes", ITEM, "name"): ["data", "more"],
    ("volumeMounts", ITEM, "name"): ["data", "more"],
    ("mountPath",): ["/data", "/var/cache/x"],
    ("image",): ["agent:1", "registry.example/agent@sha256:" + "0" * 64],
}
_WORDS = [
    "a",
    "b1",
    "some-name",
    "90s",
    "24h",
    "1500ms",
    "100m",
    "0.5",
    "64Mi",
    "1Gi",
    "1",
    "0.2",
    "https://example.com/v1",
    "UTC",
    "0 6 * * *",
]
_ODD = ["", " ", "Ünïcode ☃", "a\nb", "{{ .x }}", "$(HOME)", "null", "-", "x" * 300]
_INTEGER_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Leaf:
    """One field that holds a value: its path, with `[]` for the items of a list, and its schema."""

    path: Path
    schema: Schema

    def __str__(self) -> str:
        return ".".join(self.path).replace(f".{ITEM}", ITEM)


def leaves(schema: Schema, path: Path = ()) -> Iterator[Leaf]:
    """All leaves, and the containers above them, which can be empty or gone."""
    if path:
        yield Leaf(path, schema)
    for name, inner in schema.get("properties", {}).items():
        yield from leaves(inner, (*path, name))
    if "items" in schema and "properties" in schema["items"]:
        yield from leaves(schema["items"], (*path, ITEM))


def drawn(leaf: Leaf, chance: random.Random) -> Any:
    """A value: mostly one that the schema allows, now and then one at or over a bound, or an odd one."""
    schema = leaf.schema
    if chance.random() < 0.15:
        return chance.choice(_wrong(schema, chance))
    return plausible(schema, chance, leaf.path)


def plausible(schema: Schema, chance: random.Random, path: Path = ()) -> Any:  # noqa: PLR0911 - one return for each type
    """A value that the schema allows, with all that is required in it."""
    if known := [words for end, words in KNOWN.items() if path[-len(end) :] == end]:
        return chance.choice([word for word in known[0] if not isinstance(word, str) or fits(schema, word)] or known[0])
    if "enum" in schema:
        return chance.choice(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return chance.choice(["100m", "0.5", "64Mi", "1Gi", 1, 2])
    match schema.get("type"):
        case "string":
            return _string(schema, chance)
        case "integer":
            low, high = schema.get("minimum", 0), schema.get("maximum", _INTEGER_LIMIT)
            return chance.choice(
                [low, min(low + 1, high), chance.randint(low, min(high, low + 1000)), high if "maximum" in schema else low]
            )
        case "number":
            return chance.choice([schema.get("minimum", 0), schema.get("maximum", 1.5), 0.5])
        case "boolean":
            return chance.random() < 0.5
        case "array":
            count = chance.randint(schema.get("minItems", 0), min(schema.get("maxItems", 2), 2))
            return [plausible(schema["items"], chance, (*path, ITEM)) for _ in range(count)]
    return _object(schema, chance, path)


def _object(schema: Schema, chance: random.Random, path: Path) -> Schema:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return {"type": "object", "properties": {"city": {"type": "string"}}}
    if inner := schema.get("additionalProperties"):
        names = chance.sample(["cpu", "memory", "example.com/x", "city"], chance.randint(0, 2))
        return {name: plausible(inner, chance, path) for name in names}
    return {name: plausible(schema["properties"][name], chance, (*path, name)) for name in schema.get("required", ())}


def _string(schema: Schema, chance: random.Random) -> str:
    words = [word for word in _WORDS if fits(schema, word)]
    if words and chance.random() < 0.8:
        return chance.choice(words)
    return _of_pattern(schema, chance) if "pattern" in schema else "x" * max(schema.get("minLength", 0), 1)


def fits(schema: Schema, word: str) -> bool:
    """Whether the schema allows a string."""
    if "enum" in schema and word not in schema["enum"]:
        return False
    length = schema.get("minLength", 0) <= len(word) <= schema.get("maxLength", _INTEGER_LIMIT)
    return length and re.search(schema.get("pattern", ""), word) is not None


def _of_pattern(schema: Schema, chance: random.Random) -> str:
    """A string that a pattern describes; the first one that the bounds allow too."""
    tree = sre.parse(schema["pattern"])
    texts = [_text(tree, chance) for _ in range(20)]
    return next((text for text in texts if fits(schema, text)), texts[0])


def _text(tree: Any, chance: random.Random) -> str:
    out = ""
    for operator, detail in tree:
        match str(operator):
            case "LITERAL":
                out += chr(detail)
            case "IN":
                out += _one_of(detail, chance)
            case "MAX_REPEAT" | "MIN_REPEAT":
                low, high, inner = detail
                out += "".join(_text(inner, chance) for _ in range(chance.randint(low, min(int(high), low + 2))))
            case "SUBPATTERN":
                out += _text(detail[-1], chance)
            case "BRANCH":
                out += _text(chance.choice(detail[1]), chance)
            case "ANY" | "NOT_LITERAL" | "CATEGORY":
                out += "x"
    return out


def _one_of(parts: Any, chance: random.Random) -> str:
    operator, detail = chance.choice([part for part in parts if str(part[0]) != "NEGATE"])
    if any(str(part[0]) == "NEGATE" for part in parts):
        return "x"
    if str(operator) == "RANGE":
        return chr(chance.randint(*detail))
    return chr(detail) if str(operator) == "LITERAL" else "1"


def _wrong(schema: Schema, chance: random.Random) -> list[Any]:
    """Values over a bound, of another type, or odd."""
    found: list[Any] = [None, {"odd": 1}, [], -1, "12", *_ODD]
    if "maximum" in schema:
        found.append(schema["maximum"] + 1)
    if "minimum" in schema:
        found.append(schema["minimum"] - 1)
    if "maxLength" in schema and schema["maxLength"] <= 4096:
        found += ["x" * schema["maxLength"], "x" * (schema["maxLength"] + 1)]
    if "items" in schema:
        found.append([plausible(schema["items"], chance)] * (min(schema.get("maxItems", 1), 40) + 1))
    return found


def placed(spec: Schema, schema: Schema, path: Path, value: Any, chance: random.Random) -> Schema:
    """A copy of the spec with a value at a path; what is required on the way is made."""
    out = copy.deepcopy(spec)
    _place(out, schema, path, value, chance, ())
    return out


def _place(node: Any, schema: Schema, path: Path, value: Any, chance: random.Random, before: Path) -> None:  # noqa: PLR0917  # noqa: ANN401, PLR0913 - recursion
    head, rest = path[0], path[1:]
    if head == ITEM:
        inner = schema["items"]
        if not node or chance.random() < 0.3:
            node.append(plausible(inner, chance, (*before, ITEM)))
        index = chance.randrange(len(node))
    else:
        inner, index = schema["properties"][head], head
        if rest and not isinstance(node.get(head), list if rest[0] == ITEM else dict):
            node[head] = [] if rest[0] == ITEM else plausible(inner, chance, (*before, head))
    if rest:
        _place(node[index], inner, rest, value, chance, (*before, head))
    else:
        node[index] = value


def removed(spec: Schema, path: Path) -> Schema:
    """A copy of the spec without what is at a path, in the first item of each list."""
    out = copy.deepcopy(spec)
    node: Any = out
    for part in path[:-1]:
        node = (node[0] if node else None) if part == ITEM else node.get(part)
        if not isinstance(node, dict | list):
            return out
    if path[-1] == ITEM:
        del node[:1]
    elif isinstance(node, dict):
        node.pop(path[-1], None)
    return out
