"""A manifest -> an Agent, or one sentence per mistake in the words of the manifest (camelCase paths, the value, the fix)."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from holdfast_api import conditions
from holdfast_api.resolve import Refused
from holdfast_api.v1alpha1 import Agent

_SHOWN_VALUE = 80
_WORDS = {
    "extra_forbidden": "there is no such field; see `kubectl explain agent.spec`",
    "missing": "is missing",
}


def parse_agent(manifest: Mapping[str, Any]) -> Agent:
    """Read one Agent. Null members count as absent, as they do for the API server.

    Raises:
        Refused: reason `InvalidSpec`, every mistake in the message.
    """
    try:
        return Agent.model_validate(manifest)
    except ValidationError as error:
        raise Refused(conditions.INVALID_SPEC, explain(error)) from None


def explain(error: ValidationError) -> str:
    """All mistakes of a manifest, `path: what is wrong (it is: value)`, joined by semicolons."""
    return "; ".join(_sentence(dict(mistake)) for mistake in error.errors(include_url=False))


def _sentence(mistake: Mapping[str, Any]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in mistake["loc"]).removeprefix(".")
    text = _WORDS.get(mistake["type"]) or str(mistake["msg"]).removeprefix("Value error, ")
    value = mistake["input"]
    shown = "" if isinstance(value, Mapping | list) or mistake["type"] == "missing" else f" (it is {value!r:.{_SHOWN_VALUE}})"
    return f"{path or 'the manifest'}: {text}{shown}"
