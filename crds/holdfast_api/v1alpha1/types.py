"""The bricks of the resource: bounded strings, durations, references, and the way a CEL rule is attached to a model.

Every string and list has a bound. That is not only hygiene: the API server estimates the cost of a CEL rule from the bounds, and a
rule over an unbounded list is refused when the CRD is applied.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

_DURATION = re.compile(r"([0-9]+)(ms|s|m|h)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION_PATTERN = r"^([0-9]{1,9}(ms|s|m|h)){1,4}$"


def rule(expression: str, message: str, **more: str) -> dict[str, str]:
    """One `x-kubernetes-validations` entry: a CEL expression and what the user reads when it is false."""
    return {"rule": expression, "message": message, **more}


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """CEL rules in the shape that pydantic's `json_schema_extra` takes."""
    return {"x-kubernetes-validations": list(entries)}


def seconds(duration: str) -> float:
    """Length in seconds of a duration such as `90s`, `1h30m` or `250ms`.

    Raises:
        ValueError: the text is not a duration, or is zero.
    """
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f"{duration!r} is not a duration; write for example 30s, 5m or 1h30m")
    total = sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION.findall(duration))
    if total <= 0:
        raise ValueError(f"{duration!r} is zero; give a duration longer than that")
    return total


def _checked_duration(value: str) -> str:
    seconds(value)
    return value


Duration = Annotated[
    str,
    StringConstraints(max_length=32, pattern=DURATION_PATTERN),
    AfterValidator(_checked_duration),
    Field(json_schema_extra=rules(rule("duration(self) > duration('0s')", "must be longer than zero"))),
]
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
DataKey = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=131072)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class ApiModel(BaseModel):
    """Base of everything in the resource: camelCase outside, snake_case inside, unknown fields refused, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class SecretKeyRef(ApiModel):
    """One key of a Secret in the Agent's namespace."""

    name: ObjectName = Field(description="Name of the Secret, in the Agent's namespace.")
    key: DataKey = Field(description="Key in the Secret's data.")


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap in the Agent's namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap, in the Agent's namespace.")
    key: DataKey = Field(description="Key in the ConfigMap's data.")
