"""The bricks of the resource: bounded strings, durations, references, and the way a CEL rule is attached to a model.

Every string and list has a bound. That is not only hygiene: the API server estimates the cost of a CEL rule from the bounds, and a
rule over an unbounded list is refused when the CRD is applied.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from holdfast_api.durations import DURATION_PATTERN, LONGEST
from holdfast_api.durations import seconds as seconds  # noqa: PLC0414 - also known from here


@dataclass(frozen=True)
class Rule:
    """A rule between fields, said twice: once for the API server and once for Python, with one message.

    The API server is the gate in a cluster. Without one (the local runner, a CI job that checks manifests) the same rule must hold, so each
    carries a predicate as well; a test asks both about the same manifests.

    Attributes:
        cel: CEL expression over `self`, what the API server evaluates.
        message: what is wrong and what mends it.
        holds: the same over the model or plain value; None for rules about a change (`oldSelf`), which only a server can judge.
        expression: CEL expression of a message that says where; without it the message is told as it is.
        told: the same over the value; needed beside `expression`.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    expression: str | None = None
    told: Callable[[Any], str] | None = None

    def check(self, value: Any) -> Any:  # noqa: ANN401 - whatever field it stands on
        """The value itself, when the rule holds. Raises ValueError with the message when not."""
        if self.holds and not self.holds(value):
            raise ValueError(self.told(value) if self.told else self.message)
        return value


def of_each(kind: str, cel: str, message: str, bad: Callable[[Any, Any], bool], *, field: str = "") -> Rule:
    """A rule over the items of a list that have a `name`; its message says which one it is about, the first if there are several.

    The expression is as it is for its estimated cost: `filter` and `join` forget how long a name can be, and are then refused.

    Args:
        kind: what an item is called in the message.
        cel: CEL expression over an item `t` and `self`, true for an item that breaks the rule.
        message: what is wrong with such an item and what mends it.
        bad: the same as `cel`, over an item and what the rule stands on.
        field: the list in what the rule stands on, which may be left out; without it that is the list.
    """
    items = f"self.{field}" if field else "self"
    given = f"!has({items}) || " if field else ""

    def broken(whole: Any) -> str | None:  # noqa: ANN401 - whatever field it stands on
        return next((item.name for item in (getattr(whole, field) if field else whole) if bad(item, whole)), None)

    return Rule(
        f"{given}{items}.all(t, !({cel}))",
        message,
        lambda whole: broken(whole) is None,
        expression=f"{items}.map(t, {cel}, '{kind} ' + t.name + {json.dumps(f': {message}')})[0]",
        told=lambda whole: f"{kind} {broken(whole)}: {message}",
    )


def keyword(*rules: Rule) -> dict[str, Any]:
    """Rules as the schema keyword that the API server evaluates."""
    return {"x-kubernetes-validations": [_rule(rule) for rule in rules]}


def _rule(rule: Rule) -> dict[str, str]:
    return {"rule": rule.cel, "message": rule.message} | ({"messageExpression": rule.expression} if rule.expression else {})


def list_map(*keys: str, rules: tuple[Rule, ...] = (), **more: Any) -> Any:  # noqa: ANN401 - a pydantic field
    """Field of a list whose items are told apart by `keys`: merged item by item by server-side apply, and none twice.

    `rules` hold over the whole list, on the server; give `obeys(*rules)` beside it.
    """
    return Field(json_schema_extra={"x-list-map-keys": list(keys)} | (keyword(*rules) if rules else {}), **more)


def obeys(*rules: Rule) -> AfterValidator:
    """Refuse a plain value for which a rule does not hold."""

    def check(value: Any) -> Any:  # noqa: ANN401 - whatever field it stands on
        for rule in rules:
            rule.check(value)
        return value

    return AfterValidator(check)


def unique(attribute: str) -> AfterValidator:
    """Refuse a list in which two items have the same `attribute`, as the API server does for a list map."""

    def check(items: list[Any]) -> list[Any]:
        seen: set[Any] = set()
        for item in items:
            value = getattr(item, attribute)
            if value in seen:
                raise ValueError(f"{value!r} is there twice: give each item its own {attribute}")
            seen.add(value)
        return items

    return AfterValidator(check)


def _all_different(items: list[str]) -> list[str]:
    for number, item in enumerate(items):
        if item in items[:number]:
            raise ValueError(f"{item!r} is there twice: name each once")
    return items


def list_set(**more: Any) -> Any:  # noqa: ANN401 - a pydantic field
    """Field of a list of different texts, in which server-side apply adds and removes each by itself; give `DIFFERENT` beside it."""
    return Field(json_schema_extra={"x-list-set": True}, **more)


DIFFERENT = AfterValidator(_all_different)
"""Refuse a list in which a text is there twice, as the API server does for a list that is a set."""


def _checked_duration(value: str) -> str:
    seconds(value)
    return value


Duration = Annotated[
    str,
    StringConstraints(max_length=32, pattern=DURATION_PATTERN),
    AfterValidator(_checked_duration),
    Field(
        json_schema_extra=keyword(
            Rule(
                f"duration(self) > duration('0s') && duration(self) <= duration('{LONGEST}')",
                f"must be longer than zero, at most {LONGEST}",
            )
        )
    ),
]
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
AgentName = Annotated[str, StringConstraints(min_length=1, max_length=58, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]


def address(url: str) -> str:
    """A URL that has a host, and a port that can be one, as no pattern can say it."""
    try:
        if urlsplit(url).hostname and urlsplit(url).port != 0:
            return url
    except ValueError:
        pass
    raise ValueError("has no host, or a port that is none: give for example https://tools.example:8443/path")


Url = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"^https?://\S+$"), AfterValidator(address)]
DataKey = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=131072)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Ruled(BaseModel):
    """A model whose `RULES` hold, here and on the API server."""

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obey(self) -> Self:
        for rule in self.RULES:
            rule.check(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The rules go into the schema as well."""
        schema = handler(core_schema)
        if cls.RULES:
            handler.resolve_ref_schema(schema).update(keyword(*cls.RULES))
        return schema


class ApiModel(Ruled):
    """Base of everything in the resource: camelCase outside, snake_case inside, unknown fields and other types refused, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the manifest holds
        """Null counts as absent, as it does for the API server."""
        return {key: member for key, member in value.items() if member is not None} if isinstance(value, Mapping) else value


class SecretKeyRef(ApiModel):
    """One key of a Secret in the Agent's namespace."""

    name: ObjectName = Field(description="Name of the Secret, in the Agent's namespace.")
    key: DataKey = Field(description="Key in the Secret's data.")


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap in the Agent's namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap, in the Agent's namespace.")
    key: DataKey = Field(description="Key in the ConfigMap's data.")
